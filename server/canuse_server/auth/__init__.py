"""Who may call: API keys, what each may do, and the authorizer that every call passes."""
