"""Metadata: any JSON value in Kana, texts by name in canuse."""

import json
from collections.abc import Mapping
from typing import Any, Final

JSON_KEY: Final = "kana_json"
"""The key under which a value is stored as JSON that is not an object of texts."""


def to_stored(value: Any) -> dict[str, str]:
    """Return metadata as canuse stores it."""
    if value is None:
        return {}
    if isinstance(value, dict) and JSON_KEY not in value and all(isinstance(item, str) for item in value.values()):
        return value
    return {JSON_KEY: json.dumps(value, ensure_ascii=False, separators=(",", ":"))}


def from_stored(stored: Mapping[str, str]) -> Any:
    """Return metadata as it was sent. Null was stored as nothing, which is an empty object."""
    if stored.keys() == {JSON_KEY}:
        try:
            return json.loads(stored[JSON_KEY])
        except ValueError:  # Somebody else wrote it.
            pass
    return dict(stored)
