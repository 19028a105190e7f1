"""Calls of one tick of the event loop that leave together.

Written by hand, as is `canuse._sync.batching`: this is where the two clients differ.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeAlias

import grpc

from canuse._async.channel import Channel
from canuse._async.stubs import Stubs
from canuse._batching import MAX_BATCH, METHODS, WINDOW_SECONDS, Batching, ItemError, concerns_one, share_of

_Waiting: TypeAlias = "tuple[Any, asyncio.Future[Any], float | None, Any]"
"""A call that waits to leave: the request, its answer, the timeout and the metadata. A class costs more to make."""


class BatchedMethod:
    """A method of a stub. Its first call leaves at once; further ones leave together.

    While one call is in flight, those of one tick of the event loop leave at its end. While there are more, others wait
    until one of those ends, but no longer than the window. Of many calls, one half leaves while the other half is in
    flight. A lone call costs no tick.
    """

    def __init__(self, single: Any, batch: Any, batching: Batching) -> None:
        """Replace a method of a stub by one for many calls."""
        self._single = single
        self._batch = batch
        self._batching = batching
        self._explains = batching.explains
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._in_flight = 0
        """The calls in flight, in the `_batches`."""
        self._batches = 0
        self._tick: asyncio.Handle | None = None
        """The end of a tick in which calls wait to leave."""
        self._window: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> Awaitable[Any]:
        """Make a call, by itself or with others."""
        # Explanations are large, and a retry, which has an option, may have to wait for a connection.
        if options or (self._explains and request.explain):
            return self._single(request, timeout=timeout, metadata=metadata, **options)  # type: ignore[no-any-return]
        if not self._in_flight and not self._waiting:
            return self._send_first(request, timeout, metadata)
        answer = self._loop.create_future()
        self._waiting.append((request, answer, timeout, metadata))
        if len(self._waiting) == MAX_BATCH:
            self._send_waiting(MAX_BATCH)
        elif self._tick is None:
            if self._in_flight < 2:
                self._tick = self._loop.call_soon(self._leave)
            elif self._window is None:
                self._window = self._loop.call_later(WINDOW_SECONDS, self._window_ended)
        return answer

    async def _send_first(self, request: Any, timeout: float | None, metadata: Any) -> Any:  # noqa: ASYNC109 - as gRPC
        self._started(1)
        try:
            return await self._single(request, timeout=timeout, metadata=metadata)
        finally:
            self._ended(1)

    def _started(self, calls: int) -> None:
        self._batches += 1
        self._in_flight += calls

    def _ended(self, calls: int) -> None:
        """Let calls leave after those that got their answers have made their next ones."""
        self._batches -= 1
        self._in_flight -= calls
        if self._tick is None and (self._waiting or self._in_flight):
            self._tick = self._loop.call_soon(self._leave)

    def _leave(self) -> None:
        """Send what is to leave at the end of a tick."""
        self._tick = None
        while share := share_of(len(self._waiting), self._in_flight, self._batches):
            self._send_waiting(share)
        if not self._waiting:
            if self._window is not None:
                self._window.cancel()
                self._window = None
        elif self._window is None:
            self._window = self._loop.call_later(WINDOW_SECONDS, self._window_ended)

    def _window_ended(self) -> None:
        self._window = None
        self._send_waiting(MAX_BATCH)

    def _send_waiting(self, number: int) -> None:
        batch, self._waiting = self._waiting[:number], self._waiting[number:]
        # Without those whose callers were cancelled.
        if items := [each for each in batch if not each[1].done()]:
            self._started(len(items))
            task = self._loop.create_task(self._send(items))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, items: Sequence[_Waiting]) -> None:
        try:
            if len(items) == 1:
                await self._send_alone(*items[0])
                return
            request, timeout = self._batching.joined([each[0] for each in items], [each[2] for each in items])
            try:
                response = await self._batch(request, timeout=timeout, metadata=items[0][3])
            except grpc.RpcError as error:
                if not concerns_one(error):
                    raise
                await asyncio.gather(*(self._send_alone(*each) for each in items))
                return
            self._answer_all(items, response)
        except asyncio.CancelledError:
            # gRPC cancels the calls of a channel that is closed.
            for _, answer, _, _ in items:
                answer.cancel()
        except Exception as error:  # noqa: BLE001 - each caller gets it
            for _, answer, _, _ in items:
                _answer(answer, error)
        finally:
            self._ended(len(items))

    def _answer_all(self, items: Sequence[_Waiting], response: Any) -> None:
        answer_of = self._batching.answer_of
        for (_, answer, _, _), result in zip(items, response.results, strict=True):
            if result.HasField("status"):
                _answer(answer, ItemError(result.status))
            elif not answer.done():
                answer.set_result(answer_of(result))

    async def _send_alone(
        self,
        request: Any,
        answer: "asyncio.Future[Any]",
        timeout: float | None,  # noqa: ASYNC109 - as gRPC has it
        metadata: Any,
    ) -> None:
        try:
            call: Awaitable[Any] = self._single(request, timeout=timeout, metadata=metadata)
            _answer(answer, await call)
        except grpc.RpcError as error:
            _answer(answer, error)


def _answer(waiting: "asyncio.Future[Any]", answer: Any) -> None:
    if waiting.done():
        return
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)


def batched_stubs(channel: Channel) -> Stubs:
    """Return the stubs on a channel, with calls that leave together, for the running event loop."""
    stubs = Stubs(channel)
    methods = stubs.entitlements
    for name, batching in METHODS.items():
        setattr(methods, name, BatchedMethod(getattr(methods, name), getattr(methods, batching.method), batching))
    return stubs
