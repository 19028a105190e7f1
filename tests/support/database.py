"""A store without a server: helpers that run scripts on it and read it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from redis import Redis

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import Reason
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.store.codec import past_periods as past_periods_codec
from canuse_server.store.codec.event_ids import EventKey
from canuse_server.store.codec.user_values import (
    ChargeOutcome,
    Meta,
    Outcome,
    pack_entitlement,
    pack_event,
    unpack_feature,
    unpack_grants,
)
from canuse_server.store.keys import Keys, bucket_of
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.usage_commands import Charge, Retention, Use
from canuse_server.store.scripts.loader import ALL, Script

KEYS: Final = Keys("live")
HOUR_MS: Final = 3_600_000
RETENTION: Final = Retention(dedupe_ttl_ms=HOUR_MS, ledger_max_age_ms=1000 * HOUR_MS, past_periods_max_age_days=62)
FINGERPRINT: Final = b"123456"
"""Stands for the content of a call in tests that need only one."""


def packed_event(
    event_id: str, fingerprint: bytes, retention: Retention = RETENTION, ttl_ms: int | None = None
) -> bytes:
    """Return an event id as the argument of a script, empty if there is none."""
    longest_ms = retention.dedupe_ttl_ms
    ttl_ms = longest_ms if ttl_ms is None else ttl_ms
    return pack_event(digest(event_id), fingerprint, ttl_ms, longest_ms) if event_id else b""


def digest(event_id: str) -> bytes:
    """Return the field of an event id in the hashes of stored answers."""
    return EventKey().digest(event_id.encode())


class Recorded(NamedTuple):
    """The result of a single charge, with its time."""

    reason: Reason
    used: int
    applied_delta: int
    period_start_ms: int
    budget: int | None
    reserved: int
    entitlement: Entitlement | None
    ledger_id: str
    recorded: bool
    now_ms: int

    def shown(self) -> object:
        """Return the part of it that an answer shows, which is all that is kept under an event id."""
        return shown(ChargeOutcome(*self[:-1]))


def shown(charge: ChargeOutcome) -> object:
    """Return the part of a charge that an answer shows."""
    entitlement = charge.entitlement
    period = entitlement and (entitlement.period_at(charge.period_start_ms), entitlement.overage_enabled)
    return charge._replace(entitlement=None, ledger_id="", period_start_ms=0), period


def pack_counter(used: int, period_start_ms: int) -> bytes:
    """Return a count in the form in which it follows the entitlement of its feature."""
    return used.to_bytes(7, "little") + period_start_ms.to_bytes(6, "little")


def pack_grants(grants: Iterable[GrantBalance]) -> bytes:
    """Return the value of the field `g:<feature>`."""
    return b"".join(
        (-1 if number is None else number).to_bytes(8, "little", signed=True) for grant in grants for number in grant
    )


class Database:
    """A real Redis or Valkey, called without an event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis: Redis = Redis.from_url(url)
        for script in ALL:
            self.redis.script_load(script.source)

    def close(self) -> None:
        """Close the connection."""
        self.redis.close()

    def empty(self) -> None:
        """Remove everything but the scripts."""
        self.redis.flushall()

    def contents(self) -> dict[bytes, object]:
        """Return everything, as bytes. A large hash may reorder its fields when it is only read."""
        keys = cast("Iterable[bytes]", self.redis.scan_iter())
        return {
            key: self.redis.hgetall(key) if self.redis.type(key) == b"hash" else self.redis.dump(key) for key in keys
        }

    def call(self, *command: str | bytes) -> Any:
        """Return the raw reply to a command."""
        return self.redis.execute_command(*command)  # type: ignore[no-untyped-call]

    def run(self, script: Script, keys: list[str], *arguments: str | bytes) -> Any:
        """Run a script and return its raw reply."""
        return self.call("EVALSHA", script.sha, str(len(keys)), *keys, *arguments)

    def put_user(
        self,
        entitlement: Entitlement | None = None,
        user_id: str = "124",
        *,
        disabled: bool = False,
        grants: Sequence[GrantBalance] = (),
        feature_id: str = "calls",
    ) -> None:
        """Create a user, or give an existing one another entitlement with nothing used."""
        fields: dict[str, bytes] = {"m": Meta(disabled, 1, 0).pack()}
        if entitlement is not None:
            fields[f"f:{feature_id}"] = pack_entitlement(entitlement)
        if grants:
            fields[f"g:{feature_id}"] = pack_grants(grants)
        self.redis.hset(KEYS.user(user_id), mapping=cast("Any", fields))

    def put_counter(self, used: int, period_start_ms: int, user_id: str = "124", *, feature_id: str = "calls") -> None:
        """Set the count of a feature that the user is entitled to."""
        field = f"f:{feature_id}"
        entitlement, _ = unpack_feature(cast("bytes", self.redis.hget(KEYS.user(user_id), field)))
        packed = pack_entitlement(entitlement) + pack_counter(used, period_start_ms)
        self.redis.hset(KEYS.user(user_id), field, cast("Any", packed))

    def counter(self, user_id: str = "124", *, feature_id: str = "calls") -> tuple[int, int] | None:
        """Return the count of a feature and the start of its period."""
        value = cast("bytes | None", self.redis.hget(KEYS.user(user_id), f"f:{feature_id}"))
        counter = None if value is None else unpack_feature(value)[1]
        return None if counter is None else (counter.used, counter.period_start_ms)

    def grants(self, user_id: str = "124", *, feature_id: str = "calls") -> tuple[GrantBalance, ...]:
        """Return the grants of a feature as a decision reads them."""
        value = cast("bytes | None", self.redis.hget(KEYS.user(user_id), f"g:{feature_id}"))
        return unpack_grants(value or b"")

    def past(self, user_id: str = "124") -> list[PastPeriod]:
        """Return the past periods of `calls` as stored, newest first."""
        fields = cast("dict[bytes, bytes]", self.redis.hgetall(KEYS.history(user_id)))
        return past_periods_codec.unpack_fields(fields).get("calls", [])[::-1]

    def record(
        self,
        now_ms: int | None,
        *,
        mode: str = usage_commands.ADD,
        user_id: str = "124",
        feature_id: str = "calls",
        delta: int = 1,
        archived: bool = False,
        entry: bytes = b"",
        event_id: str = "",
        fingerprint: bytes = FINGERPRINT,
        ttl_ms: int | None = None,
        retention: Retention = RETENTION,
    ) -> tuple[Recorded, bool]:
        """Record a single use; return its result, and whether it is that of an earlier call."""
        charge = Charge(feature_id, delta, archived, entry)
        use = Use(mode, user_id, (charge,), packed_event(event_id, fingerprint, retention, ttl_ms))
        outcome, replayed = self.record_all(now_ms, use, retention)
        (recorded,) = outcome.charges
        assert outcome.refused == (mode == usage_commands.USE and not recorded.reason.access)
        return Recorded(*recorded, outcome.now_ms), replayed

    def record_all(self, now_ms: int | None, use: Use, retention: Retention = RETENTION) -> tuple[Outcome, bool]:
        """Record uses, by the store's clock if no time is given; raise what `usage_commands.outcome` raises."""
        manual_now = "" if now_ms is None else str(now_ms)
        return usage_commands.outcome(
            self.call(*usage_commands.record_command(KEYS, use, retention, manual_now).command),
            [charge.delta for charge in use.charges],
        )

    def entries(self, user_id: str = "124") -> list[tuple[bytes, list[bytes]]]:
        """Return the bucket's ledger as stored, oldest first: ids with their fields and values."""
        found = self.redis.xrange(KEYS.ledger(bucket_of(user_id)))
        return [
            (entry_id, [part for pair in fields.items() for part in pair])
            for entry_id, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", found)
        ]
