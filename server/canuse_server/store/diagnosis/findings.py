"""The result of one check."""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """What a check has found. The text of a warning or a problem says what to do."""

    check: str
    status: Status
    text: str


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Status.OK, text)


def warn(check: str, text: str) -> Finding:
    """Return what works, but should be changed or watched."""
    return Finding(check, Status.WARN, text)


def problem(check: str, text: str) -> Finding:
    """Return what does not work, or loses data."""
    return Finding(check, Status.PROBLEM, text)
