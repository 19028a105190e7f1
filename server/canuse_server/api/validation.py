"""Validation of requests. Errors name the field, the accepted and the sent value, and list all violations together."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from canuse_server.api.errors import MAX_VIOLATIONS, ApiError, invalid
from canuse_server.domain.model import MAX_AMOUNT
from canuse_server.store.repositories.manual_clock import LATEST_MS

ID_BYTES: Final = 128
TEXT_BYTES: Final = 256
METADATA_PAIRS: Final = 16
METADATA_BYTES: Final = 2048
MASK_PATHS: Final = 32
MASK_PATH_BYTES: Final = 64
PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000
ALL_FIELDS: Final = "*"
"""The path of an update mask that means all changeable fields."""
SHOWN_PATHS: Final = 3
"""Maximum number of unknown paths of an update mask in an error."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_SHOWN: Final = 40


def is_plain_id(value: str) -> bool:
    """Whether an id is valid by a fast check that accepts most valid ids."""
    return 0 < len(value) <= ID_BYTES and value.isascii() and value.isprintable()


def id_problem(value: str) -> str | None:
    """Return the problem with an id, or None."""
    if is_plain_id(value):
        return None
    return _text_problem(value, ID_BYTES, minimum=1)


def _text_problem(value: str, maximum: int, minimum: int) -> str | None:
    size = len(value.encode())
    if minimum <= size <= maximum and not _CONTROL.search(value):
        return None
    sent = "nothing" if not value else f"{shown(value)} ({size} bytes)"
    return f"must be {minimum} to {maximum} bytes of UTF-8 without control characters; {sent} was sent"


def shown(value: object) -> str:
    """Return a sent value for an error, shortened if it is long."""
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def repeated(ids: Iterable[str]) -> str:
    """Return the part of an error that names a duplicate id; empty if there is none."""
    duplicate = next((item for item, count in Counter(ids).items() if count > 1), None)
    return "" if duplicate is None else f", {shown(duplicate)} more than once"


class Violations:
    """Collects the violations of a request."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        """Pairs of field and problem, at most MAX_VIOLATIONS."""
        self.unlisted = 0
        """Number of further violations."""

    def add(self, field: str, text: str) -> None:
        """Add a violation of a field."""
        if len(self.found) < MAX_VIOLATIONS:
            self.found.append((field, text))
        else:
            self.unlisted += 1

    def id(self, field: str, value: str) -> None:
        """Check an id: 1 to 128 bytes of UTF-8 without control characters."""
        if problem := id_problem(value):
            self.add(field, problem)

    def event_id(self, field: str, value: str) -> None:
        """Check an idempotency key: an id or empty."""
        if value and (problem := _text_problem(value, ID_BYTES, minimum=0)):
            self.add(field, problem)

    def text(self, field: str, value: str) -> None:
        """Check a descriptive text: up to 256 bytes without control characters."""
        if problem := _text_problem(value, TEXT_BYTES, minimum=0):
            self.add(field, problem)

    def metadata(self, field: str, pairs: Mapping[str, str]) -> None:
        """Check metadata: up to 16 pairs and 2 KiB in total."""
        accepted = f"must be at most {METADATA_PAIRS} pairs and {METADATA_BYTES} bytes in all"
        if len(pairs) > METADATA_PAIRS:
            self.add(field, f"{accepted}; {len(pairs)} pairs were sent")
            return
        size = sum(len(key.encode()) + len(value.encode()) for key, value in pairs.items())
        if size > METADATA_BYTES:
            self.add(field, f"{accepted}; {len(pairs)} pairs and {size} bytes were sent")

    def amount(self, field: str, value: int, minimum: int) -> None:
        """Check an amount: `minimum` to 2^53 - 1."""
        if not minimum <= value <= MAX_AMOUNT:
            low = "-(2^53 - 1)" if minimum == -MAX_AMOUNT else str(minimum)
            self.add(field, f"must be {low} to 2^53 - 1; {value} was sent")

    def version(self, field: str, value: int) -> None:
        """Check a version number, 0 for none."""
        if value < 0:
            self.add(field, f"must be a version, from 1, or 0; {value} was sent")

    def time_ms(self, field: str, value: Timestamp) -> int:
        """Check a time from 1970 to 9000, and return it in milliseconds."""
        time_ms = value.seconds * 1000 + value.nanos // 1_000_000
        if not (0 <= time_ms <= LATEST_MS and 0 <= value.nanos < 1_000_000_000):
            sent = f"{value.seconds} s and {value.nanos} ns"
            self.add(field, f"must be a time from 1970-01-01 to 9000-01-01; {sent} was sent")
            return 0
        return time_ms

    def duration_ms(self, field: str, value: Duration, minimum_ms: int, maximum_ms: int) -> int:
        """Check a duration and return it in milliseconds."""
        duration_ms = value.seconds * 1000 + value.nanos // 1_000_000
        if not (minimum_ms <= duration_ms <= maximum_ms and 0 <= value.nanos < 1_000_000_000):
            accepted = f"must be {minimum_ms // 1000} to {maximum_ms // 1000} seconds"
            self.add(field, f"{accepted}; {value.seconds} s and {value.nanos} ns was sent")
        return duration_ms

    def check(self) -> None:
        """Raise the error if there are violations."""
        if self.found:
            raise invalid(self.found, self.unlisted)


def require_id(field: str, value: str) -> str:
    """Return an id; raise ApiError if it is invalid."""
    if problem := id_problem(value):
        raise invalid([(field, problem)])
    return value


def page_size(value: int) -> int:
    """Return the maximum number of items of a page; raise ApiError if the requested one is invalid."""
    if not 0 <= value <= MAX_PAGE_SIZE:
        raise invalid([("page_size", f"must be 1 to {MAX_PAGE_SIZE}, or 0 for {PAGE_SIZE}; {value} was sent")])
    return value or PAGE_SIZE


def masked(
    mask: FieldMask, resource: Message, changeable: tuple[str, ...], *, may_be_none: bool = False
) -> frozenset[str]:
    """Return the names of the fields to change: those of the mask, or without a mask those that are set.

    Without a mask, set fields that cannot change are ignored, so that a resource can be sent back as it was read.
    Without a field to change, it is an error unless there `may_be_none`.
    """
    if not mask.paths:
        chosen = frozenset(field.name for field, _ in resource.ListFields()).intersection(changeable)
        if not chosen and not may_be_none:
            accepted = f"must name a field to change if none is set: {', '.join(changeable)}, or * for all"
            raise invalid([("update_mask", f"{accepted}; nothing was sent")])
        return chosen
    if list(mask.paths) == [ALL_FIELDS]:
        return frozenset(changeable)
    if unknown := sorted(set(mask.paths).difference(changeable)):
        accepted = f"only {', '.join(changeable)} can be changed"
        sent = ", ".join(shown(path) for path in unknown[:SHOWN_PATHS])
        alone = f" ({ALL_FIELDS} means all of them and must be the only path)" if ALL_FIELDS in unknown else ""
        raise invalid([("update_mask", f"{accepted}; {sent} was sent{alone}")])
    return frozenset(mask.paths)


def malformed(message_name: str) -> ApiError:
    """Return the error for bytes that are not a valid message of a type."""
    return invalid([("request", f"must be a {message_name} in protobuf's wire format; other bytes were sent")])
