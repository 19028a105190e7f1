"""The dispatcher of calls, shared by all transports: a transport passes bytes and gets bytes or an ApiError.

A call is opened before its request is parsed: the size of its metadata is checked, and the call is authorized. When the
request has arrived, the call is admitted; if it has a user token, the user is checked; its handler runs within its
deadline, and failures become errors of the table. The batch lane answers hot calls itself, by the same steps, and
passes on those that it cannot answer.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Collection, Coroutine
from contextlib import AbstractContextManager, aclosing, nullcontext
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol

from grpc import StatusCode

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.context import CallContext
from canuse_server.api.endpoints import Handlers
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, deadline_passed
from canuse_server.api.failures import to_api_error
from canuse_server.api.hotpath.methods import HOT_METHODS
from canuse_server.api.metadata import Metadata, authorization, check_metadata, required_durability, safe_request_id
from canuse_server.api.methods import method_at
from canuse_server.api.users.tokens import check_token
from canuse_server.domain.durability import Durability
from canuse_server.domain.principal import Principal
from canuse_server.runtime.call_state import Author, CallState, ChangeLog, begin_call
from canuse_server.runtime.deadline import StoreDeadline
from canuse_server.runtime.round_trips import RoundTrips
from canuse_server.runtime.thread_pauses import CALLS

_NOT_OBSERVED: Final = nullcontext()


class Caller(Protocol):
    """An authorized caller."""

    @property
    def env(self) -> Environment:
        """The environment of the call."""

    @property
    def principal(self) -> Principal | None:
        """The holder of the API key or the user token. None: anonymous."""

    @property
    def has_token(self) -> bool:
        """Whether the caller has a user token, which only `Dispatcher.run` checks completely."""


class Authorizer(Protocol):
    """See `auth/authorizer.py`."""

    def authorize(self, path: str, authorization: bytes | None) -> Caller:
        """Return the caller if the credentials permit the call; else raise ApiError."""


class EndedCall(NamedTuple):
    """A call that has ended. Times are of `time.monotonic`."""

    path: str
    status: StatusCode
    started_at: float
    ended_at: float
    metadata: Metadata
    """The metadata that its caller sent."""
    round_trips: RoundTrips | None = None
    """Its round trips to the store, if it is traced."""

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.ended_at - self.started_at


class Observer(Protocol):
    """A hook for metrics, traces and logs. It is called from several threads."""

    def call_ended(self, call: EndedCall) -> None:
        """Handle the end of a call."""


class Tracer(Protocol):
    """A hook for traces, which only need some of the calls. It is called from several threads."""

    def begin(self, metadata: Metadata) -> RoundTrips | None:
        """Return where the round trips of a new call are noted; None if it is not traced."""

    def call_ended(self, call: EndedCall) -> None:
        """Handle the end of a call that is traced."""


class Observers:
    """An Observer that tells several others."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def call_ended(self, call: EndedCall) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.call_ended(call)


def observers_of(*observers: Observer | None) -> Observer | None:
    """Return one observer for those that there are; None if there is none."""
    present = [observer for observer in observers if observer is not None]
    return present[0] if len(present) == 1 else Observers(*present) if present else None


class Dispatcher:
    """Answers calls by their path. All transports share it."""

    def __init__(
        self,
        handlers: Handlers,
        authorizer: Authorizer,
        admission: AdmissionLimit,
        observer: Observer | None = None,
        tracer: Tracer | None = None,
        *,
        change_log: ChangeLog | None = None,
        request_ids: bool = False,
    ) -> None:
        """`request_ids`: transports give each call a request id, and return it."""
        self._handlers = handlers
        self.authorizer = authorizer
        self.admission = admission
        self.observer = observer
        self.tracer = tracer
        self.request_ids = request_ids
        self._change_log = change_log

    def with_observer(self, observer: Observer | None, tracer: Tracer | None) -> "Dispatcher":
        """Return a dispatcher of the same calls that notifies others."""
        parts = self._handlers, self.authorizer, self.admission, observer, tracer
        return Dispatcher(*parts, change_log=self._change_log, request_ids=self.request_ids)

    @property
    def paths(self) -> Collection[str]:
        """The paths of all methods: `/package.Service/Method`."""
        return [*self._handlers.unary, *self._handlers.streaming]

    def open(self, path: str, metadata: Metadata) -> CallContext:
        """Authorize a call before its request is read; raise ApiError if it is refused."""
        arrived_at = time.monotonic()
        round_trips = None if self.tracer is None else self.tracer.begin(metadata)
        with self._observed(path, arrived_at, metadata, round_trips, only_failures=True):
            # gRPC enforces its limit once the client has acknowledged it; until then, the limit is 16 MiB.
            size = check_metadata(metadata)
            credentials = authorization(metadata)
            caller = self.authorizer.authorize(path, credentials)
            level = required_durability(metadata) if method_at(path).writes else Durability.MEMORY
        return CallContext(
            *(caller.env, caller.principal, path, size, level, arrived_at),
            metadata=metadata,
            round_trips=round_trips,
            authorization=credentials,
        )

    def reading(self, context: CallContext) -> AbstractContextManager[None]:
        """Tell the observer of an opened call whose request a transport fails to read within the block."""
        started_at = context.arrived_at
        return self._observed(context.path, started_at, context.metadata, context.round_trips, only_failures=True)

    async def unary(self, context: CallContext, payload: bytes, seconds_left: float | None) -> bytes:
        """Answer a unary call; `seconds_left` is the time until the caller's deadline. Raises only ApiError."""
        with self._observed(context.path, context.arrived_at, context.metadata, context.round_trips):
            if seconds_left is not None:
                if seconds_left <= 0:
                    raise deadline_passed()
                context.deadline = time.monotonic() + seconds_left
            size = context.metadata_bytes + len(payload)
            self.admission.acquire(size)
            try:
                context.arrived_at = time.monotonic()
                return await self.run(context, payload)
            finally:
                self.admission.release(size)

    async def stream(self, context: CallContext, payload: bytes) -> AsyncGenerator[bytes, None]:
        """Answer a call with a stream of messages. Raises only ApiError."""
        with (
            self._observed(context.path, context.arrived_at, context.metadata, context.round_trips),
            self.admission.holding(context.metadata_bytes + len(payload)),
        ):
            context.arrived_at = time.monotonic()
            async with aclosing(self._stream(context, payload)) as messages:
                async for message in messages:
                    yield message
                    # A key that is revoked during the stream ends it.
                    self.authorizer.authorize(context.path, context.authorization)

    def run(self, context: CallContext, payload: bytes) -> Coroutine[Any, Any, bytes]:
        """Answer an admitted call within its deadline. Raises only ApiError."""
        if context.deadline == math.inf:
            return self._answer(context, payload)
        return self._answer_in_time(context, payload)

    async def _answer_in_time(self, context: CallContext, payload: bytes) -> bytes:
        try:
            async with asyncio.timeout_at(context.deadline):
                return await self._answer(context, payload)
        except TimeoutError:
            raise deadline_passed() from None

    async def _answer(self, context: CallContext, payload: bytes) -> bytes:
        self._begin(context, sliding=context.path not in HOT_METHODS)
        try:
            try:
                await check_token(context, payload)
                return await self._handlers.unary[context.path](payload, context)
            except ApiError as error:
                if error.reason.status is StatusCode.NOT_FOUND:
                    # If the store has lost its data, the object may exist.
                    await context.env.store.require_data()
                raise
        except ApiError:
            raise
        except Exception as error:  # The last resort: the caller only learns that there is a defect.
            raise to_api_error(context.path, error) from error

    async def _stream(self, context: CallContext, payload: bytes) -> AsyncGenerator[bytes, None]:
        self._begin(context, sliding=True)
        try:
            async with aclosing(self._handlers.streaming[context.path](payload, context)) as messages:
                async for message in messages:
                    yield message
        except ApiError:
            raise
        except Exception as error:  # As in `_answer`.
            raise to_api_error(context.path, error) from error

    def _begin(self, context: CallContext, *, sliding: bool) -> None:
        """Begin a call. Its store deadline starts at its arrival, not when the event loop gets to it."""
        store, method = context.env.store, method_at(context.path)
        if not method.large:
            # The others are long work themselves, which would pause for its own sake.
            CALLS.last_at = context.arrived_at
        seconds = store.call_seconds(context.durability) if method.writes else store.timeout_seconds
        deadline = StoreDeadline(seconds, sliding=sliding, since=context.arrived_at)
        author = self._author(context) if method.audited else None
        begin_call(CallState(deadline, context.durability, context.round_trips, author))

    def _author(self, context: CallContext) -> Author:
        key_id = "" if context.principal is None else context.principal.key_id
        method, environment = context.path.removeprefix("/"), context.env.environment
        return Author(method, key_id, environment, safe_request_id(context.metadata), self._change_log)

    def _observed(
        self,
        path: str,
        started_at: float,
        metadata: Metadata,
        round_trips: RoundTrips | None,
        *,
        only_failures: bool = False,
    ) -> AbstractContextManager[None]:
        """Tell the observers how a call ends in the block; `only_failures`: the call goes on after a success."""
        tracer = None if round_trips is None else self.tracer
        if self.observer is None and tracer is None:
            return _NOT_OBSERVED
        observers = self.observer, tracer
        return _Observed(observers, path, started_at, metadata, round_trips, only_failures=only_failures)


class _Observed:
    """The context of a call that observers are told of. A generator as the context takes three times as long."""

    __slots__ = ("_metadata", "_observers", "_only_failures", "_path", "_round_trips", "_started_at")

    def __init__(
        self,
        observers: tuple[Observer | None, Tracer | None],
        path: str,
        started_at: float,
        metadata: Metadata,
        round_trips: RoundTrips | None,
        *,
        only_failures: bool,
    ) -> None:
        self._observers = observers
        self._path = path
        self._started_at = started_at
        self._metadata = metadata
        self._round_trips = round_trips
        self._only_failures = only_failures

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if error is None:
            if self._only_failures:
                return
            status = StatusCode.OK
        else:
            status = error.reason.status if isinstance(error, ApiError) else StatusCode.CANCELLED
        ended_at = time.monotonic()
        call = EndedCall(self._path, status, self._started_at, ended_at, self._metadata, self._round_trips)
        for observer in self._observers:
            if observer is not None:
                observer.call_ended(call)
