"""How much memory the store needs now, and how much once events and event ids have piled up."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, cast

from canuse_server.domain.api_keys import ENVIRONMENTS
from canuse_server.store.diagnosis.findings import Finding, ok, problem, warn
from canuse_server.store.keys import BUCKETS, Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.ledger import Place

EVENT_BYTES: Final = 71
EVENT_ID_BYTES: Final = 71
"""As measured in docs/storage.md, without the id itself and metadata."""
MEAN_TTLS: Final = 1.5
"""An event id is kept for one to two times its TTL."""
BUCKETS_AT_ONCE: Final = 64
FULL: Final = 0.9
FILLING: Final = 0.8
MIN_SPAN_MS: Final = 3_600_000
"""A ledger of less than this says little about the events of a day."""
DAY_MS: Final = 86_400_000


class Census(NamedTuple):
    """What the store holds."""

    users: int
    events: int
    oldest_ms: int | None
    """The time of the oldest event."""


async def count(store: Store) -> Census:
    """Count users and events. Raises StoreError."""
    users = events = 0
    oldest: list[int] = []
    for environment in ENVIRONMENTS:
        keys = Keys(environment)
        for first in range(0, BUCKETS, BUCKETS_AT_ONCE):
            buckets = range(first, first + BUCKETS_AT_ONCE)
            ledgers = [keys.ledger(bucket) for bucket in buckets]
            sizes, _ = await store.call(*(("SCARD", keys.users(bucket)) for bucket in buckets))
            lengths, _ = await store.call(*(("XLEN", ledger) for ledger in ledgers))
            firsts, _ = await store.call(*(("XRANGE", ledger, "-", "+", "COUNT", "1") for ledger in ledgers))
            users += sum(cast("list[int]", sizes))
            events += sum(cast("list[int]", lengths))
            oldest += [Place.read(found[0][0]).time_ms for found in cast("list[list[list[bytes]]]", firsts) if found]
    return Census(users, events, min(oldest, default=None))


def memory_of(
    infos: Iterable[Mapping[str, str]], census: Census, now_ms: int, ledger_max_age_ms: int, dedupe_ttl_ms: int
) -> Finding:
    """Return whether the memory is enough: that of the fullest node, and of all for what is to come."""
    nodes = list(infos)
    fullest = max(nodes, key=lambda info: _used(info) / _limit(info))
    used, limit = sum(map(_used, nodes)), sum(map(_limit, nodes))
    growth, basis = _growth(census, now_ms, ledger_max_age_ms, dedupe_ttl_ms)
    kept = f"{census.users} users and {census.events} events in the ledger"
    now = f"{mebibytes(used)} of {mebibytes(limit)} used, {kept}"
    advice = (
        "give the store more memory, lower ledger_max_age_seconds or dedupe_ttl_seconds, or spread the users over a "
        "Cluster (docs/storage.md)"
    )
    if _used(fullest) > FULL * _limit(fullest):
        return problem("memory", f"{now}, on the fullest node {_used(fullest) / _limit(fullest):.0%}: {advice}")
    forecast = f"{now}; about {mebibytes(used + growth)} {basis}"
    if used + growth > FILLING * limit:
        return warn("memory", f"{forecast}: {advice}")
    if not all(int(info.get("maxmemory", 0)) for info in nodes):
        forecast += "; maxmemory is not set, so the limit is the machine's memory"
    return ok("memory", forecast)


def _growth(census: Census, now_ms: int, ledger_max_age_ms: int, dedupe_ttl_ms: int) -> tuple[int, str]:
    """Return how many bytes are still to come at the ledger's mean rate, and for what that is true."""
    if census.oldest_ms is None:
        return 0, "until events are recorded"
    span_ms = max(now_ms - census.oldest_ms, MIN_SPAN_MS)
    rate = census.events / span_ms
    events = max(0.0, rate * ledger_max_age_ms - census.events)
    # Of the event ids as many are there as the ledger is old; whether callers send ids is not known.
    ids = rate * (MEAN_TTLS * dedupe_ttl_ms - min(span_ms, MEAN_TTLS * dedupe_ttl_ms))
    basis = f"at {rate * DAY_MS:.0f} events a day with ids, kept as long as the settings say"
    return round(events * EVENT_BYTES + ids * EVENT_ID_BYTES), basis


def _used(info: Mapping[str, str]) -> int:
    return int(info["used_memory"])


def _limit(info: Mapping[str, str]) -> int:
    """Return how much a node may use: `maxmemory`, or else what its machine has."""
    return int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0)) or 1 << 62


def mebibytes(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / (1 << 20):,.0f} MiB" if count < 10 << 30 else f"{count / (1 << 30):,.0f} GiB"
