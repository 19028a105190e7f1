"""Reading and changing a user."""
