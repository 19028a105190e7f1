"""The command that imports what Kana exports."""
