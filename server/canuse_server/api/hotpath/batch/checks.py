"""The checks of a batch in their first round: one command for each user reads all that its checks depend on."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.batch.commands import BatchCommand
from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.method import Plan
from canuse_server.api.repeated_checks import MAX_ANSWER_BYTES, RepeatedCheck
from canuse_server.api.validation import is_plain_id
from canuse_server.domain.model import MAX_AMOUNT, OnUnavailable
from canuse_server.store.redis.replies import reply_bytes
from canuse_server.store.repositories import usage_commands

MAX_FEATURES: Final = 32
"""Maximum number of features of one command, which the store executes without a break: it may search the whole hash of
the user for each field."""


class CheckPlanner:
    """See Planner."""

    def __init__(self, method: CanUse, env: Environment) -> None:
        self._method = method
        self._env = env
        self._features = env.cache.features
        self._repeated: dict[int, RepeatedCheck] = {}

    def plan(self, place: int, payload: bytes) -> Plan:
        """See Planner. The plan of nearly all checks is made in a third of the time that `plan` of the method takes."""
        check = self._env.repeated_checks.find(payload)
        if check is not None:
            feature = check.plan.features[0]
            # A changed feature is a new object.
            if self._features.get(feature.id) is feature:
                self._repeated[place] = check
                return check.plan
        request = pb.CanUseRequest.FromString(payload)
        user_id = request.user_id
        known = self._features.get(request.feature_id)
        delta = request.delta if request.HasField("delta") else 1
        if known is None or request.explain or not is_plain_id(user_id) or not 0 < delta <= MAX_AMOUNT:
            return self._method.plan(payload, self._env)
        command = usage_commands.check_command(self._env.keys, user_id, known.id)
        if known.on_unavailable is OnUnavailable.LAST_KNOWN:
            return Plan(command, user_id, (known,), delta, last_known=self._env.last_known)
        plan = Plan(command, user_id, (known,), delta)
        if check := self._env.repeated_checks.note(payload, plan):
            self._repeated[place] = check
        return plan

    def commands(self, plans: Mapping[int, Plan]) -> list[BatchCommand]:
        """See Planner."""
        by_user: dict[str, list[int]] = {}
        for place, plan in plans.items():
            places = by_user.get(plan.user_id)
            if places is None:
                by_user[plan.user_id] = [place]
            else:
                places.append(place)
        commands = []
        for user_id, places in by_user.items():
            if len(places) == 1:
                commands.append(BatchCommand(plans[places[0]].command, places))
            else:
                commands += self._of_user(user_id, {place: plans[place].features[0].id for place in places})
        return commands

    def respond(self, place: int, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See Planner."""
        check = self._repeated.get(place)
        if check is None:
            return self._method.respond(plan, reply, now_ms)
        if check.from_ms <= now_ms < check.until_ms and reply == check.reply:
            return check.response
        response = self._method.respond(plan, reply, now_ms)
        if len(response) + reply_bytes(reply) <= MAX_ANSWER_BYTES:
            check.reply, check.response = reply, response
            check.from_ms, check.until_ms = now_ms, self._method.holds_until_ms(response, reply, now_ms)
        return response

    def _of_user(self, user_id: str, feature_ids: Mapping[int, str]) -> Iterator[BatchCommand]:
        """Yield the commands for several checks of a user, given with their places."""
        by_feature: dict[str, list[int]] = {}
        for place, feature_id in feature_ids.items():
            by_feature.setdefault(feature_id, []).append(place)
        ids = list(by_feature)
        for first in range(0, len(ids), MAX_FEATURES):
            part = ids[first : first + MAX_FEATURES]
            indexes = [index for index, feature_id in enumerate(part) for _ in by_feature[feature_id]]
            places = [place for feature_id in part for place in by_feature[feature_id]]
            yield BatchCommand(
                usage_commands.checks_command(self._env.keys, user_id, part), places, partial(_parts, indexes)
            )


def _parts(indexes: Sequence[int], reply: object) -> Sequence[object]:
    """Return the reply for each check; `indexes` are those of the features of the checks in the command."""
    by_feature = usage_commands.checks_replies(reply)
    return [by_feature[index] for index in indexes]
