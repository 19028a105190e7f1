"""Prints messages on pages of plain text. Only afterwards is it known how many pages they take."""

import textwrap
from collections.abc import Iterable
from typing import Final

COLUMNS: Final = 40
LINES: Final = 5


def printed_pages(messages: Iterable[str]) -> list[str]:
    """Return the pages. Each message begins a page, and takes more if it is long."""
    pages = []
    for message in messages:
        lines = textwrap.wrap(message, COLUMNS) or [""]
        pages += ["\n".join(lines[start : start + LINES]) for start in range(0, len(lines), LINES)]
    return pages
