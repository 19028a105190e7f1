"""Reads the tables in the docs."""

import re

from support.tools import ROOT


def table(page: str, name: str) -> list[list[str]]:
    """Return the rows of a table between its markers, without the header and without code marks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", text, re.DOTALL)
    assert found, f"{page} has no table {name}"
    lines = found[1].strip().splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
