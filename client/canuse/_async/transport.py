"""Calls from asyncio over one channel, with errors as CanuseErrors.

Written by hand, as is `canuse._sync.transport`: this is where the two clients differ.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar, cast

import grpc
import grpc.aio

from canuse import _requests
from canuse._channel import Metadata, PagedRequest, PagedResponse
from canuse._traces import call_span
from canuse.errors import closed_before_call, closed_during_call, from_rpc_error, stream_timed_out

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_PagedRequest = TypeVar("_PagedRequest", bound=PagedRequest)
_PagedResponse = TypeVar("_PagedResponse", bound=PagedResponse)
_Item = TypeVar("_Item")

Channel: TypeAlias = grpc.aio.Channel


class Transport:
    """Calls, streams and lists of pages over one channel."""

    def __init__(
        self,
        channel: Channel,
        metadata: Metadata,
        timeout_seconds: float,
        silence_timeout_seconds: float,
        *,
        give_event_ids: bool,
    ) -> None:
        """Use a channel; RuntimeError outside an event loop."""
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._metadata = metadata
        self._timeout_seconds = timeout_seconds
        self._silence_timeout_seconds = silence_timeout_seconds
        self._give_event_ids = give_event_ids

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request
    ) -> _Response:
        """Make one call; raises a CanuseError if it fails."""
        if self._give_event_ids:
            _requests.give_event_ids(request)
        with call_span(request, self._metadata) as metadata, self._typed_errors():
            return await method(request, timeout=self._timeout_seconds, metadata=metadata)

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

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """Turn what gRPC raises into a CanuseError; the cancellation of the caller's task stays what it is."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this AsyncClient belongs to another event loop: create one in each")
        cancelled_before = _cancellation_requests()
        try:
            yield
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        except grpc.aio.UsageError:
            if self._is_closed():
                raise closed_before_call() from None
            raise
        except asyncio.CancelledError:
            # gRPC cancels the calls of a channel that is closed, as if somebody had cancelled their tasks.
            if self._is_closed() and _cancellation_requests() == cancelled_before:
                raise closed_during_call() from None
            raise

    def _is_closed(self) -> bool:
        return self._channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> Channel:
    """Open a channel, with TLS if there are credentials; RuntimeError outside an event loop."""
    asyncio.get_running_loop()  # Without one gRPC would make an event loop of its own, which nobody runs.
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)


def _cancellation_requests() -> int:
    """Return how often cancellation of the running task has been requested."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
