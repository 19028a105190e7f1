"""The commands about the catalogue as one file."""
