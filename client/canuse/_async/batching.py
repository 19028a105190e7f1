"""Calls of one tick of the event loop that leave together.

Written by hand, as is `canuse._sync.batching`: this is where the two clients differ.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

import grpc

from canuse._async.channel import Channel
from canuse._async.stubs import Stubs
from canuse._batching import MAX_BATCH, METHODS, SPLIT_FROM, WINDOW_SECONDS, answer_of, concerns_one, goes_alone


class _Waiting(NamedTuple):
    """A call that waits to leave."""

    request: Any
    answer: "asyncio.Future[Any]"
    timeout: float | None
    metadata: Any


class BatchedMethod:
    """A method of a stub. Its first call leaves at once; further ones leave together.

    Those of the same tick of the event loop leave at its end. Later ones wait until a call in flight ends, but no
    longer than the window.
    """

    def __init__(self, single: Any, batch: Any, request_type: Any) -> None:
        """Replace a method of a stub by one for many calls."""
        self._single = single
        self._batch = batch
        self._request_type = request_type
        self._waiting: list[_Waiting] = []
        self._in_flight = 0
        self._tick: asyncio.Handle | None = None
        """The end of the tick in which calls have left."""
        self._window: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as gRPC has it
        metadata: Any = None,
        **options: Any,
    ) -> Any:
        """Make a call, by itself or with others."""
        if goes_alone(request, options):
            return await self._single(request, timeout=timeout, metadata=metadata, **options)
        loop = asyncio.get_running_loop()
        if not self._in_flight:
            self._in_flight = 1
            self._tick = loop.call_soon(self._leave)
            try:
                return await self._single(request, timeout=timeout, metadata=metadata)
            finally:
                self._ended(loop)
        waiting = _Waiting(request, loop.create_future(), timeout, metadata)
        self._waiting.append(waiting)
        if len(self._waiting) == MAX_BATCH:
            self._leave()
        elif self._tick is None and self._window is None:
            self._window = loop.call_later(WINDOW_SECONDS, self._leave)
        return await waiting.answer

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let calls leave after those that got their answers have made their next ones."""
        self._in_flight -= 1
        if self._tick is None:
            self._tick = loop.call_soon(self._leave)

    def _leave(self) -> None:
        """Send what waits."""
        self._tick = None
        if self._window is not None:
            self._window.cancel()
            self._window = None
        # Without those whose callers were cancelled.
        items = [each for each in self._waiting if not each.answer.done()]
        self._waiting = []
        # Two halves, so that the client works on the answers of one while the server works on the other.
        half = len(items) if len(items) < SPLIT_FROM else -(-len(items) // 2)
        for batch in (items[:half], items[half:]):
            if batch:
                self._in_flight += 1
                task = asyncio.get_running_loop().create_task(self._send(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _send(self, items: Sequence[_Waiting]) -> None:
        try:
            if len(items) == 1:
                await self._send_alone(items[0])
                return
            timeouts = [each.timeout for each in items if each.timeout is not None]
            longest = max(timeouts) if len(timeouts) == len(items) else None
            request = self._request_type(requests=[each.request for each in items])
            try:
                response = await self._batch(request, timeout=longest, metadata=items[0].metadata)
            except grpc.RpcError as error:
                if not concerns_one(error):
                    raise
                await asyncio.gather(*map(self._send_alone, items))
                return
            for item, result in zip(items, response.results, strict=True):
                _answer(item, answer_of(result))
        except asyncio.CancelledError:
            # gRPC cancels the calls of a channel that is closed.
            for item in items:
                item.answer.cancel()
        except Exception as error:  # noqa: BLE001 - each caller gets it
            for item in items:
                _answer(item, error)
        finally:
            self._ended(asyncio.get_running_loop())

    async def _send_alone(self, item: _Waiting) -> None:
        try:
            call: Awaitable[Any] = self._single(item.request, timeout=item.timeout, metadata=item.metadata)
            _answer(item, await call)
        except grpc.RpcError as error:
            _answer(item, error)


def _answer(item: _Waiting, answer: Any) -> None:
    if item.answer.done():
        return
    if isinstance(answer, Exception):
        item.answer.set_exception(answer)
    else:
        item.answer.set_result(answer)


def batched_stubs(channel: Channel) -> Stubs:
    """Return the stubs on a channel, with calls that leave together."""
    stubs = Stubs(channel)
    for name, (batch, request_type) in METHODS.items():
        single = getattr(stubs.entitlements, name)
        setattr(stubs.entitlements, name, BatchedMethod(single, getattr(stubs.entitlements, batch), request_type))
    return stubs
