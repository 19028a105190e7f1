"""Calls from threads over one channel, with errors as CanuseErrors.

Written by hand, as is `canuse._async.transport`: this is where the two clients differ.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event, Timer
from typing import Any, TypeAlias, TypeVar

import grpc

from canuse import _requests
from canuse._channel import Metadata, PagedRequest, PagedResponse
from canuse._traces import call_span
from canuse.errors import closed_before_call, from_rpc_error, stream_timed_out

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_PagedRequest = TypeVar("_PagedRequest", bound=PagedRequest)
_PagedResponse = TypeVar("_PagedResponse", bound=PagedResponse)
_Item = TypeVar("_Item")

Channel: TypeAlias = grpc.Channel


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
        """Use a channel."""
        self._channel = channel
        self._metadata = metadata
        self._timeout_seconds = timeout_seconds
        self._silence_timeout_seconds = silence_timeout_seconds
        self._give_event_ids = give_event_ids

    def _call(self, method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request) -> _Response:
        """Make one call; raises a CanuseError if it fails."""
        if self._give_event_ids:
            _requests.give_event_ids(request)
        with call_span(request, self._metadata) as metadata:
            try:
                return method(request, timeout=self._timeout_seconds, metadata=metadata)
            except (grpc.RpcError, ValueError) as error:
                raise _typed(error) from error

    def _pages(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_PagedRequest, _PagedResponse]",
        request: _PagedRequest,
        items: Callable[[_PagedResponse], Iterable[_Item]],
    ) -> Iterator[_Item]:
        """Yield the items of all pages, fetching each page when it is needed."""
        while True:
            page = self._call(method, request)
            yield from items(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _stream(
        self, method: "grpc.UnaryStreamMultiCallable[_Request, _Response]", request: _Request
    ) -> Iterator[_Response]:
        """Yield the messages of a call, and cancel it when the iteration ends or no message arrives in time."""
        with call_span(request, self._metadata) as metadata:
            try:
                call = method(request, metadata=metadata)
            except ValueError as error:
                raise _typed(error) from error
            try:
                while (message := _next(call, call.cancel, self._silence_timeout_seconds)) is not None:
                    yield message
            finally:
                call.cancel()


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> Channel:
    """Open a channel, with TLS if there are credentials."""
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def _typed(error: grpc.RpcError | ValueError) -> Exception:
    """Return the CanuseError for what gRPC raised."""
    if isinstance(error, grpc.RpcError):
        return from_rpc_error(error)
    # gRPC has no class for it: "Cannot invoke RPC on closed channel!"
    return closed_before_call() if "Cannot invoke RPC" in str(error) else error


def _next(call: Iterator[_Response], cancel: Callable[[], object], silence_timeout_seconds: float) -> _Response | None:
    """Return the next message of a stream, None at its end; DeadlineExceeded if none arrives in time."""
    timed_out = Event()

    def cancel_call() -> None:
        timed_out.set()
        cancel()

    timer = Timer(silence_timeout_seconds, cancel_call)
    timer.daemon = True
    timer.start()
    try:
        return next(call, None)
    except grpc.RpcError as error:
        if timed_out.is_set():
            raise stream_timed_out(silence_timeout_seconds) from None
        raise from_rpc_error(error) from error
    finally:
        timer.cancel()
