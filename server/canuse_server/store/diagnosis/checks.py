"""The checks of a store. The rules about versions, schemas and durability are those of a server's start."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple, cast

from canuse_server.store.diagnosis import memory
from canuse_server.store.diagnosis.findings import Finding, ok, problem, warn
from canuse_server.store.diagnosis.rights import check_rights, check_scripts
from canuse_server.store.errors import SchemaError, StoreError
from canuse_server.store.keys import CLOCK, EVENT_KEY, TRIM_PROGRESS
from canuse_server.store.preflight.durability import (
    appendfsync_of,
    eviction_risks,
    persistence_risks,
    refusal_of,
    replica_risks,
)
from canuse_server.store.preflight.schema import OLDER, check_version, problem_with
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.durability import Promise
from canuse_server.store.trimming.progress import Progress

ROUND_TRIPS: Final = 20
SLOW_SECONDS: Final = 0.005
MAX_SKEW_MS: Final = 1000
MAX_LAG_SECONDS: Final = 10
MAX_CLIENTS: Final = 0.8
LATE_PASS_SECONDS: Final = 86_400.0
"""How much later than it is due a trimming pass may end."""
COMPACT: Final = {"hash-max-listpack-entries": 128, "set-max-listpack-entries": 2048}
"""What the embedded Valkey is started with, see docs/storage.md."""
FAILED_WRITES: Final = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")


class Deployment(NamedTuple):
    """The settings of the servers that use the store."""

    promise: Promise
    store_timeout_seconds: float
    ledger_max_age_ms: int
    dedupe_ttl_ms: int
    trim_interval_seconds: float


async def check_store(store: Store, deployment: Deployment) -> AsyncIterator[Finding]:
    """Yield the results of all checks. If the first one, `connection`, is a problem, there are no others."""
    try:
        yield await _connection(store, deployment.store_timeout_seconds)
    except StoreError as error:
        yield problem("connection", f"{error}; is the URL right, and does the store run?")
        return
    infos = await store.infos()
    checks: Sequence[tuple[str, Callable[[], Awaitable[Finding]]]] = (
        ("version", lambda: _version(store, infos)),
        ("schema", lambda: _schema(store)),
        ("rights", lambda: check_rights(store)),
        ("scripts", lambda: check_scripts(store)),
        ("persistence", lambda: _persistence(store, infos, deployment.promise)),
        ("eviction", lambda: _of("eviction", (eviction_risks(info) for info in infos), "no key is evicted")),
        ("replicas", lambda: _replicas(store, infos, deployment.promise)),
        ("clock", lambda: _clock(store)),
        ("clients", lambda: _clients(infos)),
        ("compact forms", lambda: _compact_forms(store)),
        ("trimming", lambda: _trimming(store, deployment.trim_interval_seconds)),
        ("memory", lambda: _memory(store, infos, deployment)),
    )
    for name, check in checks:
        try:
            yield await check()
        except StoreError as error:
            yield problem(name, f"it can't be checked: {error}")


async def _connection(store: Store, timeout_seconds: float) -> Finding:
    times = []
    for _ in range(ROUND_TRIPS + 1):
        started_at = time.perf_counter()
        await store.call(("INFO", "server"))
        times.append(time.perf_counter() - started_at)
    # The first one has opened the connection.
    middle, worst = median(times[1:]), max(times[1:])
    text = f"{store.endpoint.address} answers in {middle * 1000:.1f} ms, at most in {worst * 1000:.1f} ms"
    if worst > timeout_seconds / 2:
        return warn("connection", f"{text}: that is close to store_timeout_seconds, {timeout_seconds:g}")
    if middle > SLOW_SECONDS:
        return warn("connection", f"{text}: each call waits for the store at least once; run canuse closer to it")
    return ok("connection", text)


async def _version(store: Store, infos: Iterable[Mapping[str, str]]) -> Finding:
    names = [
        "Valkey " + info["valkey_version"] if "valkey_version" in info else "Redis " + info["redis_version"]
        for info in infos
    ]
    different = sorted(set(names))
    try:
        await check_version(store)
    except SchemaError as error:
        return problem("version", f"{error}: upgrade it")
    if len(different) > 1:
        return warn("version", f"the nodes differ: {', '.join(different)}; upgrade the older ones")
    return ok("version", different[0] + (f" on {len(names)} nodes" if len(names) > 1 else ""))


async def _schema(store: Store) -> Finding:
    version = await store.schema()
    if version is None and await store.unguarded(EVENT_KEY) is None:
        return ok("schema", "the store is empty; the first server initializes it")
    if found := problem_with(version):
        return problem("schema", found)
    if await store.unguarded(EVENT_KEY) is None:
        return problem("schema", f"the key {EVENT_KEY} is missing: restore a backup, event ids can't be recognized")
    assert version is not None
    older = ", which a server upgrades when it starts" if version.decode() in OLDER else ""
    return ok("schema", f"version {version.decode()}{older}")


async def _persistence(store: Store, infos: Sequence[Mapping[str, str]], promise: Promise) -> Finding:
    appendfsync = await appendfsync_of(store)
    for info in infos:
        if refusal := refusal_of(info, appendfsync, promise):
            return problem("persistence", f"no server starts: {refusal}")
        for name in FAILED_WRITES:
            if info.get(name, "ok") != "ok":
                return problem("persistence", f"{name} is {info[name]}: the last write failed; is the disk full?")
    sound = f"append-only file, appendfsync {appendfsync or 'not known'}"
    if appendfsync not in (None, "always"):
        sound += ": a call that requests durability fsync ends with OUTCOME_UNKNOWN, as that needs always"
    return await _of("persistence", (persistence_risks(info, appendfsync) for info in infos), sound)


async def _replicas(store: Store, infos: Sequence[Mapping[str, str]], promise: Promise) -> Finding:
    counts = [int(info.get("connected_slaves", 0)) for info in infos]
    if any(info.get("role") != "master" for info in infos):
        return problem("replicas", "this is a replica: name the master, or the Sentinels that know it")
    for info in infos:
        for number in range(int(info.get("connected_slaves", 0))):
            replica = dict(pair.partition("=")[::2] for pair in info.get(f"slave{number}", "").split(","))
            if replica.get("state") != "online" or int(replica.get("lag", 0)) > MAX_LAG_SECONDS:
                where = f"{replica.get('ip')}:{replica.get('port')}"
                return warn(
                    "replicas",
                    f"{where} is {replica.get('state')}, {replica.get('lag')} s behind: a failover to it loses writes",
                )
    for info in infos:
        if risk := next(replica_risks(info, promise), None):
            return problem("replicas", risk)
    if not min(counts) and not store.endpoint.is_one_server:
        return warn("replicas", "a master has no replica: if it fails, there is nothing to take over")
    return ok("replicas", f"{'at least ' if len(counts) > 1 else ''}{min(counts)}")


async def _clock(store: Store) -> Finding:
    (manual,), _ = await store.call(("GET", CLOCK))
    before = time.time()
    infos = await store.infos()
    here_ms = (before + time.time()) * 500
    skew_ms = max((int(info["server_time_usec"]) / 1000 - here_ms for info in infos), key=abs)
    if manual is not None:
        return warn("clock", "the store has a manual clock: it is for tests, and must not be used with clock = system")
    if abs(skew_ms) > MAX_SKEW_MS:
        off = f"{abs(skew_ms) / 1000:.1f} s {'ahead of' if skew_ms > 0 else 'behind'}"
        return warn(
            "clock",
            f"the store's clock is {off} this machine's. Periods begin and end by the store's: synchronize both by NTP",
        )
    return ok("clock", f"{abs(skew_ms):.0f} ms from this machine's")


async def _clients(infos: Iterable[Mapping[str, str]]) -> Finding:
    shares = [(int(info.get("connected_clients", 0)), int(info.get("maxclients", 0)) or 10_000) for info in infos]
    clients, most = max(shares, key=lambda pair: pair[0] / pair[1])
    if clients > MAX_CLIENTS * most:
        return warn("clients", f"{clients} of maxclients {most}: raise it, or further connections are refused")
    return ok("clients", f"{clients} of {most}")


async def _compact_forms(store: Store) -> Finding:
    different = []
    for name, value in COMPACT.items():
        try:
            (reply,), _ = await store.call(("CONFIG", "GET", name))
        except StoreError:
            return ok("compact forms", "not known: the user on the store has no right to run CONFIG GET")
        pair = cast("list[bytes]", reply)
        if pair and int(pair[1]) != value:
            different.append(f"{name} {value} instead of {pair[1].decode()}")
    if different:
        return warn(
            "compact forms", f"the store takes less memory or time with {' and '.join(different)} (docs/storage.md)"
        )
    return ok("compact forms", "as recommended")


async def _trimming(store: Store, interval_seconds: float) -> Finding:
    if not interval_seconds:
        return ok("trimming", "off: trim_interval_seconds is 0, what is too old of idle users is not removed")
    (stored,), now_ms = await store.call(("GET", TRIM_PROGRESS))
    progress = Progress.unpack(cast("bytes | None", stored) or b"")
    if not progress.ended_ms:
        return ok("trimming", "no pass has ended yet")
    age_seconds = (now_ms - progress.ended_ms) / 1000
    text = f"the last pass ended {age_seconds / 3600:.1f} hours ago and took {progress.lasted_ms / 1000:.0f} s"
    if age_seconds > interval_seconds + LATE_PASS_SECONDS:
        return warn("trimming", f"{text}: does a server run, and what does its log say about trimming?")
    return ok("trimming", text)


async def _memory(store: Store, infos: Sequence[Mapping[str, str]], deployment: Deployment) -> Finding:
    census = await memory.count(store)
    now_ms = await store.now_ms()
    return memory.memory_of(infos, census, now_ms, deployment.ledger_max_age_ms, deployment.dedupe_ttl_ms)


async def _of(check: str, risks: Iterable[Iterable[str]], sound: str) -> Finding:
    """Return the risks of all nodes as one finding."""
    found = list(dict.fromkeys(risk for of_node in risks for risk in of_node))
    return warn(check, "; ".join(found)) if found else ok(check, sound)
