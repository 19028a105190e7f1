"""Base64 without padding in the alphabet for URLs (RFC 4648, section 5): how ids and tokens hold bytes and JSON."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

_PADDING: Final = "==="
"""The maximum padding: the decoder ignores what it does not need."""


def encode(content: bytes) -> str:
    """Return bytes as text."""
    return urlsafe_b64encode(content).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Return the bytes of a text; raise ValueError where it has none. More than one text may give the same bytes."""
    return urlsafe_b64decode(text + _PADDING)


def encode_json(value: object) -> str:
    """Return a value that JSON can hold as text."""
    return encode(json.dumps(value).encode())


def decode_json(text: str, max_length: int) -> Any:
    """Return the value of a text; raise ValueError where it has none, or is longer than `max_length`."""
    if len(text) > max_length:
        raise ValueError(f"longer than {max_length}")
    try:
        return json.loads(decode(text))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
