"""Opaque ids and page tokens."""
