"""Calls from threads, with errors as CanuseErrors.

Written by hand, as is `canuse._async.transport`: this is where the two clients differ.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import Event, Timer
from typing import Any, TypeVar

import grpc

from canuse import _fork
from canuse._channel import Metadata, PagedRequest, PagedResponse
from canuse._item_retries import ItemRetries
from canuse._retry import Attempts, Retries, Retry
from canuse._sync.connection import Connections
from canuse._sync.stubs import Stubs
from canuse._traces import call_span
from canuse.errors import CanuseError, closed_before_call, from_rpc_error, stream_timed_out

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_PagedRequest = TypeVar("_PagedRequest", bound=PagedRequest)
_PagedResponse = TypeVar("_PagedResponse", bound=PagedResponse)
_Item = TypeVar("_Item")
_T = TypeVar("_T")


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
        """The stubs of this process."""
        return self._connections.stubs()

    def _call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]",
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
        call = object()
        _fork.in_flight.add(call)
        try:
            answer = self._attempt(method, request, limit_seconds)
        except CanuseError as error:
            attempts = self._retries.attempts(request, started_at, limit_seconds, retry_seconds)
            answer = self._repeat(method, request, attempts, error)
        finally:
            _fork.in_flight.discard(call)
        self._retries.answered()
        return answer

    def _repeat(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        attempts: Attempts,
        error: CanuseError,
    ) -> _Response:
        """Make the further attempts of a call."""
        while True:
            error.event_id = getattr(request, "event_id", "")
            time.sleep(attempts.delay_after(error))
            try:
                return self._attempt(method, request, attempts.remaining_seconds(), wait_for_ready=True)
            except CanuseError as again:
                error = again

    def _batch(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]",
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
        answers = convert(self._call(method, request, retry_seconds=retry_seconds), batch.requests)
        items = ItemRetries(
            batch,
            answers,
            lambda: self._retries.attempts(batch, started_at, self._timeout_seconds, retry_seconds),
        )
        while (following := items.next()) is not None:
            again, delay = following
            time.sleep(delay)
            call = object()
            _fork.in_flight.add(call)
            try:
                response = self._attempt(method, again, items.remaining_seconds(), wait_for_ready=True)
            except CanuseError as error:
                items.failed(error)
            else:
                items.answered(convert(response, again.requests))
            finally:
                _fork.in_flight.discard(call)
        return answers

    def _attempt(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]",
        request: _Request,
        timeout_seconds: float,
        **options: Any,
    ) -> _Response:
        with call_span(request, self._metadata) as metadata:
            try:
                return method(request, timeout=timeout_seconds, metadata=metadata, **options)
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
                call = _uninterrupted(partial(method, request, metadata=metadata))
            except ValueError as error:
                raise _typed(error) from error
            _fork.in_flight.add(call)
            try:
                while (message := _next(call, call.cancel, self._silence_timeout_seconds)) is not None:
                    yield message
            finally:
                call.cancel()
                _fork.in_flight.discard(call)


def _typed(error: grpc.RpcError | ValueError) -> Exception:
    """Return the CanuseError for what gRPC raised."""
    if isinstance(error, grpc.RpcError):
        return from_rpc_error(error)
    # gRPC has no class for it: "Cannot invoke RPC on closed channel!"
    return closed_before_call() if "Cannot invoke RPC" in str(error) else error


def _uninterrupted(start: Callable[[], _T]) -> _T:
    """Start a call in another thread, where Ctrl-C raises nothing.

    gRPC registers the call of a stream and then starts the thread that serves it. With an exception in between, closing
    the channel would wait for the call for ever.
    """
    with ThreadPoolExecutor(1, "canuse-stream") as threads:
        return threads.submit(copy_context().run, start).result()


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
