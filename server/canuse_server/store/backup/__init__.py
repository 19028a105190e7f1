"""Backups: all data of a store in a file, and back into any store."""
