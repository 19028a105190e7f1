"""Batches: many calls of one hot method, with few commands to the store for all of them.

The first round of a batch sends many calls with one command, and leaves those that need more to the second one. Each
call ends as it would have ended alone. What one command can't answer is repaired and sent again, together with the
calls of the same user that wait behind it, so that the calls of a user are made in their order in any case.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError, Message

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.bounds import check_size, method_bytes, too_large
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.failures import to_api_error
from canuse_server.api.hotpath.batch.checks import CheckPlanner
from canuse_server.api.hotpath.batch.commands import Planner, SinglePlanner
from canuse_server.api.hotpath.batch.items import batch_items
from canuse_server.api.hotpath.batch.uses import UsePlanner
from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.decisions import DECISIONS, count_decision
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
from canuse_server.store.redis.replies import NoScriptError, NotMadeError
from canuse_server.store.repositories.usage_commands import ChainBrokenError, UseNotMadeError

_REPEATED: Final = (*RETRYABLE, ChainBrokenError, UseNotMadeError, NoScriptError, NotMadeError)
"""What sends a call again. None of them has written anything."""
_CALLS_BETWEEN_PAUSES: Final = 16
"""Number of calls that are worked on before it is checked whether others have to get their turn."""
_REPAIRS_AT_ONCE: Final = 16
_Retryable = tuple[Exception, str, list[int]]
"""What to repair, the user, and the places of the calls that wait for it."""
# All batches number them alike.
_RESULTS: Final = tag(pb.BatchCanUseResponse.RESULTS_FIELD_NUMBER, LENGTH_DELIMITED)
_RESPONSE: Final = tag(pb.BatchCanUseResult.RESPONSE_FIELD_NUMBER, LENGTH_DELIMITED)
_STATUS: Final = tag(pb.BatchCanUseResult.STATUS_FIELD_NUMBER, LENGTH_DELIMITED)


class BatchMethod(NamedTuple):
    """A method that makes many calls of a hot one. `planner` plans the first round of a batch."""

    path: str
    hot: HotMethod
    request: type[Message]
    planner: Callable[[Environment], Planner]


_CAN_USE: Final = CanUse()
_CREATE_USAGE_EVENT: Final = CreateUsageEvent()
_USE_FEATURE: Final = UseFeature()
BATCH_METHODS: Final = (
    BatchMethod(PREFIX + "BatchCanUse", _CAN_USE, pb.BatchCanUseRequest, partial(CheckPlanner, _CAN_USE)),
    BatchMethod(
        PREFIX + "BatchCreateUsageEvents",
        _CREATE_USAGE_EVENT,
        pb.BatchCreateUsageEventsRequest,
        partial(UsePlanner, _CREATE_USAGE_EVENT, pb.CreateUsageEventRequest),
    ),
    BatchMethod(
        PREFIX + "BatchUseFeature",
        _USE_FEATURE,
        pb.BatchUseFeatureRequest,
        partial(UsePlanner, _USE_FEATURE, pb.UseFeatureRequest),
    ),
)


async def answer_batch(method: BatchMethod, payload: bytes, env: Environment) -> bytes:
    """Answer the calls of a batch; others go on meanwhile, however many these are.

    Raises:
        ApiError: there are none or too many, or the bytes are no such message.
    """
    check_size(method.path, len(payload))
    name, share = method.request.DESCRIPTOR.full_name, WorkShare()
    payloads = batch_items(name, payload)
    # The same check has the same answer.
    different = payloads if method.hot.writes else list(dict.fromkeys(payloads))
    try:
        answers = await _Batch(method, different, env, share).run()
    except DecodeError:
        raise malformed(name) from None
    results = []
    failures: dict[ApiError, bytes] = {}
    for place, answer in enumerate(answers):
        if isinstance(answer, bytes):
            results.append(_response_head(len(answer)) + answer)
        else:
            # Calls with the same reason, such as an unknown feature, share their error.
            if answer not in failures:
                failures[answer] = _field(_RESULTS, _field(_STATUS, answer.status().SerializeToString()))
            results.append(failures[answer])
        if not place % _CALLS_BETWEEN_PAUSES:
            await share.pause_if_due()
    if method.hot.writes:
        # Each by itself: there is nothing left that the call as a whole would have to wait for, or fail with.
        current_call().confirmed = True
    if len(different) < len(payloads):
        results_by_payload = dict(zip(different, results, strict=True))
        return b"".join([results_by_payload[payload] for payload in payloads])
    return b"".join(results)


def _field(field_tag: bytes, value: bytes) -> bytes:
    return b"".join((field_tag, varint(len(value)), value))


@lru_cache(maxsize=512)
def _response_head(size: int) -> bytes:
    """Return what stands before a response in the answer to a batch."""
    head = _RESPONSE + varint(size)
    return _RESULTS + varint(len(head) + size) + head


class _Batch:
    """The calls of a batch on their way. They are known by their place in it."""

    def __init__(self, method: BatchMethod, payloads: Sequence[bytes], env: Environment, share: WorkShare) -> None:
        self._method = method.hot
        self._payloads = payloads
        self._env = env
        self._share = share
        self._max_bytes = method_bytes(method.hot.path)
        self._planner = method.planner(env)
        self._answers: dict[int, bytes | ApiError] = {}
        self._planned: dict[int, Plan] = {}
        self._failed_users: set[str] = set()
        """Users of whom a use has failed that may have been sent and be made yet."""

    async def run(self) -> list[bytes | ApiError]:
        """Return what each call came to. Raises DecodeError, before anything is sent."""
        await self._round(self._planner)
        singly, in_vain = SinglePlanner(self._method, self._env), 0
        while waiting := self._waiting():
            await self._round(singly)
            in_vain = in_vain + 1 if self._waiting() == waiting else 0
            if in_vain == MAX_REPAIRS:
                self._fail(waiting, retries_exhausted())
        return [self._answers[place] for place in range(len(self._payloads))]

    async def _round(self, planner: Planner) -> None:
        """Make the calls that wait, and repair what keeps them from being made."""
        plans = await self._plans(planner)
        await self._repair(await self._execute(planner, plans))

    def _waiting(self) -> list[int]:
        return [place for place in range(len(self._payloads)) if place not in self._answers]

    async def _plans(self, planner: Planner) -> dict[int, Plan]:
        """Plan the calls that wait, in order. Features that are not in memory are looked up, all at once."""
        plans: dict[int, Plan] = {}
        places, looked_up = self._waiting(), False
        for _ in range(MAX_REPAIRS):
            unknown: dict[str, list[int]] = {}
            for count, place in enumerate(places):
                try:
                    plans[place] = self._plan(planner, place)
                except FeatureUnknownError as retryable:
                    unknown.setdefault(retryable.feature_id, []).append(place)
                except ExplanationWantedError:
                    self._fail([place], invalid([("explain", "must not be set in a batch; true was sent")]))
                except DecodeError:
                    raise
                except Exception as error:  # noqa: BLE001 - one bad call fails alone; `to_api_error` logs a defect
                    self._fail([place], error)
                if not count % _CALLS_BETWEEN_PAUSES:
                    await self._share.pause_if_due()
            if not unknown:
                break
            await self._repair([(FeatureUnknownError(name), "", at) for name, at in unknown.items()])
            places, looked_up = [place for place in self._waiting() if place not in plans], True
        else:
            self._fail(places, retries_exhausted())
        if looked_up:
            plans = dict(sorted(plans.items()))
        self._planned |= plans
        return plans

    def _plan(self, planner: Planner, place: int) -> Plan:
        payload = self._payloads[place]
        if len(payload) > self._max_bytes:
            raise too_large(self._method.path, len(payload))
        plan = planner.plan(place, payload)
        if self._failed_users and plan.user_id in self._failed_users:
            raise StoreUnavailableError("the store failed an earlier use of this user in the batch")
        return plan

    async def _execute(self, planner: Planner, plans: Mapping[int, Plan]) -> list[_Retryable]:
        """Send the commands of all calls in one write; return what to repair."""
        commands = planner.commands(plans)
        replies = await self._env.store.pipeline([batch.command for batch in commands])
        retryables: dict[str, _Retryable] = {}
        count, writes, respond = 0, self._method.writes, planner.respond
        counts, environment = DECISIONS.own(), self._env.environment
        for batch, (reply, now_ms) in zip(commands, replies, strict=True):
            if isinstance(reply, Exception) or batch.parts is None:
                parts: Sequence[object] = [reply] * len(batch.places)
            else:
                parts = batch.parts(reply)
            for place, part in zip(batch.places, parts, strict=True):
                plan = plans[place]
                try:
                    if isinstance(part, Exception):
                        raise part
                    self._answers[place] = response = respond(place, plan, part, now_ms)
                    count_decision(counts, environment, self._method, plan, response)
                except _REPEATED as retryable:
                    if writes and plan.user_id in self._failed_users:
                        # One before it may have been sent and be made yet: this one must not be made before it.
                        self._fail(
                            [place], StoreUnavailableError("the store failed an earlier use of this user in the batch")
                        )
                        continue
                    # The first one says what the user's calls wait for.
                    retryables.setdefault(plan.user_id, (retryable, plan.user_id, []))[2].append(place)
                except Exception as error:  # noqa: BLE001 - one bad call fails alone; `to_api_error` logs a defect
                    self._fail([place], error)
                    if writes and isinstance(error, StoreError):
                        self._failed_users.add(plan.user_id)
                count += 1
                if not count % _CALLS_BETWEEN_PAUSES:
                    await self._share.pause_if_due()
        return list(retryables.values())

    async def _repair(self, retryables: Sequence[_Retryable]) -> None:
        """Repair what keeps calls from being made, some of it at a time: all at once would be one turn of the loop."""
        for first in range(0, len(retryables), _REPAIRS_AT_ONCE):
            some = retryables[first : first + _REPAIRS_AT_ONCE]
            await asyncio.gather(*(self._take(*retryable) for retryable in some))

    async def _take(self, retryable: Exception, user_id: str, places: list[int]) -> None:
        try:
            await repair(retryable, user_id, self._env)
        except Exception as error:  # noqa: BLE001 - the calls of one user fail alone; `to_api_error` logs a defect
            self._fail(places, error)

    def _fail(self, places: Iterable[int], error: Exception) -> None:
        for place in places:
            answer = self._failure(self._planned.get(place), error)
            if isinstance(answer, ApiError):
                # Its traceback leads to this batch, which has the answer: a cycle with all the bytes of the request.
                answer.__traceback__ = answer.__context__ = answer.__cause__ = None
            self._answers[place] = answer

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
