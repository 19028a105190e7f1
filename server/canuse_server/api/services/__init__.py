"""One servicer a file: validate, call, answer."""
