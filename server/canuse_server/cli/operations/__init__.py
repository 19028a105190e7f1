"""Commands for whoever operates a server. `health` and `top` ask its port for health and metrics."""
