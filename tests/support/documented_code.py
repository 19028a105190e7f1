"""The code in the docs, so that tests run what readers copy."""

import re

from support.tools import ROOT


def code_blocks(page: str, language: str) -> list[str]:
    """Return the blocks of a page of the docs in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
