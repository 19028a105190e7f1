"""A model of canuse in plain Python, and what holds the real server against it."""
