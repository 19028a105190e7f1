"""Checks of the store's durability at startup: warnings about possible loss of counts, refusal of unmet promises."""

from collections.abc import Iterator, Mapping
from typing import Final, cast

import structlog

from canuse_server.domain.durability import Durability
from canuse_server.store.errors import SchemaError, StoreError
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.durability import APPENDFSYNC, Promise

log = structlog.get_logger(__name__)

WAITAOF_SINCE: Final = (7, 2)
"""The first Redis with WAITAOF; every Valkey has it."""


async def check_durability(store: Store, *, warn: bool) -> None:
    """Check that the store supports the promised durability; if `warn`, log what can lose counts.

    Raises:
        SchemaError: the store does not support the promised durability.
    """
    infos, appendfsync = await store.infos(), await appendfsync_of(store)
    for info in infos:
        if refusal := refusal_of(info, appendfsync, store.promise):
            raise SchemaError(refusal)
    if warn:
        # Nodes of a Cluster can have the same problem: it is logged once.
        for risk in dict.fromkeys(risk for info in infos for risk in risks_of(info, appendfsync, store.promise)):
            log.warning(risk)


def refusal_of(info: Mapping[str, str], appendfsync: str | None, promise: Promise) -> str | None:
    """Return why a store does not support the promise, or None if it does. `appendfsync` None: not known."""
    if promise.level & Durability.FSYNC:
        if not has_append_only_file(info):
            return (
                "durability is fsync, but the store has no append-only file. Run CONFIG SET appendonly yes while it "
                "runs, and only then change its configuration file: with the file alone it starts empty"
            )
        version = info["redis_version"]
        if "valkey_version" not in info and tuple(map(int, version.split(".")[:2])) < WAITAOF_SINCE:
            return f"durability is fsync, which needs Redis 7.2 or Valkey 8; the store is redis {version}"
        if appendfsync not in (None, "always"):
            return (
                f"durability is fsync, but the store's appendfsync is {appendfsync}, so it confirms writes that are "
                "not on disk yet: set it to always"
            )
    return None


def risks_of(info: Mapping[str, str], appendfsync: str | None, promise: Promise) -> Iterator[str]:
    """Yield warnings about what can lose counts; `appendfsync` None: not known."""
    yield from eviction_risks(info)
    yield from persistence_risks(info, appendfsync)
    yield from replica_risks(info, promise)


def eviction_risks(info: Mapping[str, str]) -> Iterator[str]:
    """Yield warnings about counts that are deleted when the memory is full."""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            f"the store's maxmemory-policy is {policy}: when its memory is full it deletes counts, and budgets can be "
            "used again; set it to noeviction"
        )


def persistence_risks(info: Mapping[str, str], appendfsync: str | None) -> Iterator[str]:
    """Yield warnings about writes that are lost when the store or its machine stops."""
    if not has_append_only_file(info):
        yield (
            "the store has no append-only file: when it stops, all writes since its last snapshot are lost. Run "
            "CONFIG SET appendonly yes while it runs, and only then write appendonly yes into its configuration file: "
            "a store that starts with that setting and without such a file is empty"
        )
    elif appendfsync == "no":
        yield (
            "the store's appendfsync is no: a power loss can cost half a minute of counts; set it to everysec or always"
        )


def replica_risks(info: Mapping[str, str], promise: Promise) -> Iterator[str]:
    """Yield warnings about replicas that a promise needs."""
    replicas = int(info.get("connected_slaves", "0"))
    if promise.level & Durability.REPLICA and replicas < promise.replicas:
        yield (
            f"durability is replica with {promise.replicas} replicas, but the store has {replicas}: until it has "
            "enough, each write ends with OUTCOME_UNKNOWN"
        )


def has_append_only_file(info: Mapping[str, str]) -> bool:
    """Whether the store keeps an append-only file."""
    return info.get("aof_enabled") == "1"


async def appendfsync_of(store: Store) -> str | None:
    """Return the store's `appendfsync`, or None if it is not known: managed stores refuse CONFIG."""
    try:
        (reply,), _ = await store.call(APPENDFSYNC)
    except StoreError:
        return None
    pair = cast("list[bytes]", reply)
    return pair[1].decode() if pair else None
