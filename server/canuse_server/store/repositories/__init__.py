"""Repositories: one module for each kind of stored data."""
