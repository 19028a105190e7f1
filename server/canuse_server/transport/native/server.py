"""The native transport: a front in Rust owns the public port.

The batch lane answers the hot methods, and the event loop those with large responses. The front forwards all other
calls to the `grpc.aio` server of the reference transport, on a Unix socket.
"""

import asyncio
import socket
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from pygrpc_native import NativeGrpcFront

from canuse_server.api.context import CallContext
from canuse_server.api.dispatch import Dispatcher, Observer
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.method import HotMethod
from canuse_server.api.hotpath.methods import HOT_METHODS
from canuse_server.api.methods import Method, method_at
from canuse_server.runtime.counters import ThreadHistograms
from canuse_server.store.redis.client import Store
from canuse_server.transport.limits import MAX_PARSED_METADATA_BYTES, MAX_STREAMS
from canuse_server.transport.native.call_queue import CallQueue
from canuse_server.transport.native.lane import Lane
from canuse_server.transport.native.responder import Responder
from canuse_server.transport.shutdown import Deadline

FORCED_STOP_SECONDS: Final = 1.0
"""Maximum time for the lane to end its calls after it stops waiting for the store."""


class NativeTransport:
    """The front and its lane. The constructor binds the port; it raises OSError if that fails."""

    def __init__(
        self,
        listen: str,
        fallback: Path,
        dispatcher: Dispatcher,
        store: Store,
        *,
        share_port: bool,
        observer: Observer | None = None,
        with_metrics: bool = False,
    ) -> None:
        """`observer` is notified of the calls that are not forwarded; the dispatcher's of those that are."""
        if not share_port:
            _check_available(listen)
        self._dispatcher = dispatcher
        self._loop = asyncio.get_running_loop()
        self._delegated: dict[int, Future[None]] = {}
        # All forwarded calls share one connection. So methods with large responses are not forwarded: unread ones would
        # block the responses to other callers.
        table = map(method_at, dispatcher.paths)
        delegated = (method for method in table if method.large)
        methods: tuple[HotMethod | Method, ...] = (*HOT_METHODS.values(), *delegated)
        self._front = NativeGrpcFront(
            listen,
            [(method.path, False) for method in methods],
            client_key_metadata="authorization",
            call_details=True,
            # One Rust thread is faster than the Python of one process; more would only compete with it for the CPU.
            io_threads=1,
            # As in grpcio: only connections with calls are pinged.
            keepalive_permit_without_calls=False,
            max_concurrent_streams=MAX_STREAMS,
            max_metadata_size=MAX_PARSED_METADATA_BYTES,
            # Counted outside of Python's lock.
            metrics=with_metrics,
            reuse_port=share_port,
        )
        self._front.set_fallback(str(fallback))
        paths = {method_id: method.path for method_id, method in enumerate(methods)}
        self._responder = Responder(self._front, paths, observer, dispatcher.tracer, request_ids=dispatcher.request_ids)
        self._call_queue = CallQueue(self._front, dispatcher.admission, self._responder)
        # One lane: with two, uses took 5 to 11 % more CPU time, and checks the same (docs/performance.md).
        self._lane = Lane(
            self._responder, self._call_queue, dict(enumerate(methods)), dispatcher, store, self._delegate, self._cancel
        )

    @property
    def batch_calls(self) -> ThreadHistograms[str]:
        """How many calls the batches of the lane had."""
        return self._lane.batch_calls

    def metrics(self) -> dict[str, Any] | None:
        """Return the front's counts of calls; None if it does not count."""
        return self._front.metrics()

    def listen(self) -> int:
        """Start to listen and return the port; calls wait until `serve`."""
        self._front.start()
        return self._front.bound_port

    def serve(self) -> None:
        """Start to answer calls."""
        self._call_queue.start()
        self._lane.start()

    def _delegate(self, call_id: int, context: CallContext, payload: bytes) -> None:
        """Answer a call on the event loop. Called from the thread of the lane."""
        context.round_trips = self._responder.round_trips(call_id)
        size = context.metadata_bytes + len(payload)
        try:
            self._dispatcher.admission.acquire(size)
        except ApiError as error:
            self._responder.fail(call_id, error)
            return
        future = asyncio.run_coroutine_threadsafe(self._answer(call_id, context, payload), self._loop)
        self._delegated[call_id] = future

        def on_done(_: Future[None]) -> None:
            # Not in `_answer`, which does not run if the call is cancelled at once.
            self._dispatcher.admission.release(size)
            self._delegated.pop(call_id, None)

        future.add_done_callback(on_done)

    def _cancel(self, call_id: int) -> None:
        """Cancel a delegated call that its caller has cancelled. Called from the thread of the lane."""
        if (future := self._delegated.get(call_id)) is not None:
            future.cancel()

    async def _answer(self, call_id: int, context: CallContext, payload: bytes) -> None:
        try:
            answer = await self._dispatcher.run(context, payload)
        except ApiError as error:
            self._responder.fail(call_id, error)
        else:
            self._responder.ok(call_id, answer)

    async def drain(self, deadline: Deadline) -> None:
        """Refuse new hot calls, and answer those in flight until the deadline."""
        self._lane.drain()
        await asyncio.to_thread(self._lane.drained.wait, deadline.remaining())
        if not self._lane.drained.is_set():
            self._lane.give_up()
            await asyncio.to_thread(self._lane.drained.wait, FORCED_STOP_SECONDS)
        if waiting := [asyncio.wrap_future(future) for future in list(self._delegated.values())]:
            _, late = await asyncio.wait(waiting, timeout=deadline.remaining())
            for future in late:
                future.cancel()

    async def close(self) -> None:
        """Close the port and stop the lane."""
        self._call_queue.close()
        await asyncio.to_thread(self._front.close)
        if self._lane.is_alive():
            await asyncio.to_thread(self._lane.join, FORCED_STOP_SECONDS)


def _check_available(address: str) -> None:
    """Raise OSError if an address is not available. The front would also print its own message to stderr."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host.strip("[]"), int(port)), family=family):
        return
