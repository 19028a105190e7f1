"""Lines on standard output, which may be the same file as standard error and that of other processes."""

import sys


def print_line(text: object) -> None:
    """Write a line at once and in one piece: with PYTHONUNBUFFERED, `print` writes its end apart."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
