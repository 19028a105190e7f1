"""Commands that use the store itself: no server is needed, and one may be running."""
