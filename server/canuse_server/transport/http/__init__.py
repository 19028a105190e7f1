"""The HTTP port: one ASGI application of several doors, each a package of its own that can be deleted alone.

A door turns its requests into calls of the dispatcher. `guards.py` looks at every request before a door does.
"""
