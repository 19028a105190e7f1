"""Changes of the catalogue as a whole, and what they mean for users."""
