"""API keys, their scopes, and the authorizer of every call."""
