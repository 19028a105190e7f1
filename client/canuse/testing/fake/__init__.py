"""The service in memory: what `FakeClient` calls instead of a server. It imports nothing of the server."""
