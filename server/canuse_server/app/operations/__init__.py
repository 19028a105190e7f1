"""Health, metrics, and the port for them."""
