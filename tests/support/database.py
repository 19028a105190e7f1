"""A store without a server before it: what runs scripts on it and looks into it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, cast

from redis import Redis

from canuse_server.domain.entitlements import Entitlement
from canuse_server.store import usage
from canuse_server.store.keys import Keys, bucket_of
from canuse_server.store.layout import Meta, Outcome, PastPeriod, pack_entitlement, unpack_counter
from canuse_server.store.lua import ALL, Script
from canuse_server.store.usage import Retention, Use

KEYS: Final = Keys("live")
HOUR_MS: Final = 3_600_000
RETENTION: Final = Retention(dedupe_ttl_ms=HOUR_MS, ledger_max_age_ms=1000 * HOUR_MS, past_periods_kept=3)
USE: Final = Use(
    mode=usage.ADD,
    user_id="124",
    feature_id="calls",
    delta=1,
    archived=False,
    event_id="",
    fingerprint=b"",
    entry=b"",
)


class Database:
    """A real Redis or Valkey, to be called without an event loop."""

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

    def contents(self) -> dict[bytes, bytes | None]:
        """Return all there is, byte by byte."""
        keys = cast("Iterable[bytes]", self.redis.scan_iter())
        return {key: self.redis.dump(key) for key in keys}

    def call(self, *command: str | bytes) -> Any:
        """Return the reply to a command as it comes."""
        return self.redis.execute_command(*command)  # type: ignore[no-untyped-call]

    def run(self, script: Script, keys: list[str], *arguments: str | bytes) -> Any:
        """Run a script and return its reply as it comes."""
        return self.call("EVALSHA", script.sha, str(len(keys)), *keys, *arguments)

    def put_user(self, entitlement: Entitlement | None = None, user_id: str = "124", *, disabled: bool = False) -> None:
        """Have a user with at most one entitlement, to `calls`."""
        fields: dict[str, bytes] = {"m": Meta(disabled, 1, 0).pack()}
        if entitlement is not None:
            fields["e:calls"] = pack_entitlement(entitlement)
        self.redis.hset(KEYS.user(user_id), mapping=cast("Any", fields))

    def put_counter(self, used: int, period_start_ms: int, user_id: str = "124") -> None:
        """Have a count of `calls`."""
        packed = used.to_bytes(8, "little") + period_start_ms.to_bytes(8, "little")
        self.redis.hset(KEYS.user(user_id), "c:calls", packed)

    def counter(self, user_id: str = "124") -> tuple[int, int] | None:
        """Return the count of `calls` and the start of its period."""
        value = cast("bytes | None", self.redis.hget(KEYS.user(user_id), "c:calls"))
        if value is None:
            return None
        counter = unpack_counter(value)
        return counter.used, counter.period_start_ms

    def past(self, user_id: str = "124") -> list[PastPeriod]:
        """Return the past periods of `calls`."""
        value = cast("bytes | None", self.redis.hget(KEYS.history(user_id), "calls"))
        return PastPeriod.unpack_all(value or b"")

    def record(
        self, now_ms: int | None, use: Use = USE, retention: Retention = RETENTION, **changes: Any
    ) -> tuple[Outcome, bool]:
        """Record a use, on the store's own clock where no time is given; raise what `usage.outcome` does."""
        manual_now = "" if now_ms is None else str(now_ms)
        trip = usage.record_trip(KEYS, replace(use, **changes), retention, manual_now)
        return usage.outcome(self.call(*trip.command))

    def entries(self, user_id: str = "124") -> list[tuple[bytes, list[bytes]]]:
        """Return the bucket's ledger as it is kept, oldest first: ids with their fields and values."""
        found = self.redis.xrange(KEYS.ledger(bucket_of(user_id)))
        return [
            (entry_id, [part for pair in fields.items() for part in pair])
            for entry_id, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", found)
        ]
