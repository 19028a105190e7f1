"""The commands that the docs mention."""

import re
from collections.abc import Iterator
from typing import Final

from support.tools import ROOT

PAGES: Final = ("README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))
BLOCK: Final = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
STORY: Final = re.compile(r"<!-- story:begin -->.*<!-- story:end -->", re.DOTALL)
"""Run line by line by `test_readme_story.py`."""
INLINE: Final = re.compile(
    r"`((?:make|python -m|\.venv/bin/python -m|\.venv/bin/\w+|pip install) [^`]+"
    r"|canuse(?! ready)(?: [a-z-]+)+(?: [A-Z-]+)*)`"
)
COMMENT: Final = re.compile(r"(^|\s+)#.*$")


def commands(block: str) -> Iterator[str]:
    """Yield the commands of a block, one line each, without comments and output."""
    lines = block.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    command = ""
    for line in lines:
        command = f"{command} {COMMENT.sub('', line).strip()}".strip()
        if command.count("'") % 2 == 0 and command.count('"') % 2 == 0:
            if command:
                yield command
            command = ""


BLOCKS: Final = {
    f"{page}-{number}": list(commands(block))
    for page in PAGES
    for number, block in enumerate(BLOCK.findall(STORY.sub("", (ROOT / page).read_text(encoding="utf-8"))), start=1)
}
"""The commands of each block, by page and number of the block."""
DOCUMENTED: Final = {command for block in BLOCKS.values() for command in block} | {
    command for page in PAGES for command in INLINE.findall((ROOT / page).read_text(encoding="utf-8"))
}
"""All commands, including those within sentences."""
