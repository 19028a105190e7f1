"""Checks of a store before it is used."""
