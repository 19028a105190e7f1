"""The embedded Valkey."""
