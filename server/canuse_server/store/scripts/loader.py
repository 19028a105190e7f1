"""The scripts: one `.lua` file each, joined with the fragments that it includes, and with its constants inserted."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final

_INCLUDE: Final = re.compile(r"^-- include: (\w+)$", re.MULTILINE)
_TEXTS: Final = re.compile(r"('[^']*')")
_COMMENT: Final = re.compile(r"(^|\s+)--(\s.*)?$")
_SPACES: Final = re.compile(r" ?([,(){}+*/%<>]) ?")
_NAME: Final = r"[A-Z][A-Z0-9_]*"
_LITERAL: Final = r"(?:-?\d+|'[^']*')"
_CONSTANTS: Final = re.compile(rf"local ({_NAME}(?:,{_NAME})*) ?= ?({_LITERAL}(?:,{_LITERAL})*)")
_NAMES: Final = re.compile(rf"\b{_NAME}\b")
MAX_BYTES: Final = 32_000
"""Redis reads arguments from 32 KiB on one by one: then a script that was just loaded can be flushed by another client
before it is run, and a call to a store that has lost the script would fail."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script with the digest that `EVALSHA` knows it by."""

    name: str
    source: str
    sha: str
    constants: Mapping[str, str] = field(compare=False)
    """The literals that stand in the source in place of names."""


def _read(path: str) -> str:
    return (files("canuse_server.store") / "scripts" / path).read_text(encoding="utf-8")


@cache
def load(name: str) -> Script:
    """Read a script, insert the fragments for the lines `-- include: <name>` and the values of constants, and leave out
    comments and spaces."""
    text = _INCLUDE.sub(lambda match: _read(f"lib/{match[1]}.lua"), _read(f"{name}.lua"))
    lines, constants = _without_constants(filter(None, map(_squeezed, text.splitlines())))
    source = _insert(constants, "\n".join(lines))
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest(), constants)


def _squeezed(line: str) -> str:
    """Return a line without its comment and the spaces that Lua does not need; texts stay as they are."""
    code = _COMMENT.sub("", line).strip()
    return "".join(part if part.startswith("'") else _SPACES.sub(r"\1", part) for part in _TEXTS.split(code))


def _without_constants(lines: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Split lines into those that define no constants, and the literals of the constants by name.

    A constant is a local with a name in capitals and a literal as its value. For each constant that a function uses,
    Lua creates an object at each call of the script: 50 ns each.
    """
    others: list[str] = []
    constants: dict[str, str] = {}
    for line in lines:
        if (found := _CONSTANTS.fullmatch(line)) is None:
            others.append(line)
            continue
        for name, value in zip(found[1].split(","), re.findall(_LITERAL, found[2]), strict=True):
            if constants.setdefault(name, value) != value:
                raise ValueError(f"{name} is {constants[name]} and {value}")
    return others, constants


def _insert(constants: Mapping[str, str], source: str) -> str:
    """Return source with the constants' values in place of their names."""

    def value(match: re.Match[str]) -> str:
        literal = constants.get(match[0], match[0])
        return f"({literal})" if literal.startswith("-") else literal

    return "".join(part if part.startswith("'") else _NAMES.sub(value, part) for part in _TEXTS.split(source))


RECORD_USAGE: Final = load("record_usage")
RECORD_BATCH: Final = load("record_batch")
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
TOKEN_GENERATION: Final = load("token_generation")
TRIM_LEDGER: Final = load("trim_ledger")
TRIM_PAST_PERIODS: Final = load("trim_past_periods")
TRIM_TURN: Final = load("trim_turn")
READ_KEYS: Final = load("read_keys")
"""Only for backups: a server does not load it."""
ALL: Final = (
    RECORD_USAGE,
    RECORD_BATCH,
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
    TOKEN_GENERATION,
    TRIM_LEDGER,
    TRIM_PAST_PERIODS,
    TRIM_TURN,
)
