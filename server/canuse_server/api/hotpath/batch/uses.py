"""The uses of a batch in its first round: many with one script, see `use_batches`.

Nearly all requests are not decoded: the ids of the user and the event are copied as they came, and the rest, which many
requests have in common, is parsed once.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.batch.commands import BatchCommand, listed
from canuse_server.api.hotpath.event_ids import event_argument, is_plain_ttl
from canuse_server.api.hotpath.method import Plan
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature
from canuse_server.api.hotpath.request_ids import cut, plain_text
from canuse_server.api.hotpath.wire import LEDGER_EVENT_ID, USER_ID, ledger_event
from canuse_server.domain.model import MAX_AMOUNT, Feature, FeatureType
from canuse_server.store.codec.event_ids import DIGEST_BYTES, fingerprint
from canuse_server.store.redis.command import NO_COMMAND
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.use_batches import BatchUse, batch_commands, batch_use, packed_head

UseRequest = type[pb.CreateUsageEventRequest] | type[pb.UseFeatureRequest]
_ADDS: Final = (pb.USAGE_ACTION_UNSPECIFIED, pb.USAGE_ACTION_ADD)
_PRINTABLE: Final = range(33, 127)
# A user id is copied from the request to the ledger with its tag.
assert USER_ID[0] == UseFeature.user_tag == CreateUsageEvent.user_tag


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
        parts = cut(0, self._method, payload)
        if parts is None:
            return None
        (_, user_bytes, event_bytes, rest), user, event = parts
        template = self._templates[rest] if rest in self._templates else self._template(rest)
        user_id, event_id = plain_text(user), plain_text(event)
        if template is None or user_id is None or event_id is None:
            return None
        user_field = payload[: 2 + user_bytes]
        if not event_bytes:
            self._uses[place] = user_id, template.head + user_field + template.entry, False
            return Plan(NO_COMMAND, user_id, template.features, template.delta)
        self._event_ids[place] = field = bytes((event_bytes,)) + event
        argument = self._env.store.event_key.digest(event) + template.event_tail
        entry = user_field, template.entry, LEDGER_EVENT_ID, field
        self._uses[place] = user_id, b"".join((template.head_with_event, argument, *entry)), True
        return Plan(NO_COMMAND, user_id, template.features, template.delta, event_id)

    def _template(self, rest: bytes) -> _Template | None:
        """Return the template for requests with the same fields besides the user id and the event id; None: they are
        unusual."""
        request = self._parsed_rest(rest)
        if request is None:
            self._templates[rest] = None
            return None
        action = request.action if isinstance(request, pb.CreateUsageEventRequest) else pb.USAGE_ACTION_ADD
        is_fact = isinstance(request, pb.CreateUsageEventRequest)
        delta = request.delta if request.HasField("delta") else 1
        feature, template = self._env.cache.features.get(request.feature_id), None
        is_plain = action in _ADDS and not request.metadata
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

    def _parsed_rest(self, rest: bytes) -> "pb.CreateUsageEventRequest | pb.UseFeatureRequest | None":
        """Parse what remains of a request without its ids, behind others that do not occur in it.

        None if it has an id, too: that one is valid, since it comes last.
        """
        absent = next((byte for byte in _PRINTABLE if byte not in rest), None)
        if absent is None:
            return None
        ids = b"".join(bytes((id_tag, 1, absent)) for id_tag in (self._method.user_tag, self._method.event_tag))
        request = self._request_class.FromString(ids + rest)
        return request if request.user_id == request.event_id == chr(absent) else None

    def _plan_in_full(self, payload: bytes) -> tuple[Plan, BatchUse | None]:
        """Return the plan of any request and its use for a script of many; None: it needs a script of its own."""
        self._request_class.FromString(payload)  # DecodeError fails the whole batch.
        plan = self._method.plan(payload, self._env)
        return plan, batch_use(plan.user_id, plan.command)
