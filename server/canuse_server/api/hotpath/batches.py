"""Batches: many calls of one hot method, with one write to the store for all of them.

Each call ends as it would have ended alone. What one command can't answer is repaired and sent again, together
with the calls of the same user that wait behind it, so that the calls of a user are made in their order in any case.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError, Message

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.bounds import check_size, method_bytes, too_large
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.failures import to_api_error
from canuse_server.api.hotpath.batch_items import batch_items
from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.executor import repair, retries_exhausted, without_store
from canuse_server.api.hotpath.method import (
    PREFIX,
    RETRYABLE,
    ExplanationWantedError,
    FeatureUnknownError,
    HotMethod,
    Plan,
)
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature
from canuse_server.api.hotpath.wire import LENGTH_DELIMITED, tag, varint
from canuse_server.api.users.state import MAX_REPAIRS
from canuse_server.api.validation import malformed
from canuse_server.runtime.call_state import current_call
from canuse_server.runtime.fairness import WorkShare
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.redis.command import Command
from canuse_server.store.redis.replies import NoScriptError, NotMadeError
from canuse_server.store.repositories.usage_commands import ChainBrokenError, chained

_REPEATED: Final = (*RETRYABLE, ChainBrokenError, NoScriptError, NotMadeError)
"""What sends a call again. None of them has written anything."""
# All batches number them alike.
_RESULTS: Final = tag(pb.BatchCanUseResponse.RESULTS_FIELD_NUMBER, LENGTH_DELIMITED)
_RESPONSE: Final = tag(pb.BatchCanUseResult.RESPONSE_FIELD_NUMBER, LENGTH_DELIMITED)
_STATUS: Final = tag(pb.BatchCanUseResult.STATUS_FIELD_NUMBER, LENGTH_DELIMITED)


class BatchMethod(NamedTuple):
    """A method that makes many calls of a hot one."""

    path: str
    hot: HotMethod
    request: type[Message]
    item: type[Message]


BATCH_METHODS: Final = (
    BatchMethod(PREFIX + "BatchCanUse", CanUse(), pb.BatchCanUseRequest, pb.CanUseRequest),
    BatchMethod(
        PREFIX + "BatchCreateUsageEvents",
        CreateUsageEvent(),
        pb.BatchCreateUsageEventsRequest,
        pb.CreateUsageEventRequest,
    ),
    BatchMethod(PREFIX + "BatchUseFeature", UseFeature(), pb.BatchUseFeatureRequest, pb.UseFeatureRequest),
)


async def answer_batch(method: BatchMethod, payload: bytes, env: Environment) -> bytes:
    """Answer the calls of a batch; others go on meanwhile, however many these are.

    Raises:
        ApiError: there are none or too many, or the bytes are no such message.
    """
    check_size(method.path, len(payload))
    name, share = method.request.DESCRIPTOR.full_name, WorkShare()
    payloads = batch_items(name, payload)
    for item in payloads:
        if len(item) <= method_bytes(method.hot.path):
            try:
                method.item.FromString(item)
            except DecodeError:
                raise malformed(name) from None
            await share.pause_if_due()
    results = []
    for answer in await _Batch(method.hot, payloads, env, share).run():
        if isinstance(answer, ApiError):
            result = _field(_STATUS, answer.status().SerializeToString())
        else:
            result = _field(_RESPONSE, answer)
        results.append(_field(_RESULTS, result))
        await share.pause_if_due()
    if method.hot.writes:
        # Each by itself: there is nothing left that the call as a whole would have to wait for, or fail with.
        current_call().confirmed = True
    return b"".join(results)


def _field(field_tag: bytes, value: bytes) -> bytes:
    return b"".join((field_tag, varint(len(value)), value))


class _Batch:
    """The calls of a batch on their way. They are known by their place in it."""

    def __init__(self, method: HotMethod, payloads: Sequence[bytes], env: Environment, share: WorkShare) -> None:
        self._method = method
        self._payloads = payloads
        self._env = env
        self._share = share
        self._answers: dict[int, bytes | ApiError] = {}
        self._planned: dict[int, Plan] = {}

    async def run(self) -> list[bytes | ApiError]:
        """Return what each call came to."""
        in_vain = 0
        while waiting := self._waiting():
            retryables = await self._execute(await self._plans())
            await asyncio.gather(*(self._take(*retryable) for retryable in retryables))
            in_vain = in_vain + 1 if self._waiting() == waiting else 0
            if in_vain == MAX_REPAIRS:
                self._fail(waiting, retries_exhausted())
        return [self._answers[place] for place in range(len(self._payloads))]

    def _waiting(self) -> list[int]:
        return [place for place in range(len(self._payloads)) if place not in self._answers]

    async def _plans(self) -> dict[int, Plan]:
        """Plan the calls that wait, in order. Features that are not in memory are looked up, all at once."""
        plans: dict[int, Plan] = {}
        for _ in range(MAX_REPAIRS):
            unknown: dict[str, list[int]] = {}
            for place in self._waiting():
                try:
                    if place not in plans:
                        plans[place] = self._plan(self._payloads[place])
                except FeatureUnknownError as retryable:
                    unknown.setdefault(retryable.feature_id, []).append(place)
                except ExplanationWantedError:
                    self._fail([place], invalid([("explain", "must not be set in a batch; true was sent")]))
                except Exception as error:  # noqa: BLE001 - one bad call fails alone; `to_api_error` logs a defect
                    self._fail([place], error)
                await self._share.pause_if_due()
            if not unknown:
                break
            await asyncio.gather(*(self._take(FeatureUnknownError(name), "", at) for name, at in unknown.items()))
        else:
            self._fail([place for place in self._waiting() if place not in plans], retries_exhausted())
        self._planned |= plans
        return dict(sorted(plans.items()))

    def _plan(self, payload: bytes) -> Plan:
        if len(payload) > method_bytes(self._method.path):
            raise too_large(self._method.path, len(payload))
        return self._method.plan(payload, self._env)

    async def _execute(self, plans: Mapping[int, Plan]) -> list[tuple[Exception, str, list[int]]]:
        """Send the commands of all calls in one write; return what to repair, each with its user and its calls."""
        replies = await self._env.store.pipeline(self._commands(plans.values()))
        retryables: dict[str, tuple[Exception, str, list[int]]] = {}
        failed: set[str] = set()
        for (place, plan), (reply, now_ms) in zip(plans.items(), replies, strict=True):
            try:
                if isinstance(reply, Exception):
                    raise reply
                self._answers[place] = self._method.respond(plan, reply, now_ms)
            except _REPEATED as retryable:
                if self._method.writes and plan.user_id in failed:
                    # One before it may have been sent and be made yet: this one must not be made before it.
                    self._fail(
                        [place], StoreUnavailableError("the store failed an earlier use of this user in the batch")
                    )
                    continue
                # The first one says what the user's calls wait for.
                retryables.setdefault(plan.user_id, (retryable, plan.user_id, []))[2].append(place)
            except Exception as error:  # noqa: BLE001 - one bad call fails alone; `to_api_error` logs a defect
                self._fail([place], error)
                if isinstance(error, StoreError):
                    failed.add(plan.user_id)
            await self._share.pause_if_due()
        return list(retryables.values())

    def _commands(self, plans: Iterable[Plan]) -> list[Command]:
        """Return the commands; the uses of one user hang together, each made only where those before it were."""
        plans = list(plans)
        uses = Counter(plan.user_id for plan in plans if self._method.writes)
        marks = {user_id: self._env.keys.chain(user_id, secrets.token_hex(8)) for user_id, n in uses.items() if n > 1}
        charge_indexes = Counter[str]()
        commands = []
        for plan in plans:
            user_id, command, mark = plan.user_id, plan.command, marks.get(plan.user_id)
            charge_indexes[user_id] += 1
            commands.append(chained(command, mark, charge_indexes[user_id], uses[user_id]) if mark else command)
        return commands

    async def _take(self, retryable: Exception, user_id: str, charge_indexes: list[int]) -> None:
        try:
            await repair(retryable, user_id, self._env)
        except Exception as error:  # noqa: BLE001 - the calls of one user fail alone; `to_api_error` logs a defect
            self._fail(charge_indexes, error)

    def _fail(self, charge_indexes: Iterable[int], error: Exception) -> None:
        for place in charge_indexes:
            self._answers[place] = self._failure(self._planned.get(place), error)

    def _failure(self, plan: Plan | None, error: Exception) -> bytes | ApiError:
        """Return what a call that failed is answered."""
        try:
            if isinstance(error, StoreUnavailableError | OutcomeUnknownError):
                return without_store(self._method, plan, error)
        except ApiError as known:
            return known
        except StoreError:
            return to_api_error(self._method.path, error)
        return error if isinstance(error, ApiError) else to_api_error(self._method.path, error)
