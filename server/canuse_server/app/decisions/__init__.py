"""How many decisions a server makes, all its processes together."""
