"""The command `canuse`."""
