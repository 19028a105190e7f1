"""How past periods are packed: one field a feature, in a hash of its own. `scripts/lib/history.lua` writes them.

Each takes as few bytes as its numbers need: a day of a feature with amounts below 256 takes 11, a month with amounts
below 65,536 takes 13.
"""

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Final

from canuse_server.domain.past_periods import PastPeriod
from canuse_server.domain.periods import DAY_MS, HOUR_MS, WEEK_MS, Period

FIELD_PREFIX: Final = b"\x01"
"""Stands before the feature id. The layout of earlier versions has the id alone; no id has control characters."""

_NONE: Final = -1
_UNLIMITED, _SUM = 16, 32
# how many bytes stand before the last one that is a week over
_HEAD: Final = Struct("<H")
# kind of length and flags, widths of the numbers, start
_PAST_PERIOD: Final = Struct("<BHIH")
_LENGTHS_MS: Final = (HOUR_MS, DAY_MS, WEEK_MS, *(days * DAY_MS for days in (28, 29, 30, 31, 365, 366)))
# period start, period end, used, budget, of used drawn from grants, epoch of its leases (0: it had none)
_OLD_PAST_PERIOD: Final = Struct("<qqqqqI")


def field_names(feature_id: str) -> tuple[bytes, bytes]:
    """Return the fields of a feature that `unpack` takes."""
    return FIELD_PREFIX + feature_id.encode(), feature_id.encode()


def unpack_fields(fields: Mapping[bytes, bytes]) -> dict[str, list[PastPeriod]]:
    """Read the hash of a user's past periods: by feature id, oldest first."""
    features = sorted({name.removeprefix(FIELD_PREFIX) for name in fields})
    return {feature.decode(): unpack(fields.get(FIELD_PREFIX + feature), fields.get(feature)) for feature in features}


def unpack(value: bytes | None, old: bytes | None) -> list[PastPeriod]:
    """Read a feature's past periods, oldest first, and those in the layout of earlier versions, which are older."""
    found = [
        PastPeriod(Period(start_ms, max(start_ms, end_ms)), used, None if budget == _NONE else budget, drawn)
        for start_ms, end_ms, used, budget, drawn, _ in _OLD_PAST_PERIOD.iter_unpack(old or b"")
    ]
    found.reverse()
    return [*found, *_unpack(value or b"")]


def _unpack(value: bytes) -> Iterator[PastPeriod]:
    at = _HEAD.size
    while at < len(value):
        flags, widths, start, start_high = _PAST_PERIOD.unpack_from(value, at)
        at += _PAST_PERIOD.size
        start_ms, kind = start | start_high << 32, flags & 15
        if 0 < kind <= len(_LENGTHS_MS):
            length_ms = _LENGTHS_MS[kind - 1]
        else:
            size = 6 if kind else 4
            length_ms = int.from_bytes(value[at : at + size], "little")
            at += size
        numbers = []
        sizes = [widths >> shift & 7 for shift in (0, 3, 6, 9, 12)]
        # The first epoch of a sum comes last.
        for size in (*sizes, sizes[3] if flags & _SUM else 0):
            numbers.append(int.from_bytes(value[at : at + size], "little"))
            at += size
        used, budget, drawn, _, overage, _ = numbers
        yield PastPeriod(
            Period(start_ms, start_ms + length_ms),
            used,
            None if flags & _UNLIMITED else budget,
            drawn,
            overage if flags & _SUM else None,
        )
