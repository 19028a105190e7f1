"""The scripts: one `.lua` file each, joined with the fragments that it includes."""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final

_INCLUDE: Final = re.compile(r"^-- include: (\w+)$", re.MULTILINE)
_TEXTS: Final = re.compile(r"('[^']*')")
_COMMENT: Final = re.compile(r"(^|\s+)--(\s.*)?$")
_SPACES: Final = re.compile(r" ?([,(){}+*/%<>]) ?")
MAX_BYTES: Final = 32_000
"""Redis reads arguments from 32 KiB on one by one: then a script that was just loaded can be flushed by another client
before it is run, and a call to a store that has lost the script would fail."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script with the digest that `EVALSHA` knows it by."""

    name: str
    source: str
    sha: str


def _read(path: str) -> str:
    return (files("canuse_server.store") / "scripts" / path).read_text(encoding="utf-8")


@cache
def load(name: str) -> Script:
    """Read a script, insert the fragments for the lines `-- include: <name>`, and leave out comments and spaces."""
    text = _INCLUDE.sub(lambda match: _read(f"lib/{match[1]}.lua"), _read(f"{name}.lua"))
    source = "\n".join(line for line in map(_squeezed, text.splitlines()) if line)
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


def _squeezed(line: str) -> str:
    """Return a line without its comment and the spaces that Lua does not need; texts stay as they are."""
    code = _COMMENT.sub("", line).strip()
    return "".join(part if part.startswith("'") else _SPACES.sub(r"\1", part) for part in _TEXTS.split(code))


RECORD_USAGE: Final = load("record_usage")
APPLY_USER: Final = load("apply_user")
DELETE_USER: Final = load("delete_user")
INDEX_USER: Final = load("index_user")
RESERVE: Final = load("reserve")
SETTLE: Final = load("settle")
EXTEND_LEASE: Final = load("extend_lease")
SWEEP_LEASES: Final = load("sweep_leases")
PUT_CATALOG: Final = load("put_catalog")
APPLY_CATALOG: Final = load("apply_catalog")
PUT_API_KEY: Final = load("put_api_key")
ADVANCE_CLOCK: Final = load("advance_clock")
ALL: Final = (
    RECORD_USAGE,
    APPLY_USER,
    DELETE_USER,
    INDEX_USER,
    RESERVE,
    SETTLE,
    EXTEND_LEASE,
    SWEEP_LEASES,
    PUT_CATALOG,
    APPLY_CATALOG,
    PUT_API_KEY,
    ADVANCE_CLOCK,
)
