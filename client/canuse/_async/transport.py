"""Calls from asyncio, with errors as CanuseErrors.

Written by hand, as is `canuse._sync.transport`: this is where the two clients differ.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

from canuse._async.connection import Connections
from canuse._async.stubs import Stubs
from canuse._channel import Metadata, PagedRequest, PagedResponse
from canuse._item_retries import ItemRetries
from canuse._retry import Attempts, Retries, Retry
from canuse._traces import call_span, is_traced
from canuse.errors import CanuseError, closed_before_call, closed_during_call, from_rpc_error, stream_timed_out

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_PagedRequest = TypeVar("_PagedRequest", bound=PagedRequest)
_PagedResponse = TypeVar("_PagedResponse", bound=PagedResponse)
_Item = TypeVar("_Item")


class Transport:
    """Calls, streams and lists of pages over a client's connections."""

    def __init__(
        self,
        connections: Connections,
        metadata: Metadata,
        timeout_seconds: float,
        silence_timeout_seconds: float,
        retry: Retry | None,
    ) -> None:
        self._connections = connections
        self._metadata = metadata
        self._timeout_seconds = timeout_seconds
        self._silence_timeout_seconds = silence_timeout_seconds
        self._retries = Retries(retry)

    @property
    def _stubs(self) -> Stubs:
        """The stubs on the channel of the running event loop."""
        return self._connections.stubs()

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        *,
        timeout_seconds: float | None = None,
        retry_seconds: float | None = None,
    ) -> _Response:
        """Make one call, again if it may be repeated; raises a CanuseError if it fails.

        Its deadline is that of the client unless `timeout_seconds` is sooner; it is repeated for `retry_seconds` at
        most.
        """
        self._retries.prepare(request)
        limit_seconds = (
            self._timeout_seconds if timeout_seconds is None else min(timeout_seconds, self._timeout_seconds)
        )
        started_at = time.monotonic()
        cancelled_before = _cancellation_requests()
        try:
            if is_traced():
                answer = await self._attempt(method, request, limit_seconds)
            else:
                # As `_attempt`, whose contexts and coroutine would be a quarter of the time of a call in a batch.
                try:
                    answer = await method(request, timeout=limit_seconds, metadata=self._metadata)
                except (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError) as error:
                    _raise_typed(error, self._connections, cancelled_before)
                    raise
        except CanuseError as error:
            attempts = self._retries.attempts(request, started_at, limit_seconds, retry_seconds)
            answer = await self._repeat(method, request, attempts, error)
        self._retries.answered()
        return answer

    async def _repeat(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        attempts: Attempts,
        error: CanuseError,
    ) -> _Response:
        """Make the further attempts of a call."""
        while True:
            error.event_id = getattr(request, "event_id", "")
            await asyncio.sleep(attempts.delay_after(error))
            try:
                return await self._attempt(method, request, attempts.remaining_seconds(), wait_for_ready=True)
            except CanuseError as again:
                error = again

    async def _batch(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        convert: Callable[[_Response, Any], list[_Item]],
        *,
        retry_seconds: float | None = None,
    ) -> list[_Item]:
        """Make a call for many items; make those again that got no answer. Returns what `convert` makes of the results.

        Raises a CanuseError if the first call fails.
        """
        batch: Any = request
        started_at = time.monotonic()
        answers = convert(await self._call(method, request, retry_seconds=retry_seconds), batch.requests)
        items = ItemRetries(
            batch,
            answers,
            lambda: self._retries.attempts(batch, started_at, self._timeout_seconds, retry_seconds),
        )
        while (following := items.next()) is not None:
            again, delay = following
            await asyncio.sleep(delay)
            try:
                response = await self._attempt(method, again, items.remaining_seconds(), wait_for_ready=True)
            except CanuseError as error:
                items.failed(error)
            else:
                items.answered(convert(response, again.requests))
        return answers

    async def _attempt(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        timeout_seconds: float,
        **options: Any,
    ) -> _Response:
        with call_span(request, self._metadata) as metadata, self._typed_errors():
            return await method(request, timeout=timeout_seconds, metadata=metadata, **options)

    async def _pages(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_PagedRequest, _PagedResponse]",
        request: _PagedRequest,
        items: Callable[[_PagedResponse], Iterable[_Item]],
    ) -> AsyncIterator[_Item]:
        """Yield the items of all pages, fetching each page when it is needed."""
        while True:
            page = await self._call(method, request)
            for item in items(page):
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _stream(
        self, method: "grpc.aio.UnaryStreamMultiCallable[_Request, _Response]", request: _Request
    ) -> AsyncIterator[_Response]:
        """Yield the messages of a call, and cancel it when the iteration ends or no message arrives in time."""
        with call_span(request, self._metadata) as metadata:
            with self._typed_errors():
                call = method(request, metadata=metadata)
            try:
                while (message := await self._next(call)) is not None:
                    yield message
            finally:
                call.cancel()

    async def _next(self, call: "grpc.aio.UnaryStreamCall[_Request, _Response]") -> _Response | None:
        """Return the next message of a stream, None at its end; DeadlineExceeded if none arrives in time."""
        try:
            with self._typed_errors():
                async with asyncio.timeout(self._silence_timeout_seconds):
                    message = await call.read()
        except TimeoutError:
            raise stream_timed_out(self._silence_timeout_seconds) from None
        return None if message is grpc.aio.EOF else cast("_Response", message)

    def _typed_errors(self) -> "_TypedErrors":
        return _TypedErrors(self._connections)


class _TypedErrors:
    """Turns what gRPC raises into a CanuseError; the cancellation of the caller's task stays what it is.

    A class, because a generator costs several times as much, for each call.
    """

    __slots__ = ("_cancelled_before", "_connections")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._cancelled_before = _cancellation_requests()

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise the CanuseError in place of an error of gRPC."""
        if error is not None:
            _raise_typed(error, self._connections, self._cancelled_before)


def _raise_typed(error: BaseException, connections: Connections, cancelled_before: int) -> None:
    """Raise the CanuseError in place of an error of gRPC; return if it is another error."""
    if isinstance(error, grpc.RpcError):
        raise from_rpc_error(error) from error
    if isinstance(error, grpc.aio.UsageError) and connections.is_closed():
        raise closed_before_call() from None
    # gRPC cancels the calls of a channel that is closed, as if somebody had cancelled their tasks.
    is_cancelled = isinstance(error, asyncio.CancelledError)
    if is_cancelled and connections.is_closed() and _cancellation_requests() == cancelled_before:
        raise closed_during_call() from None


def _cancellation_requests() -> int:
    """Return how often cancellation of the running task has been requested."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
