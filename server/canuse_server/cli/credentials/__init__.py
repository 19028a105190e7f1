"""The commands about API keys and user tokens."""
