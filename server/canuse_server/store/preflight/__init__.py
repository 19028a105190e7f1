"""Checks of the store at startup."""
