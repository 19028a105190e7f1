"""Users: their state, and how it is read, listed and changed."""
