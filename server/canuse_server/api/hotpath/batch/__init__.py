"""Batches: many calls of a hot method in one, each with its own answer or status."""
