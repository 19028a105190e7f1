"""Reuses the plan of a request for requests that differ only in the ids of their user and their event.

What remains of a request without these ids is the same for nearly all calls of a feature. The ids are copied from the
request to the command without changes; only the digest of the event id is computed, and the user's part of the store.
"""

from typing import Final, NamedTuple

from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.method import RETRYABLE, HotMethod, Plan
from canuse_server.api.hotpath.request_ids import TemplateKey, plain_text
from canuse_server.store.keys import key_count
from canuse_server.store.redis.command import NO_COMMAND
from canuse_server.store.redis.replies import pack

_PRINTABLE: Final = range(33, 127)
_NO_TEMPLATE: Final = (ApiError, *RETRYABLE)


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
        user, event = plain_text(user_id), ""
        if user is None:
            return None
        packed = self._prefix(user_id).join(self._pieces).replace(self._user_mark, user_id)
        if event_id:
            text = plain_text(event_id)
            if text is None:
                return None
            event = text
            packed = b"".join((packed.replace(self._event_mark, event_id), self._digest(event_id), self._tail))
        # In half the time of a call of Plan.
        return tuple.__new__(Plan, (NO_COMMAND, user, self.features, self._delta, event, True, "", None, ())), packed


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
