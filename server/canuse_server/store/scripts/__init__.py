"""The Lua scripts and their loader."""
