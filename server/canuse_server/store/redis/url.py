"""Validation of a store URL. Errors do not repeat the URL, since it can contain a password.

It is separate from `address.py` because every command of the CLI needs it, and redis-py takes a second to import.
"""

import re
from typing import Final
from urllib.parse import urlsplit

SCHEMES: Final = (
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
)
_SEVERAL: Final = re.compile(
    r"rediss?\+(sentinel|cluster)://(?:[^@/?]*@)?([^@/?]+)(?:/([^/?]*))?(?:/([^?]*))?(?:\?.*)?"
)
_ADDRESS: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^:\[\],\s]+)(?::0*([1-9]\d{0,4}))?")
_HIGHEST_PORT: Final = 65_535


def check_redis_url(value: str) -> None:
    """Raise ValueError, which says what is accepted, unless `value` is a valid store URL."""
    if not value.startswith(SCHEMES):
        raise ValueError(f"must be a URL that starts with {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}")
    if "+" in value.partition("://")[0]:
        _check_several(value)
    else:
        _check_one(value)


def _check_several(value: str) -> None:
    found = _SEVERAL.fullmatch(value)
    addresses = [_ADDRESS.fullmatch(text) for text in found[2].split(",")] if found else []
    if not (addresses and all(address and int(address[1] or 1) <= _HIGHEST_PORT for address in addresses)):
        raise ValueError("must name hosts and ports, like redis+cluster://10.0.0.1:6379,10.0.0.2:6379")
    assert found is not None
    if found[1] == "sentinel" and not found[3]:
        raise ValueError("must name the master after the Sentinels, like redis+sentinel://10.0.0.1:26379/mymaster")
    database = found[4] or ""
    if found[1] == "cluster" and (found[3] or database):
        raise ValueError("must have nothing after the addresses: a Cluster has no numbered databases")
    _check_database(database)


def _check_one(value: str) -> None:
    try:
        parsed = urlsplit(value)
    except ValueError:
        raise ValueError("must be a URL") from None
    try:
        address = parsed.path if parsed.scheme == "unix" else parsed.hostname
        port = parsed.port  # Reading the property validates it.
    except ValueError:
        address = port = None
    if not address or port == 0:
        raise ValueError("must name a host and a port, or with unix:// a path")
    _check_database("" if parsed.scheme == "unix" else parsed.path.strip("/"))


def _check_database(text: str) -> None:
    if text and not text.isdecimal():
        raise ValueError("must have the number of a database, or nothing, after the address")
