"""Stored formats."""
