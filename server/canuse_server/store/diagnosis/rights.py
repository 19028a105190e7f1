"""Whether the user on the store has the rights that canuse needs: each command runs on a key that nobody else uses."""

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Final

from canuse_server.store.diagnosis.findings import Finding, ok, problem, warn
from canuse_server.store.errors import StoreError
from canuse_server.store.redis.client import RawCommand, Store
from canuse_server.store.scripts.loader import ALL

CHANNEL: Final = "canuse:doctor"
LIFETIME_MS: Final = "10000"
NEEDED: Final = (
    *(("SET", "{key}", "1", "PX", LIFETIME_MS), ("GET", "{key}"), ("INCR", "{key}"), ("EXISTS", "{key}")),
    *(("PEXPIRE", "{key}", LIFETIME_MS), ("DEL", "{key}"), ("HSET", "{key}", "f", "1"), ("HGET", "{key}", "f")),
    *(("PEXPIRE", "{key}", LIFETIME_MS), ("HMGET", "{key}", "f"), ("HGETALL", "{key}"), ("HVALS", "{key}")),
    *(("HSETNX", "{key}", "f", "1"), ("HDEL", "{key}", "f"), ("SADD", "{key}", "m"), ("PEXPIRE", "{key}", LIFETIME_MS)),
    *(("SMEMBERS", "{key}"), ("SREM", "{key}", "m"), ("ZADD", "{key}", "1", "m"), ("PEXPIRE", "{key}", LIFETIME_MS)),
    *(("ZRANGE", "{key}", "0", "-1"), ("ZRANGEBYSCORE", "{key}", "1", "1"), ("ZRANGEBYLEX", "{key}", "-", "+")),
    *(("ZREM", "{key}", "m"), ("XADD", "{key}", "1-1", "f", "1"), ("PEXPIRE", "{key}", LIFETIME_MS)),
    *(("XRANGE", "{key}", "-", "+"), ("XREVRANGE", "{key}", "+", "-"), ("XDEL", "{key}", "1-1"), ("UNLINK", "{key}")),
    ("PUBLISH", CHANNEL, "1"),
)
"""Commands without which a server does not work. They leave no key, and one that is left by a refusal expires."""
NOT_TRIMMED: Final = "what is too old of idle users is not removed"
USEFUL: Final = (
    (("SCARD", "{key}"), "the metrics canuse_users and canuse_ledger_events are missing"),
    (("XLEN", "{key}"), "the metrics canuse_users and canuse_ledger_events are missing"),
    (("CONFIG", "GET", "appendfsync"), "appendfsync and other settings of the store can't be checked"),
    (("SCAN", "0", "COUNT", "1"), NOT_TRIMMED),
    (("HSCAN", "{key}", "0"), NOT_TRIMMED),
    (("XTRIM", "{key}", "MINID", "0"), NOT_TRIMMED),
)
"""Commands without which something is missing, and what that is."""
ADVICE: Final = "see the command ACL SETUSER in docs/storage.md"


async def check_rights(store: Store) -> Finding:
    """Return whether the user has the rights that a server needs. Raises StoreError if the store is unavailable."""
    key = f"canuse:doctor:{secrets.token_hex(8)}"
    refused = [str(command[0]) async for command in _refused(store, key, NEEDED)]
    if refused:
        names = ", ".join(dict.fromkeys(refused))
        return problem("rights", f"the user on the store has no right to run {names}: {ADVICE}")
    missing = [command async for command in _refused(store, key, [command for command, _ in USEFUL])]
    if missing:
        reasons = dict.fromkeys(reason for command, reason in USEFUL if _on(key, command) in missing)
        names = ", ".join(str(command[0]) for command in missing)
        return warn("rights", f"the user on the store has no right to run {names}: {'; '.join(reasons)}; {ADVICE}")
    return ok("rights", "all commands that a server needs are allowed")


async def check_scripts(store: Store) -> Finding:
    """Return whether the store takes the scripts. Raises StoreError if it is unavailable."""
    try:
        await store.load_scripts()
    except StoreError as error:
        if not is_refusal(error):
            raise
        return problem("scripts", f"the store does not load canuse's scripts: {error}; {ADVICE}")
    return ok("scripts", f"all {len(ALL)} can be loaded")


def is_refusal(error: StoreError) -> bool:
    """Whether an error says that the user must not do this."""
    return "NOPERM" in str(error) or "unknown command" in str(error)


async def _refused(store: Store, key: str, commands: Sequence[RawCommand]) -> AsyncIterator[RawCommand]:
    for command in (_on(key, each) for each in commands):
        try:
            await store.call(command)
        except StoreError as error:
            if is_refusal(error):
                yield command
            elif "WRONGTYPE" not in str(error):  # The command that removes the key before was refused.
                raise


def _on(key: str, command: RawCommand) -> RawCommand:
    return tuple(key if part == "{key}" else part for part in command)
