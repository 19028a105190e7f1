"""What is wrong with a store, or may be, and what to do about it."""
