"""The uses of a batch in its first round: many with one script, see `use_batches`.

Nearly all requests are not decoded: the ids of the user and the event are copied as they came, and the rest, which many
requests have in common, is parsed once.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.batch.commands import NO_COMMAND, BatchCommand, listed
from canuse_server.api.hotpath.event_ids import event_argument, is_plain_ttl
from canuse_server.api.hotpath.method import Plan
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature
from canuse_server.api.hotpath.wire import LEDGER_EVENT_ID, LENGTH_DELIMITED, USER_ID, VARINT, ledger_event, tag
from canuse_server.domain.model import MAX_AMOUNT, Feature, FeatureType
from canuse_server.store.codec.event_ids import DIGEST_BYTES, fingerprint
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.use_batches import BatchUse, batch_commands, batch_use, packed_head

UseRequest = type[pb.CreateUsageEventRequest] | type[pb.UseFeatureRequest]
_ADDS: Final = (pb.USAGE_ACTION_UNSPECIFIED, pb.USAGE_ACTION_ADD)
_USER: Final = tag(pb.UseFeatureRequest.USER_ID_FIELD_NUMBER, LENGTH_DELIMITED)[0]
"""The tag of the user id, which is the same in all requests and in the ledger."""
_WIRE_TYPE: Final = 7
"""Mask of the wire type in a tag."""
_MORE: Final = 0x80
"""The bit of a varint's byte that is not its last; numbers below it take one byte."""
assert USER_ID[0] == _USER


class _Template(NamedTuple):
    """What requests have in common that differ in nothing but the user id and the event id."""

    features: tuple[Feature]
    delta: int
    head: bytes
    head_with_event: bytes
    event_tail: bytes
    """The event id as the script takes it, after the digest."""
    entry: bytes
    """The ledger's entry after the user, up to the event id."""


class UsePlanner:
    """See Planner."""

    def __init__(self, method: CreateUsageEvent | UseFeature, request_class: UseRequest, env: Environment) -> None:
        self._method = method
        self._request_class = request_class
        self._env = env
        self._event_tag = method.event_tag
        self._templates: dict[bytes, _Template | None] = {}
        self._uses: dict[int, BatchUse | None] = {}
        self._event_ids: dict[int, bytes] = {}

    def plan(self, place: int, payload: bytes) -> Plan:
        """See Planner. The plan of nearly all uses is made in a third of the time that `plan` of the method takes."""
        plan = self._quick_plan(place, payload)
        if plan is None:
            plan, self._uses[place] = self._plan_in_full(payload)
        return plan

    def commands(self, plans: Mapping[int, Plan]) -> list[BatchCommand]:
        """See Planner. A use that needs a script of its own waits, and those of the user behind it do."""
        waiting_users, places, uses = set[str](), [], []
        for place, plan in plans.items():
            use = self._uses[place]
            if use is None:
                waiting_users.add(plan.user_id)
            elif not waiting_users or plan.user_id not in waiting_users:
                places.append(place)
                uses.append(use)
        env = self._env
        commands = batch_commands(
            env.keys, uses, env.retention, env.store.manual_now, one_slot=bool(env.store.endpoint.seeds)
        )
        return [BatchCommand(command, [places[index] for index in indexes], listed) for command, indexes in commands]

    def respond(self, place: int, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See Planner."""
        event_id = self._event_ids.get(place, b"")
        if not isinstance(reply, bytes) or reply[0] != usage_commands.DONE or (plan.event_id and not event_id):
            return self._method.respond(plan, reply, now_ms)
        return self._method.respond_done(reply, event_id)

    def _quick_plan(self, place: int, payload: bytes) -> Plan | None:
        """Return the plan of a request and note its use for a script of many; None if the request is unusual."""
        found = _event_field(payload, self._event_tag)
        if found is None:
            return None
        rest_at, event_at, event_end = found
        rest = payload[rest_at:event_at] + payload[event_end:]
        template = self._templates[rest] if rest in self._templates else self._template(rest)
        user_id = _plain(payload[2:rest_at])
        if template is None or user_id is None:
            return None
        if event_at == event_end:
            self._uses[place] = user_id, template.head + payload[:rest_at] + template.entry, False
            return Plan(NO_COMMAND, user_id, template.features, template.delta)
        encoded = payload[event_at + 2 : event_end]
        event_id = _plain(encoded)
        if not event_id:
            return None
        self._event_ids[place] = field = payload[event_at + 1 : event_end]
        event = self._env.store.event_key.digest(encoded) + template.event_tail
        entry = payload[:rest_at], template.entry, LEDGER_EVENT_ID, field
        self._uses[place] = user_id, b"".join((template.head_with_event, event, *entry)), True
        return Plan(NO_COMMAND, user_id, template.features, template.delta, event_id)

    def _template(self, rest: bytes) -> _Template | None:
        """Return the template for requests with the same fields besides the user id and the event id; None: they are
        unusual."""
        request = self._request_class.FromString(rest)
        action = request.action if isinstance(request, pb.CreateUsageEventRequest) else pb.USAGE_ACTION_ADD
        is_fact = isinstance(request, pb.CreateUsageEventRequest)
        delta = request.delta if request.HasField("delta") else 1
        feature, template = self._env.cache.features.get(request.feature_id), None
        is_plain = action in _ADDS and not (request.user_id or request.event_id or request.metadata)
        is_plain = is_plain and delta != 0 and (-MAX_AMOUNT if is_fact else 1) <= delta <= MAX_AMOUNT
        is_plain = is_plain and is_plain_ttl(request)
        if is_plain and feature is not None and feature.type == FeatureType.CONSUMABLE and not feature.archived:
            mode = usage_commands.ADD if is_fact else usage_commands.USE
            content = fingerprint(mode, ((feature.id, delta),), {})
            template = _Template(
                (feature,),
                delta,
                packed_head(mode, feature.id, delta, has_event=False),
                packed_head(mode, feature.id, delta, has_event=True),
                event_argument(self._env, request, content)[DIGEST_BYTES:],
                ledger_event(feature.id, delta, pb.USAGE_ACTION_ADD),
            )
        self._templates[rest] = template
        return template

    def _plan_in_full(self, payload: bytes) -> tuple[Plan, BatchUse | None]:
        """Return the plan of any request and its use for a script of many; None: it needs a script of its own."""
        self._request_class.FromString(payload)  # DecodeError fails the whole batch.
        plan = self._method.plan(payload, self._env)
        return plan, batch_use(plan.user_id, plan.command)


def _event_field(payload: bytes, event_tag: int) -> tuple[int, int, int] | None:
    """Find the event id in a request; None if the request is unusual.

    Returns:
        The offsets of the end of the user id, which is the first field, and of start and end of the field of the event
        id; if there is none, of the end of the request.
    """
    size = len(payload)
    event_at = event_end = size
    try:
        at = rest_at = 2 + payload[1]
        if payload[0] != _USER or not 2 < rest_at < 2 + _MORE:
            return None
        while at < size:
            key = payload[at]
            if key >= _MORE or key == _USER:
                return None
            if key & _WIRE_TYPE == LENGTH_DELIMITED:
                end = at + 2 + payload[at + 1]
                if end - at >= 2 + _MORE or (key == event_tag and event_at < size):
                    return None
                if key == event_tag:
                    event_at, event_end = at, end
                at = end
            elif key & _WIRE_TYPE == VARINT:
                at += 1
                while payload[at] >= _MORE:
                    at += 1
                at += 1
            else:
                return None
    except IndexError:
        return None
    return (rest_at, event_at, event_end) if at == size else None


def _plain(encoded: bytes) -> str | None:
    """Return an id of fewer than 128 bytes if it is certainly valid, or None."""
    if not encoded.isascii():
        return None
    text = encoded.decode()
    return text if text.isprintable() else None
