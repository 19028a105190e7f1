"""The hot path's commands and what their replies say. No I/O here: whoever has a connection makes the trip."""

from dataclasses import dataclass
from typing import Final, cast

from canuse_server.domain.decision import Standing
from canuse_server.store.keys import Keys, bucket_of
from canuse_server.store.layout import Outcome, unpack_counter, unpack_entitlement
from canuse_server.store.lua import RECORD_USAGE, Script

ADD: Final = "A"
SET: Final = "S"
USE: Final = "U"


class StaleError(Exception):
    """The entitlement has run out: a period or a date has passed. Renew it and repeat."""


class UserMissingError(Exception):
    """There is no such user."""


class EventIdReusedError(Exception):
    """The idempotency key was used before, with other content."""


class RecordOutOfRangeError(Exception):
    """The total would pass the largest amount."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One command to the store. `script` is what it runs, if any: the only commands that write are scripts."""

    command: tuple[str | bytes, ...]
    script: Script | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept. Times in milliseconds."""

    dedupe_ttl_ms: int
    ledger_max_age_ms: int
    past_periods_kept: int


@dataclass(frozen=True, slots=True)
class Use:
    """A use to record. `entry` is the ledger entry as far as the caller knows it."""

    mode: str
    user_id: str
    feature_id: str
    delta: int
    archived: bool
    event_id: str
    fingerprint: bytes
    entry: bytes


def check_trip(keys: Keys, user_id: str, feature_id: str) -> Trip:
    """Return the command that reads all a check depends on. It only reads, so it needs no script."""
    return Trip(("HMGET", keys.user(user_id), "m", f"e:{feature_id}", f"c:{feature_id}"))


def standing(reply: object, now_ms: int, *, archived: bool) -> Standing:
    """Read what `check_trip` brought.

    Raises:
        UserMissingError: there is no such user.
        StaleError: the entitlement has to be renewed first.
    """
    meta, packed, counter = cast("list[bytes | None]", reply)
    if meta is None:
        raise UserMissingError
    entitlement = None if packed is None else unpack_entitlement(packed)
    if entitlement and entitlement.valid_until_ms is not None and entitlement.valid_until_ms <= now_ms:
        raise StaleError
    return Standing(
        disabled=bool(meta[0] & 1),
        archived=archived,
        entitlement=entitlement,
        counter=None if counter is None else unpack_counter(counter),
        now_ms=now_ms,
    )


def record_trip(keys: Keys, use: Use, retention: Retention, manual_now: str) -> Trip:
    """Return the command that records a use; `manual_now` is empty where Redis's clock holds."""
    user_id = use.user_id
    command = (
        *("EVALSHA", RECORD_USAGE.sha, "5"),
        *(keys.user(user_id), keys.ledger(bucket_of(user_id)), keys.history(user_id), *keys.dedupe(user_id)),
        *(manual_now, use.mode, use.feature_id, str(use.delta), "1" if use.archived else ""),
        *(use.event_id, use.fingerprint, use.entry),
        str(retention.dedupe_ttl_ms),
        str(retention.ledger_max_age_ms),
        str(retention.past_periods_kept),
    )
    return Trip(command, RECORD_USAGE)


def outcome(reply: object) -> tuple[Outcome, bool]:
    """Read what `record_trip` brought: what was done, and whether that was on an earlier call.

    Raises:
        UserMissingError: there is no such user.
        StaleError: the entitlement has to be renewed first.
        EventIdReusedError: the idempotency key was used with other content.
        RecordOutOfRangeError: the total would pass the largest amount.
    """
    value = cast("bytes", reply)
    status = value[:1]
    if status in (b"K", b"R"):
        return Outcome.unpack(value, 1), status == b"R"
    raise _REFUSALS[status]


_REFUSALS: Final[dict[bytes, type[Exception]]] = {
    b"U": UserMissingError,
    b"S": StaleError,
    b"X": EventIdReusedError,
    b"O": RecordOutOfRangeError,
}
