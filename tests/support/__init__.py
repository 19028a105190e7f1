"""Shared helpers: real servers and real stores, each a process of its own."""
