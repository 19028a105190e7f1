"""Who may call: API keys, what each may do, and the gate that every call passes."""
