"""The native transport: the Rust front and the batch lane."""
