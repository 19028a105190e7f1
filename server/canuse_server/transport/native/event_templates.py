"""Reuses the plan of a request for requests that differ only in their event id.

The id is copied from the request to the ledger's entry without changes; only its digest is computed.
"""

from typing import Final, NamedTuple

from canuse_server.api.hotpath.method import Plan
from canuse_server.api.hotpath.wire import LEDGER_EVENT_ID, LENGTH_DELIMITED, VARINT
from canuse_server.store.codec.event_ids import DIGEST_BYTES, EventKey
from canuse_server.store.redis.replies import pack

_WIRE_TYPE: Final = 7
"""Mask of the wire type in a tag."""
_MORE: Final = 128
"""The bit of a varint's byte that is not its last; numbers below it take one byte."""


class EventField(NamedTuple):
    """The offsets of an event id in a request: of the field's tag, of the id, and of its end."""

    field_at: int
    id_at: int
    end: int


def find_event_id(payload: bytes, tag: int) -> EventField | None:
    """Find the event id in a request by the tag of its field; None if there is none, or if the request is unusual."""
    at, size = 0, len(payload)
    try:
        while at < size:
            key = payload[at]
            if key & _WIRE_TYPE == LENGTH_DELIMITED:
                length = payload[at + 1]
                end = at + 2 + length
                if length >= _MORE or end > size:
                    return None
                if key == tag:
                    return EventField(at, at + 2, end) if length else None
                at = end
            elif key & _WIRE_TYPE == VARINT and key < _MORE:
                at += 1
                while payload[at] >= _MORE:
                    at += 1
                at += 1
            else:
                return None
    except IndexError:
        return None
    return None


class EventTemplate:
    """Makes the plan and the command for other event ids. `plan` must be repeatable and have an event id."""

    __slots__ = ("_entry", "_head", "_key", "_plan", "_tail")

    def __init__(self, plan: Plan, key: EventKey) -> None:
        self._plan = plan
        self._key = key
        # Only the last two arguments depend on the event id: the ledger's entry, which ends with it, and the id itself.
        *_, entry, event = plan.command.command
        assert isinstance(entry, bytes)
        assert isinstance(event, bytes)
        arguments = pack((entry, event)).partition(b"\r\n")[2]
        self._head = pack(plan.command.command).removesuffix(arguments)
        self._entry = entry.removesuffix(_ledger_field(plan.event_id.encode()))
        self._tail = b"\r\n$%d\r\n" % len(event), event[DIGEST_BYTES:] + b"\r\n"

    def fill(self, event_id: bytes) -> tuple[Plan, bytes] | None:
        """Return the plan and the packed command for another event id; None if the id has to be validated."""
        if not event_id.isascii():
            return None
        text = event_id.decode()
        if not text.isprintable():
            return None
        entry, (before, after) = self._entry, self._tail
        field = _ledger_field(event_id)
        packed = b"".join(
            (
                self._head,
                b"$%d\r\n" % (len(entry) + len(field)),
                entry,
                field,
                before,
                self._key.digest(event_id),
                after,
            )
        )
        command, user_id, features, delta, *_ = self._plan
        return Plan(command, user_id, features, delta, text), packed


def _ledger_field(event_id: bytes) -> bytes:
    return LEDGER_EVENT_ID + bytes((len(event_id),)) + event_id
