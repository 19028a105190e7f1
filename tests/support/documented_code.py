"""The code in the docs, so that tests run what readers copy."""

import re

from support.tools import ROOT


def code_blocks(page: str, language: str) -> list[str]:
    """Return the blocks of a page of the docs in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def documented_program(page: str, language: str, changes: dict[str, str]) -> str:
    """Return the only program of a page in a language, with changes to what it names, such as an address."""
    [program] = code_blocks(page, language)
    for old, new in changes.items():
        assert old in program, old
        program = program.replace(old, new)
    return program
