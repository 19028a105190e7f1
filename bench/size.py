"""Memory and times with many users, by default a million: `python -m bench.size`.

It fills an embedded Valkey through canuse's own store layer, starts a real server on it, and prints the memory of
users, events and event ids, the startup time of the server, and the times of pages of lists.
"""

import argparse
import asyncio
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote
from uuid import uuid4

from redis import Redis

from canuse import Client, v1
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.executor import answer
from canuse_server.api.hotpath.record import CreateUsageEvent
from canuse_server.api.users import changes
from canuse_server.domain.model import Feature, FeatureType, Package, PackageFeature, PackageStatus, ResetPeriod
from canuse_server.store.embedded.supervisor import EmbeddedValkey
from canuse_server.store.preflight.schema import check_schema
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.usage_commands import Retention

USED = ("api-calls", "messages", "exports")
RESETS = (ResetPeriod.MONTH, ResetPeriod.DAY, ResetPeriod.MONTH)
RETENTION = Retention(dedupe_ttl_ms=86_400_000, ledger_max_age_ms=30 * 86_400_000, past_periods_max_age_days=62)
CALLS_AT_ONCE = 500


async def fill(env: Environment, users: int, features: int, packages: int) -> dict[str, float]:
    """Create a catalogue, and users with three counted features each; return bytes by purpose."""
    start_bytes = await _used_bytes(env)
    names = [*USED, *(f"feature-{number:04d}" for number in range(features - len(USED)))]
    for name in names:
        await env.catalog.put_feature(None, Feature(name, FeatureType.CONSUMABLE, 0, name=name))
    entries = tuple(PackageFeature(name, 1000, period) for name, period in zip(USED, RESETS, strict=True))
    for number in range(packages):
        package = Package(
            f"package-{number:03d}", 0, features=entries, status=PackageStatus.PUBLISHED, published_version=1
        )
        await env.catalog.put_package(None, package)
    await env.cache.refresh()
    catalogue_bytes = await _used_bytes(env)
    await _await_all(_create_user(env, f"user-{number:07d}") for number in range(users))
    all_bytes = await _used_bytes(env)
    ledger_bytes = await _remove(env, "ledger")
    index_bytes = await _memory_of(env, "users")
    user_bytes = all_bytes - catalogue_bytes - ledger_bytes
    return {
        "catalogue, in all": catalogue_bytes - start_bytes,
        "a user, in all": user_bytes / users,
        "of it in the index of users": index_bytes / users,
        "an event in the ledger": ledger_bytes / (users * len(USED)),
    }


async def _await_all(calls: Iterable[Awaitable[None]]) -> None:
    """Await calls, up to CALLS_AT_ONCE at a time."""
    pending = iter(calls)
    while chunk := list(islice(pending, CALLS_AT_ONCE)):
        await asyncio.gather(*chunk)


async def _create_user(env: Environment, user_id: str) -> None:
    await changes.create_default_user(env, user_id)
    for name in USED:
        await _use(env, user_id, name)


async def _use(env: Environment, user_id: str, feature_id: str, event_id: str = "") -> None:
    request = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, event_id=event_id)
    await answer(CreateUsageEvent(), request.SerializeToString(), env)


async def event_bytes(env: Environment, per_user: int, total_events: int) -> dict[str, float]:
    """Record `total_events` uses without and with event ids, `per_user` for each user; return the bytes of each."""
    users = [f"events-{per_user}-{number:05d}" for number in range(-(-total_events // per_user))]
    await _await_all(_create_user(env, user_id) for user_id in users)
    await _remove(env, "ledger")
    events = per_user * len(users)
    await _await_all(_use(env, user_id, USED[0]) for _ in range(per_user) for user_id in users)
    plain_bytes = await _remove(env, "ledger")
    before = await _used_bytes(env)
    await _await_all(_use(env, user_id, USED[0], uuid4().hex) for _ in range(per_user) for user_id in users)
    recorded_bytes = await _used_bytes(env) - before
    ledger_bytes = await _remove(env, "ledger")
    return {
        f"with {per_user:,} events a user: an event in the ledger": plain_bytes / events,
        "  with an event id": ledger_bytes / events,
        "  the event id, besides": (recorded_bytes - ledger_bytes) / events,
    }


async def _used_bytes(env: Environment) -> int:
    while True:
        info: dict[str, Any] = await env.store.admin.info("memory")
        if not info["lazyfree_pending_objects"]:  # Valkey frees deleted keys in the background.
            return int(info["used_memory"])
        await asyncio.sleep(0.01)


async def _memory_of(env: Environment, name: str) -> int:
    keys = [key async for key in env.store.admin.scan_iter(match=f"canuse:live:*:{name}", count=1000)]
    sizes = [await env.store.admin.memory_usage(key, samples=0) for key in keys]
    return sum(size or 0 for size in sizes)


async def _remove(env: Environment, name: str) -> int:
    before = await _used_bytes(env)
    keys = [key async for key in env.store.admin.scan_iter(match=f"canuse:live:*:{name}", count=1000)]
    for key in keys:
        await env.store.admin.delete(key)
    return before - await _used_bytes(env)


def start(data_dir: Path) -> tuple[subprocess.Popen[str], str, float]:
    """Start a server on existing data; return it, its address and its startup time in seconds."""
    before = time.perf_counter()
    listen = {"CANUSE_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_LISTEN": ""}
    env = {**os.environ, **listen, "CANUSE_DATA_DIR": str(data_dir), "CANUSE_LOG_LEVEL": "error"}
    process = subprocess.Popen(
        [sys.executable, "-m", "canuse_server", "serve"], stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    found = re.match(r"canuse ready on (\S+) ", process.stdout.readline())
    assert found, "the server did not start"
    return process, found[1], time.perf_counter() - before


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def pages(address: str) -> Iterable[tuple[str, float]]:
    """Yield the times of pages of 50 in ms: medians of the first and the second half of the first 200 of each list."""
    with Client(address) as client:
        for name, items in (
            ("features", client.list_features(page_size=50)),
            ("packages", client.list_packages(page_size=50)),
            ("users", client.list_users(page_size=50)),
        ):
            times = [time.perf_counter()]
            for number, _ in enumerate(items):
                if number % 50 == 0:
                    times.append(time.perf_counter())
                if number >= 50 * 200:
                    break
            elapsed = [1000 * (after - before) for before, after in pairwise(times)]
            yield f"a page of {name}, first ones", statistics.median(elapsed[: max(1, len(elapsed) // 2)])
            yield f"a page of {name}, later ones", statistics.median(elapsed[len(elapsed) // 2 :])


async def measure(options: argparse.Namespace, data_dir: Path) -> list[tuple[str, float]]:
    """Fill a store; return names and sizes of its contents."""
    valkey = EmbeddedValkey(data_dir, fsync="everysec")
    await valkey.start()
    store = Store(StoreAddress.from_url(f"unix://{quote(str(valkey.socket_path))}"), timeout_seconds=60)
    try:
        await check_schema(store)
        await store.load_scripts()
        env = Environment.of(store, "live", RETENTION, "package-000")
        sizes = list((await fill(env, options.users, options.features, options.packages)).items())
        for per_user in options.events_per_user:
            sizes += (await event_bytes(env, per_user, options.events)).items()
        return sizes
    finally:
        await store.close()
        await valkey.stop()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.size", description="Measure canuse at size.")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--packages", type=int, default=200)
    parser.add_argument("--events", type=int, default=100_000, help="recorded with and without an event id (100000)")
    parser.add_argument("--events-per-user", type=int, nargs="*", default=[100, 10_000], help="(100 10000)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="canuse-size-"))
    try:
        for name, size in asyncio.run(measure(options, folder)):
            print(f"{name:50} {size:12,.1f} bytes")
        process, address, seconds = start(folder)
        try:
            print(f"{'start-up, loading the data included':50} {seconds:12,.1f} s")
            print(f"{'memory of the server process':50} {resident_bytes(process.pid) / 2**20:12,.1f} MiB")
            for name, milliseconds in pages(address):
                print(f"{name:50} {milliseconds:12,.2f} ms")
            with Redis(unix_socket_path=str(folder / "valkey.sock")) as redis:
                for key, share in sorted(sample(redis).items()):
                    print(f"{key:50} {share:12,.1f} bytes")
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder)


def sample(redis: Redis) -> dict[str, float]:
    """Return the size of one user's hash by kind of field, and in total as Valkey reports it."""
    key = next(iter(redis.scan_iter(match="canuse:live:*:u:user-*", count=1000)))
    parts: dict[str, float] = {"a user's hash, as Valkey counts it": float(cast("int", redis.memory_usage(key)) or 0)}
    for name, value in cast("dict[bytes, bytes]", redis.hgetall(key)).items():
        kind = f"  fields {name[:2].decode()}…, names and values"
        parts[kind] = parts.get(kind, 0) + len(name) + len(value)
    parts["  the key's name"] = float(len(key))
    return parts


if __name__ == "__main__":
    main()
