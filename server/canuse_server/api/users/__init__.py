"""Reads and changes of users."""
