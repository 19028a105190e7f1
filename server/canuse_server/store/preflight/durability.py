"""What about a store can lose counts, told when the server starts; and a durability that it can't give, refused."""

from collections.abc import Iterator, Mapping
from typing import Final, cast

import structlog

from canuse_server.domain.durability import Durability
from canuse_server.store.errors import SchemaError, StoreError
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.durability import APPENDFSYNC, Promise

log = structlog.get_logger(__name__)

WAITAOF_SINCE: Final = (7, 2)
"""The Redis that brought it; every Valkey has it."""


async def check_durability(store: Store, *, warn: bool) -> None:
    """Look whether the store can give what the server is set to promise, and `warn` of what can lose counts, in words.

    Raises:
        SchemaError: the store can't give what the server is set to promise.
    """
    infos, appendfsync = await store.infos(), await _appendfsync(store)
    for info in infos:
        if refusal := refusal_of(info, appendfsync, store.promise):
            raise SchemaError(refusal)
    if warn:
        # What is so on several nodes of a Cluster is told once.
        for risk in dict.fromkeys(risk for info in infos for risk in risks_of(info, appendfsync, store.promise)):
            log.warning(risk)


def refusal_of(info: Mapping[str, str], appendfsync: str | None, promise: Promise) -> str | None:
    """Return why a store can't give what is promised; None: it can. `appendfsync` None: the store does not tell."""
    if promise.level & Durability.FSYNC:
        if not has_file(info):
            return (
                "durability is fsync, and the store keeps no append-only file: say CONFIG SET appendonly yes to it "
                "while it runs, and only then write that into its configuration file: with that alone it comes up empty"
            )
        version = info["redis_version"]
        if "valkey_version" not in info and tuple(map(int, version.split(".")[:2])) < WAITAOF_SINCE:
            return f"durability is fsync, and the store is redis {version}: that needs Redis 7.2 or Valkey 8"
        if appendfsync not in (None, "always"):
            return (
                f"durability is fsync, and the store's appendfsync is {appendfsync}, with which it confirms what is "
                "not on its disk yet: set it to always"
            )
    return None


def risks_of(info: Mapping[str, str], appendfsync: str | None, promise: Promise) -> Iterator[str]:
    """Say what can lose counts; `appendfsync` None: the store does not tell."""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            f"the store's maxmemory-policy is {policy}: when its memory is full it throws counts away, and what was "
            "used can be used again; set it to noeviction"
        )
    if not has_file(info):
        yield (
            "the store keeps no append-only file: when it ends, all that came after its last snapshot is lost. Say "
            "CONFIG SET appendonly yes to it while it runs, and only then write appendonly yes into its configuration "
            "file: a store that is started with that setting and no such file yet comes up empty"
        )
    elif appendfsync == "no":
        yield (
            "the store's appendfsync is no: a power cut may cost half a minute of counts; set it to everysec or always"
        )
    replicas = int(info.get("connected_slaves", "0"))
    if promise.level & Durability.REPLICA and replicas < promise.replicas:
        yield (
            f"durability is replica with {promise.replicas}, and the store has {replicas} now: until it has enough of "
            "them each write ends with OUTCOME_UNKNOWN"
        )


def has_file(info: Mapping[str, str]) -> bool:
    """Whether the store keeps an append-only file."""
    return info.get("aof_enabled") == "1"


async def _appendfsync(store: Store) -> str | None:
    """Return when the store brings its file to disk, or None where it does not tell: managed stores refuse CONFIG."""
    try:
        (reply,), _ = await store.call(APPENDFSYNC)
    except StoreError:
        return None
    found = cast("list[bytes]", reply)
    return found[1].decode() if found else None
