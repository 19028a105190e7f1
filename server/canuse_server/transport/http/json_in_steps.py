"""Reading and writing JSON without keeping other threads waiting.

The C functions of the standard library keep Python's global interpreter lock until they have finished: 40 ms for an
object of 60,000 fields, in which the batch lane answers nobody. Its functions in Python take ten times as long, but let
other threads run, and pause (`thread_pauses.py`). Large texts use them; to check and convert what was read takes longer
still.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from json.scanner import py_make_scanner  # type: ignore[attr-defined]  # typeshed does not have it
from typing import Any, Final, TypeVar

from canuse_server.runtime.thread_pauses import pause_if_due

LARGE: Final = 16 << 10
"""Minimum size of a text that is read or written in steps, in bytes: the C functions take 0.2 ms for it."""
COMPACT: Final = (",", ":")
"""Separators without spaces."""
_STEP: Final = 64
"""Number of parts of a text between which is not paused."""
_PARSERS: Final = ("parse_array", "parse_float", "parse_int", "parse_object", "parse_string")
_Result = TypeVar("_Result")


def loads(text: str, object_pairs: Callable[[list[tuple[str, Any]]], Any], constant: Callable[[str], Any]) -> Any:
    """Return the value of a JSON text. `object_pairs` makes an object, `constant` a value of NaN and infinities.

    Raises:
        json.JSONDecodeError: it is no JSON.
        RecursionError: it has too many levels.
    """
    decoder = json.JSONDecoder(object_pairs_hook=object_pairs, parse_constant=constant)
    if len(text) >= LARGE:
        for name in _PARSERS:
            setattr(decoder, name, _pausing(getattr(decoder, name)))
        decoder.scan_once = py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder.decode(text)


def dumps(value: Any, *, large: bool, separators: tuple[str, str] | None = None) -> str:
    """Return a value as JSON. `large`: whether it may have `LARGE` bytes."""
    encoder = json.JSONEncoder(ensure_ascii=False, separators=separators)
    return "".join(_texts(encoder, value)) if large else encoder.encode(value)


def check_plain(value: Any) -> None:
    """Raise ValueError for half a character or a number beyond all floats, RecursionError for too many levels."""
    for text in _texts(json.JSONEncoder(ensure_ascii=False, allow_nan=False), value):
        text.encode()


def _texts(encoder: json.JSONEncoder, value: Any) -> Iterator[str]:
    """Yield the JSON of a value in parts."""
    parts = encoder.iterencode(value)
    while text := "".join(islice(parts, _STEP)):
        yield text
        pause_if_due()


def _pausing(function: Callable[..., _Result]) -> Callable[..., _Result]:
    def call(*args: Any) -> _Result:
        pause_if_due()
        return function(*args)

    return call
