"""A reference model of canuse in plain Python, and the state machine that compares a real server with it."""
