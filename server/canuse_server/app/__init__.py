"""Startup and shutdown: wiring, worker processes, signals."""
