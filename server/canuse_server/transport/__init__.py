"""The transports: the reference server of grpcio, and the native front with its batch lane."""
