"""The hot path's commands and what their replies say. No I/O here: whoever has a connection sends them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, cast

from canuse_server.domain.decision import FeatureState, runs_ahead
from canuse_server.domain.periods import CLOCKS_DIFFER_MS, DAY_MS
from canuse_server.store.codec.user_values import (
    Outcome,
    Single,
    as_of_ms,
    is_due,
    pack_marks,
    pack_retention,
    unpack_feature,
    unpack_grants,
    unpack_moment,
    unpack_reservation,
)
from canuse_server.store.keys import Keys
from canuse_server.store.redis.command import Command
from canuse_server.store.scripts import statuses
from canuse_server.store.scripts.loader import RECORD_USAGE

DONE: Final = b"K"[0]
"""First byte of the reply of a script that has made a use."""
ADD: Final = "A"
SET: Final = "S"
USE: Final = "U"


FOREVER_MS: Final = 1 << 48


class StaleError(Exception):
    """The entitlement has run out, or was made under a clock that ran ahead. Renew it and repeat."""


class LeasesDueError(Exception):
    """A lease of the user has expired: give back what it holds, and repeat."""


class UserMissingError(Exception):
    """There is no such user."""


class ChainBrokenError(Exception):
    """A use of the same user that comes before this one has not been made."""


class UseNotMadeError(Exception):
    """The script for batches leaves this use to the one for single calls."""


class EventIdReusedError(Exception):
    """The idempotency key was used before, with other content."""


class RecordOutOfRangeError(Exception):
    """The total would pass the largest amount."""


@dataclass(frozen=True)
class Retention:
    """How long things are kept."""

    dedupe_ttl_ms: int
    ledger_max_age_ms: int
    past_periods_max_age_days: int
    audit_max_age_days: int = 90

    @cached_property
    def packed(self) -> bytes:
        """How long scripts are to keep the ledger and past periods."""
        return pack_retention(self.ledger_max_age_ms, self.past_periods_max_age_days)

    @property
    def past_periods_max_age_ms(self) -> int:
        """How long past periods are kept, in milliseconds."""
        return self.past_periods_max_age_days * DAY_MS

    @property
    def audit_max_age_ms(self) -> int:
        """How long entries of audit logs are kept, in milliseconds."""
        return self.audit_max_age_days * DAY_MS


class Charge(NamedTuple):
    """One use to record. `entry` is the ledger entry as far as the caller knows it.

    One that is `fact` is recorded whatever the check says; with a no the others are not, as with any no.
    """

    feature_id: str
    delta: int
    archived: bool
    entry: bytes
    fact: bool = False


class Use(NamedTuple):
    """What to record for a user, all of it or none. `event` is the event id as `pack_event` packs it, empty if none."""

    mode: str
    user_id: str
    charges: tuple[Charge, ...]
    event: bytes = b""


def check_command(keys: Keys, user_id: str, feature_id: str) -> Command:
    """Return the command that reads all a check depends on. It only reads, so it needs no script."""
    return Command(("HMGET", keys.user(user_id), "m", "x", f"f:{feature_id}", f"g:{feature_id}", f"r:{feature_id}"))


def checks_command(keys: Keys, user_id: str, feature_ids: Iterable[str]) -> Command:
    """Return the command that does what `check_command` does for several features. See `checks_replies`."""
    fields = (name for feature_id in feature_ids for name in (f"f:{feature_id}", f"g:{feature_id}", f"r:{feature_id}"))
    return Command(("HMGET", keys.user(user_id), "m", "x", *fields))


def checks_replies(reply: object) -> list[list[bytes | None]]:
    """Return the replies to `check_command` for each of the features of `checks_command`."""
    meta, due, *fields = cast("list[bytes | None]", reply)
    return [[meta, due, *fields[at : at + 3]] for at in range(0, len(fields), 3)]


def feature_state(reply: object, now_ms: int, *, archived: bool) -> FeatureState:
    """Read what `check_command` brought.

    Raises:
        UserMissingError: there is no such user.
        LeasesDueError: leases have expired, and have to be swept first.
        StaleError: the entitlement has to be renewed first.
    """
    meta, due, feature, grants, reservation = cast("list[bytes | None]", reply)
    if meta is None:
        raise UserMissingError
    if reservation is not None and due is not None and is_due(unpack_moment(due), now_ms):
        raise LeasesDueError
    if as_of_ms(meta) > now_ms + CLOCKS_DIFFER_MS:
        raise StaleError
    entitlement, counter = (None, None) if feature is None else unpack_feature(feature)
    if entitlement and entitlement.valid_until_ms is not None and entitlement.valid_until_ms <= now_ms:
        raise StaleError
    if entitlement and runs_ahead(entitlement, counter, now_ms):
        raise StaleError
    return FeatureState(
        disabled=bool(meta[0] & 1),
        archived=archived,
        entitlement=entitlement,
        counter=counter,
        now_ms=now_ms,
        grants=() if grants is None else unpack_grants(grants),
        reservation=None if reservation is None else unpack_reservation(reservation),
    )


def holds_until_ms(reply: object, now_ms: int) -> int:
    """Return up to when, exclusive, the same reply to `check_command` says the same; 0: only now."""
    _, due, feature, grants, reservation = cast("list[bytes | None]", reply)
    if grants is not None:
        return 0
    if feature is None:
        return FOREVER_MS
    entitlement, counter = unpack_feature(feature)
    period = entitlement.period_at(max(now_ms, counter.period_start_ms if counter else 0))
    due_ms = None if reservation is None or due is None else unpack_moment(due)
    ends = (entitlement.valid_until_ms, period.end_ms, due_ms)
    return min((end for end in ends if end is not None), default=FOREVER_MS)


def record_command(keys: Keys, use: Use, retention: Retention, manual_now: str) -> Command:
    """Return the command that records a use; `manual_now` is empty where Redis's clock holds."""
    mode, user_id, charges, event = use
    # What only an event id needs is left out without one: each key and argument costs the store a quarter microsecond.
    names = keys.of_event(user_id) if event else keys.of_use(user_id)
    archived = facts = 0
    parts: tuple[str | bytes, ...] = ()
    for number, charge in enumerate(charges):
        archived |= charge.archived << number
        facts |= charge.fact << number
        parts += (charge.feature_id, str(charge.delta), charge.entry)
    command: tuple[str | bytes, ...] = (
        *("EVALSHA", RECORD_USAGE.sha, str(len(names)), *names),
        *(mode + manual_now, retention.packed + pack_marks(archived, facts), *parts),
    )
    if event:
        command += (event,)
    return Command(command, RECORD_USAGE)


def record_one_command(
    keys: Keys, mode: str, user_id: str, charge: Charge, retention: Retention, manual_now: str
) -> Command:
    """Return what `record_command` does for one charge without an event id, in half the time."""
    user, ledger, history = keys.of_use(user_id)
    feature_id, delta, archived, entry, _ = charge
    return Command(
        (
            "EVALSHA",
            RECORD_USAGE.sha,
            "3",
            user,
            ledger,
            history,
            mode + manual_now,
            retention.packed + pack_marks(1, 0) if archived else retention.packed,
            feature_id,
            str(delta),
            entry,
        ),
        RECORD_USAGE,
    )


def record_event_command(
    keys: Keys, mode: str, user_id: str, charge: Charge, retention: Retention, manual_now: str, event: bytes
) -> Command:
    """Return what `record_command` does for one charge with an event id, in half the time."""
    feature_id, delta, archived, entry, _ = charge
    return Command(
        (
            "EVALSHA",
            RECORD_USAGE.sha,
            "7",
            *keys.of_event(user_id),
            mode + manual_now,
            retention.packed + pack_marks(1, 0) if archived else retention.packed,
            feature_id,
            str(delta),
            entry,
            event,
        ),
        RECORD_USAGE,
    )


def chained(command: Command, chain_key: str, place: int, length: int) -> Command:
    """Return a command of `record_command` as one of a chain, each with its place, from 1. They share a key of their
    own.

    Each is made only where the one before it was made or ended for good; else it writes nothing.
    """
    evalsha, sha, count, *rest = command.command
    keys = int(count)
    end = str(-place if place == length else place)
    return Command((evalsha, sha, str(keys + 1), *rest[:keys], chain_key, *rest[keys:], end), command.script)


def outcome(reply: object, deltas: Iterable[int] = ()) -> tuple[Outcome, bool]:
    """Read what `record_command` brought: what was done, and whether that was on an earlier call.

    `deltas` are those of the charges; only a use with an event id needs them.

    Raises:
        ChainBrokenError: one before it in its chain has not been made.
        UserMissingError: there is no such user.
        LeasesDueError: leases have expired, and have to be swept first.
        StaleError: the entitlement has to be renewed first.
        EventIdReusedError: the idempotency key was used with other content.
        RecordOutOfRangeError: the total would pass the largest amount.
    """
    value = cast("bytes", reply)
    status = value[:1]
    if status == b"K":
        return Outcome.unpack(value, 1), False
    if status == b"R":
        return Outcome.unpack_kept(value, 1, deltas), True
    raise STATUS_ERRORS[status]


def single(reply: object, delta: int = 0) -> tuple[Single, bool]:
    """Read what `record_command` brought for a use of one charge with a delta; raises what `outcome` does."""
    value = cast("bytes", reply)
    status = value[:1]
    if status == b"K":
        return Single.unpack(value, 1), False
    if status == b"R":
        return Single.unpack_kept(value, 1, delta), True
    raise STATUS_ERRORS[status]


STATUS_ERRORS: Final[dict[bytes, type[Exception]]] = {
    statuses.CHAIN_BROKEN: ChainBrokenError,
    statuses.USER_MISSING: UserMissingError,
    statuses.LEASES_DUE: LeasesDueError,
    statuses.STALE: StaleError,
    statuses.EVENT_ID_REUSED: EventIdReusedError,
    statuses.OUT_OF_RANGE: RecordOutOfRangeError,
    statuses.NOT_MADE: UseNotMadeError,
}
"""What the scripts that count refuse, by the first byte of their reply."""
