"""Kana's formats, for the door on the HTTP port and for the command that imports Kana's files."""
