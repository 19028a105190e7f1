"""Connections to Redis or Valkey, and routing."""
