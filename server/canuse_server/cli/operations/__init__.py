"""Commands for whoever operates a server. They ask its port for health and metrics."""
