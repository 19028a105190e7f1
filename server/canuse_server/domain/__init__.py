"""The rules of entitlements: pure functions without I/O and without a clock."""
