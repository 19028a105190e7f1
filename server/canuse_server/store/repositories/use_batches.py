"""The commands that record the uses of a batch, many with one script. No I/O here, as in `usage_commands`."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from canuse_server.store.codec.user_values import RETENTION_BYTES
from canuse_server.store.keys import Keys, bucket_of
from canuse_server.store.redis.command import Command
from canuse_server.store.repositories.usage_commands import ADD, SET, USE, Retention
from canuse_server.store.scripts.loader import RECORD_BATCH

MAX_USES: Final = 64
"""Maximum number of uses of one script, which the store executes without a break: they take it half a millisecond."""
_KINDS: Final = {ADD: 0, SET: 1, USE: 2}
_KIND_EVENT: Final = 4
_HEAD: Final = Struct("<BqB")
_KEYS: Final = 2
_KEYS_WITH_EVENT: Final = 6


BatchUse = tuple[str, bytes, bool]
"""A use: the user, what `record_batch` takes as the use, and whether it has an event id."""


def packed_head(mode: str, feature_id: str, delta: int, *, has_event: bool) -> bytes:
    """Return the first part of a packed use. The event id follows, if there is one, then the ledger's entry."""
    feature = feature_id.encode()
    return _HEAD.pack(_KINDS[mode] + (_KIND_EVENT if has_event else 0), delta, len(feature)) + feature


def batch_use(user_id: str, command: Command) -> BatchUse | None:
    """Return the use that a command of `record_command` records; None if it is not of one feature, or of an archived
    one."""
    _, _, count, *rest = command.command
    mode, retention, *charge = rest[int(count) :]
    if len(charge) not in (3, 4) or len(retention) > RETENTION_BYTES:
        return None
    feature_id, delta, entry, *event = charge
    assert isinstance(mode, str)
    assert isinstance(feature_id, str)
    packed = [packed_head(mode[0], feature_id, int(delta), has_event=bool(event)), *event, entry]
    return user_id, b"".join(part for part in packed if isinstance(part, bytes)), bool(event)


class BatchCommand(NamedTuple):
    """A command, and the places of its uses in their sequence. Its reply is a list with what `single` reads of each."""

    command: Command
    places: list[int]


def batch_commands(
    keys: Keys, uses: Sequence[BatchUse], retention: Retention, manual_now: str, *, one_slot: bool
) -> Iterator[BatchCommand]:
    """Yield the commands that record uses: those of each user in their order. `one_slot`: the keys of a command must
    have one slot, as in a Cluster."""
    by_user: dict[str, list[int]] = {}
    for place, (user_id, _, _) in enumerate(uses):
        if user_id in by_user:
            by_user[user_id].append(place)
        else:
            by_user[user_id] = [place]
    groups: dict[int, _Group] = {}
    for user_id, places in by_user.items():
        if len(places) > MAX_USES:
            mark = keys.chain(user_id, secrets.token_hex(8))
            parts = [places[first : first + MAX_USES] for first in range(0, len(places), MAX_USES)]
            for number, part in enumerate(parts, 1):
                at = -number if number == len(parts) else number
                yield _command(keys, uses, _Group([user_id], [part], len(part)), retention, manual_now, mark, at)
            continue
        slot = bucket_of(user_id) if one_slot else 0
        group = groups.get(slot)
        if group is not None and group.size + len(places) > MAX_USES:
            yield _command(keys, uses, group, retention, manual_now)
            group = None
        if group is None:
            group = groups[slot] = _Group([], [], 0)
        group.users.append(user_id)
        group.places.append(places)
        group.size += len(places)
    for group in groups.values():
        yield _command(keys, uses, group, retention, manual_now)


@dataclass(slots=True)
class _Group:
    """The uses of one command: its users, the places of the uses of each, and their number."""

    users: list[str]
    places: list[list[int]]
    size: int


def _command(
    keys: Keys,
    uses: Sequence[BatchUse],
    group: _Group,
    retention: Retention,
    manual_now: str,
    chain: str = "",
    at: int = 0,
) -> BatchCommand:
    """Return the command of a group; with `chain` it is executed only if those before it were, and made all their
    uses, and `at` is its place among them, from 1, negative for the last one."""
    order, numbers, names = list[int](), bytearray(), list[str]()
    for number, places in enumerate(group.places, 1):
        order += places
        numbers += bytes((number,)) * len(places)
    packed = list[bytes]()
    has_event = False
    for place in order:
        _, use, with_event = uses[place]
        packed.append(use)
        has_event = has_event or with_event
    for user_id in group.users:
        names += keys.of_batch(user_id, has_event=has_event)
    if chain:
        names.append(chain)
    width = _KEYS_WITH_EVENT if has_event else _KEYS
    arguments: list[str | bytes] = [manual_now, retention.packed, str(width), str(at), bytes(numbers), *packed]
    command = ("EVALSHA", RECORD_BATCH.sha, str(len(names)), *names, *arguments)
    return BatchCommand(Command(command, RECORD_BATCH), order)
