"""Metadata: any JSON value in Kana, texts by name in canuse."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from canuse_server.api.errors import invalid

JSON_KEY: Final = "kana_json"
"""The key under which a value is stored as JSON that is not an object of texts."""


MAX_LEVELS: Final = 100
"""Maximum number of levels of a value: an answer with many more could not be written."""


def to_stored(value: Any) -> dict[str, str]:
    """Return metadata as canuse stores it; raise ApiError if that is not possible."""
    if value is None:
        return {}
    if isinstance(value, dict) and JSON_KEY not in value and all(isinstance(item, str) for item in value.values()):
        return value
    try:
        _check_levels(value)
        return {JSON_KEY: json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))}
    except ValueError:
        accepted = f"must be JSON of at most {MAX_LEVELS} levels, with numbers that a float can hold"
        raise invalid([("metadata", f"{accepted}; something else was sent")]) from None


def from_stored(stored: Mapping[str, str]) -> Any:
    """Return metadata as it was sent. Null was stored as nothing, which is an empty object."""
    if stored.keys() == {JSON_KEY}:
        try:
            value = json.loads(stored[JSON_KEY], parse_constant=_finite, parse_float=_finite)
            _check_levels(value)
        except (ValueError, RecursionError):  # Somebody else wrote it.
            pass
        else:
            return value
    return dict(stored)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _check_levels(value: Any) -> None:
    """Raise ValueError if a value has more than MAX_LEVELS."""
    level = [value]
    for _ in range(MAX_LEVELS):
        lists = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in lists for item in items]
    if level:
        raise ValueError("too many levels")
