"""The access log: one line of JSON for each call that has ended."""
