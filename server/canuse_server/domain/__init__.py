"""What a user may use: pure rules, with no I/O and no clock of their own."""
