"""Calls of several threads that leave together.

Written by hand, as is `canuse._async.batching`: this is where the two clients differ.
"""

from collections import deque
from collections.abc import Sequence
from threading import Event, Lock
from typing import Any

import grpc

from canuse._batching import MAX_BATCH, METHODS, Batching, ItemError, concerns_one
from canuse._sync.channel import Channel
from canuse._sync.stubs import Stubs


class _Waiting:
    """A call that waits to leave. `answer` is its response or the error; None: its thread is to send what waits."""

    __slots__ = ("answer", "metadata", "request", "timeout", "wake")

    def __init__(self, request: Any, timeout: float | None, metadata: Any) -> None:
        self.request = request
        self.timeout = timeout
        self.metadata = metadata
        self.wake = Event()
        self.answer: Any = None


class BatchedMethod:
    """A method of a stub. Its first call leaves at once; those that come during it leave together after it.

    One of the waiting threads sends for all.
    """

    def __init__(self, single: Any, batch: Any, batching: Batching) -> None:
        """Replace a method of a stub by one for many calls."""
        self._single = single
        self._batch = batch
        self._batching = batching
        self._lock = Lock()
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    def __call__(self, request: Any, *, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
        """Make a call, by itself or with others."""
        # Explanations are large, and a retry, which has an option, may have to wait for a connection.
        if options or (self._batching.explains and request.explain):
            return self._single(request, timeout=timeout, metadata=metadata, **options)
        mine = _Waiting(request, timeout, metadata)
        with self._lock:
            leads = not self._busy
            self._busy = True
            if not leads:
                self._waiting.append(mine)
        if leads:
            try:
                return self._single(request, timeout=timeout, metadata=metadata)
            finally:
                self._hand_over()
        try:
            mine.wake.wait()
        except BaseException:
            self._give_up(mine)
            raise
        if mine.answer is None:
            try:
                self._send(self._taken(mine))
            finally:
                self._hand_over()
        if isinstance(mine.answer, Exception):
            raise mine.answer
        return mine.answer

    def _give_up(self, mine: _Waiting) -> None:
        """Leave the queue: the thread was interrupted. Another one sends if this one was to."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return
        if mine.wake.is_set() and mine.answer is None:
            self._hand_over()

    def _taken(self, mine: _Waiting) -> list[_Waiting]:
        """Return the calls to send, with that of this thread first."""
        with self._lock:
            return [mine, *(self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH - 1)))]

    def _hand_over(self) -> None:
        """Let the thread that waits longest send what waits."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().wake.set()
            else:
                self._busy = False

    def _send(self, items: Sequence[_Waiting]) -> None:
        try:
            if len(items) > 1:
                self._send_batch(items)
            else:
                items[0].answer = self._alone(items[0])
        except Exception as error:  # noqa: BLE001 - each caller gets it
            for item in items:
                item.answer = error
        except BaseException:
            for item in items[1:]:
                item.answer = InterruptedError("the thread that sent this call with its own was interrupted")
            raise
        finally:
            for item in items[1:]:
                item.wake.set()

    def _send_batch(self, items: Sequence[_Waiting]) -> None:
        request, timeout = self._batching.joined([each.request for each in items], [each.timeout for each in items])
        try:
            response = self._batch(request, timeout=timeout, metadata=items[0].metadata)
        except grpc.RpcError as error:
            if not concerns_one(error):
                raise
            for item in items:
                item.answer = self._alone(item)
            return
        for item, result in zip(items, response.results, strict=True):
            failed = result.HasField("status")
            item.answer = ItemError(result.status) if failed else self._batching.answer_of(result)

    def _alone(self, item: _Waiting) -> Any:
        """Make one call; return the response or the error."""
        try:
            return self._single(item.request, timeout=item.timeout, metadata=item.metadata)
        except grpc.RpcError as error:
            return error


def batched_stubs(channel: Channel) -> Stubs:
    """Return the stubs on a channel, with calls that leave together."""
    stubs = Stubs(channel)
    methods = stubs.entitlements
    for name, batching in METHODS.items():
        setattr(methods, name, BatchedMethod(getattr(methods, name), getattr(methods, batching.method), batching))
    return stubs
