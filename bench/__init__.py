"""Benchmarks of canuse and other servers, with their load generator."""
