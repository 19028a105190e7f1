"""Reuses the plan of a request for requests that differ only in the ids of their user and their event.

What remains of a request without these ids is the same for nearly all calls of a feature. The ids are copied from the
request to the command without changes; only the digest of the event id is computed, and the user's part of the store.
"""

from typing import Final, NamedTuple

from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.method import RETRYABLE, HotMethod, Plan
from canuse_server.api.hotpath.wire import LENGTH_DELIMITED, VARINT
from canuse_server.store.keys import key_count
from canuse_server.store.redis.command import Command
from canuse_server.store.redis.replies import pack

_WIRE_TYPE: Final = 7
"""Mask of the wire type in a tag."""
_MORE: Final = 128
"""The bit of a varint's byte that is not its last; numbers below it take one byte."""
_PRINTABLE: Final = range(33, 127)
_NO_COMMAND: Final = Command(())
_NO_TEMPLATE: Final = (ApiError, *RETRYABLE)

TemplateKey = tuple[int, int, int, bytes]
"""The method, the lengths of both ids, and the request without them."""


CutRequest = tuple[TemplateKey, bytes, bytes]
"""What remains of a request without its ids, and the ids of the user and the event. A named tuple is slower to make."""


def cut(method_id: int, method: HotMethod, payload: bytes) -> CutRequest | None:
    """Cut the ids out of a request; None unless it starts with the user id, as generated code writes it.

    The event id is empty if there is none, or if it is written in an unusual way.
    """
    if len(payload) < 2 or payload[0] != method.user_tag:
        return None
    length = payload[1]
    end = 2 + length
    if not 0 < length < _MORE or end > len(payload):
        return None
    user_id, rest, tag = payload[2:end], payload[end:], method.event_tag
    field = find_event_id(rest, tag) if tag in rest else None
    if field is None:
        return (method_id, length, 0, rest), user_id, b""
    event_id = rest[field.id_at : field.end]
    return (method_id, length, len(event_id), rest[: field.field_at] + rest[field.end :]), user_id, event_id


class EventField(NamedTuple):
    """The offsets of an event id in a request: of the field's tag, of the id, and of its end."""

    field_at: int
    id_at: int
    end: int


def find_event_id(fields: bytes, tag: int) -> EventField | None:
    """Find the event id in fields by the tag of its field; None if there is none, or if the fields are unusual."""
    at, size = 0, len(fields)
    try:
        while at < size:
            key = fields[at]
            if key & _WIRE_TYPE == LENGTH_DELIMITED:
                length = fields[at + 1]
                end = at + 2 + length
                if length >= _MORE or end > size:
                    return None
                if key == tag:
                    return EventField(at, at + 2, end) if length else None
                at = end
            elif key & _WIRE_TYPE == VARINT and key < _MORE:
                at += 1
                while fields[at] >= _MORE:
                    at += 1
                at += 1
            else:
                return None
    except IndexError:
        return None
    return None


class RequestTemplate:
    """Makes the plan and the command for other ids of the same lengths."""

    __slots__ = ("_delta", "_digest", "_event_mark", "_pieces", "_prefix", "_tail", "_user_mark", "features", "size")

    def __init__(self, plan: Plan, marked: bytes, tail: bytes, marks: "_Marks", env: Environment) -> None:
        self.features = plan.features
        self._delta = plan.delta
        self.size = len(marked) + len(tail)
        """Size of the command without the ids, in bytes."""
        self._pieces = marked.split(marks.prefix)
        self._tail = tail
        self._user_mark = marks.user_id
        self._event_mark = marks.event_id
        self._prefix = env.keys.prefix
        self._digest = env.store.event_key.digest

    def fill(self, user_id: bytes, event_id: bytes) -> tuple[Plan, bytes] | None:
        """Return the plan, without its command, and the packed command; None if an id has to be validated."""
        if not user_id.isascii():
            return None
        user, event = user_id.decode(), ""
        if not user.isprintable():
            return None
        packed = self._prefix(user_id).join(self._pieces).replace(self._user_mark, user_id)
        if event_id:
            if not event_id.isascii():
                return None
            event = event_id.decode()
            if not event.isprintable():
                return None
            packed = b"".join((packed.replace(self._event_mark, event_id), self._digest(event_id), self._tail))
        # In half the time of a call of Plan.
        return tuple.__new__(Plan, (_NO_COMMAND, user, self.features, self._delta, event, True, "", None, ())), packed


class _Marks(NamedTuple):
    """Bytes that stand for what a template inserts."""

    prefix: bytes
    user_id: bytes
    event_id: bytes


def template_of(method: HotMethod, key: TemplateKey, packed: bytes, env: Environment) -> RequestTemplate | None:
    """Return the template for a request with the packed command of its plan; None if it depends on its ids otherwise.

    A request with other ids is planned, whose characters occur nowhere else in the command. So what it consists of in
    the command is the ids.
    """
    _, user_length, event_length, rest = key
    absent = [byte for byte in range(256) if byte not in packed and byte not in rest]
    printable = [bytes((byte,)) for byte in absent if byte in _PRINTABLE]
    others = [bytes((byte,)) for byte in absent if byte not in _PRINTABLE]
    if len(printable) < 2 or len(others) < 3:
        return None
    user_id, event_id = printable[0] * user_length, printable[1] * event_length
    marks = _Marks(*others[:3])
    ids = bytes((method.user_tag, user_length)) + user_id
    if event_id:
        ids += bytes((method.event_tag, event_length)) + event_id
    try:
        # If the rest has an id, too, that one is valid, since it comes last.
        plan = method.plan(ids + rest, env)
    except _NO_TEMPLATE:
        return None
    if (plan.user_id.encode(), plan.event_id.encode(), plan.cacheable) != (user_id, event_id, True):
        return None
    command, tail = pack(plan.command.command), b""
    if event_id:
        command, _, tail = command.partition(env.store.event_key.digest(event_id))
    prefix = env.keys.prefix(user_id)
    if command.count(prefix) != key_count(plan.command.command):
        return None
    marked = command.replace(prefix, marks.prefix).replace(user_id, marks.user_id)
    if event_id:
        marked = marked.replace(event_id, marks.event_id)
    if any(byte in marked + tail for byte in printable[0] + (printable[1] if event_id else b"")):
        return None
    return RequestTemplate(plan, marked, tail, marks, env)
