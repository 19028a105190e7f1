"""Helpers for all layers: deadlines, fairness, logs."""
