"""How the calls of a batch go to the store: commands that stand for several calls each, or for one."""

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.method import HotMethod, Plan
from canuse_server.store.errors import StoreError
from canuse_server.store.redis.command import Command
from canuse_server.store.redis.replies import check
from canuse_server.store.repositories.usage_commands import chained


class BatchCommand(NamedTuple):
    """A command and the places of its calls in the batch.

    `parts` takes its reply apart into the replies to these; None: there is one call.
    """

    command: Command
    places: Sequence[int]
    parts: Callable[[object], Sequence[object]] | None = None


class Planner(Protocol):
    """Plans the calls of one round of a batch."""

    def plan(self, place: int, payload: bytes) -> Plan:
        """Plan a call. Raises DecodeError, and the errors of `plan` of the method."""

    def commands(self, plans: Mapping[int, Plan]) -> list[BatchCommand]:
        """Return the commands of planned calls, in their order. A call that is not among them waits for the next
        round."""

    def respond(self, place: int, plan: Plan, reply: object, now_ms: int) -> bytes:
        """Return the response to a call, as `respond` of the method does."""


class SinglePlanner:
    """A command for each call, as it would be sent alone. See Planner."""

    def __init__(self, method: HotMethod, env: Environment) -> None:
        self._method = method
        self._env = env

    def plan(self, _place: int, payload: bytes) -> Plan:
        """See Planner."""
        return self._method.plan(payload, self._env)

    def commands(self, plans: Mapping[int, Plan]) -> list[BatchCommand]:
        """See Planner. The uses of one user hang together, each made only where those before it were."""
        uses = Counter(plan.user_id for plan in plans.values() if self._method.writes)
        marks = {user_id: self._env.keys.chain(user_id, secrets.token_hex(8)) for user_id, n in uses.items() if n > 1}
        made = Counter[str]()
        commands = []
        for place, plan in plans.items():
            user_id, command, mark = plan.user_id, plan.command, marks.get(plan.user_id)
            made[user_id] += 1
            if mark is not None:
                command = chained(command, mark, made[user_id], uses[user_id])
            commands.append(BatchCommand(command, (place,)))
        return commands

    def respond(self, _place: int, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See Planner."""
        return self._method.respond(plan, reply, now_ms)


def listed(reply: object) -> Sequence[object]:
    """Take a reply apart that is a list with one for each call, some of them possibly errors."""
    return [each if isinstance(each, bytes) else _checked(each) for each in cast("list[object]", reply)]


def _checked(reply: object) -> object:
    try:
        return check(reply)
    except StoreError as error:
        return error
