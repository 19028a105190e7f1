"""The servicers, one in each file: validate, call, answer."""
