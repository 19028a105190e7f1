"""The audit logs: a stream in the slot of what changed, to which the scripts that make changes append."""
