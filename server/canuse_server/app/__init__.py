"""Start-up and shutdown: wiring, worker processes, the run loop."""
