"""Checks of the store at start-up."""
