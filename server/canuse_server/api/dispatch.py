"""What every call passes, whatever transport it comes by: a transport hands in bytes and gets bytes or an ApiError.

A call is opened before its request is read: its metadata is bounded, and the authorizer lets it in. When the request is
there, the call is admitted, its handler runs within its deadline, and what fails becomes an error of the table.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Final, Protocol

from grpc import StatusCode

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.context import CallContext
from canuse_server.api.endpoints import Handlers
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, deadline_passed
from canuse_server.api.failures import to_api_error
from canuse_server.api.hotpath.methods import HOT_METHODS
from canuse_server.api.metadata import Metadata, authorization, check_metadata, required_durability
from canuse_server.api.methods import method_at
from canuse_server.domain.durability import Durability
from canuse_server.domain.principal import Principal
from canuse_server.runtime.call_state import CallState, begin_call
from canuse_server.runtime.deadline import StoreDeadline

_HOT: Final = frozenset(method.path for method in HOT_METHODS)


class Caller(Protocol):
    """A caller that is known: its environment, and who it is. None: anonymous."""

    @property
    def env(self) -> Environment:
        """The environment in which the call is made."""

    @property
    def principal(self) -> Principal | None:
        """Who makes the call."""


class Authorizer(Protocol):
    """Says who may call what; see `auth/authorizer.py`."""

    def authorize(self, path: str, authorization: bytes | None) -> Caller:
        """Let a call pass, by its path and its credentials; raise ApiError where it may not."""


class Observer(Protocol):
    """Hears of each call once it has ended: metrics, traces and logs. It is called from several threads."""

    def call_ended(self, path: str, status: StatusCode, seconds: float) -> None:
        """Hear how a call ended, and how long after it came."""


class Dispatcher:
    """Answers calls by their path. Transports share it."""

    def __init__(
        self, handlers: Handlers, authorizer: Authorizer, admission: AdmissionLimit, observer: Observer | None = None
    ) -> None:
        self._handlers = handlers
        self.authorizer = authorizer
        self.admission = admission
        self.observer = observer

    @property
    def paths(self) -> Collection[str]:
        """The paths of all methods: `/package.Service/Method`."""
        return [*self._handlers.unary, *self._handlers.streaming]

    def open(self, path: str, metadata: Metadata) -> CallContext:
        """Let a call in before its request is read, or raise the ApiError that refuses it."""
        arrived_at = time.monotonic()
        try:
            # gRPC holds callers to its limit once they have acknowledged it; until then, to 16 MiB.
            size = check_metadata(metadata)
            credentials = authorization(metadata)
            caller = self.authorizer.authorize(path, credentials)
            level = required_durability(metadata) if method_at(path).writes else Durability.MEMORY
        except ApiError as error:
            self._observe(path, error.reason.status, arrived_at)
            raise
        return CallContext(caller.env, caller.principal, path, size, level, arrived_at, authorization=credentials)

    async def unary(self, context: CallContext, payload: bytes, seconds_left: float | None) -> bytes:
        """Answer a call whose request has come, and whose caller waits so long; raise ApiError, and nothing else."""
        opened_at, status = context.arrived_at, StatusCode.CANCELLED
        try:
            if seconds_left is not None:
                if seconds_left <= 0:
                    raise deadline_passed()
                context.deadline = time.monotonic() + seconds_left
            size = context.metadata_bytes + len(payload)
            self.admission.acquire(size)
            try:
                context.arrived_at = time.monotonic()
                answer = await self.run(context, payload)
            finally:
                self.admission.release(size)
            status = StatusCode.OK
        except ApiError as error:
            status = error.reason.status
            raise
        finally:
            self._observe(context.path, status, opened_at)
        return answer

    async def stream(self, context: CallContext, payload: bytes) -> AsyncGenerator[bytes, None]:
        """Answer a call with a stream of messages; raise ApiError, and nothing else."""
        opened_at, status = context.arrived_at, StatusCode.CANCELLED
        size = context.metadata_bytes + len(payload)
        try:
            self.admission.acquire(size)
            try:
                context.arrived_at = time.monotonic()
                async with aclosing(self._stream(context, payload)) as messages:
                    async for message in messages:
                        yield message
                        # A key that is revoked meanwhile ends what is under way, too.
                        self.authorizer.authorize(context.path, context.authorization)
            finally:
                self.admission.release(size)
            status = StatusCode.OK
        except ApiError as error:
            status = error.reason.status
            raise
        finally:
            self._observe(context.path, status, opened_at)

    async def run(self, context: CallContext, payload: bytes) -> bytes:
        """Answer a call that has been admitted, within its deadline; raise ApiError, and nothing else."""
        try:
            async with asyncio.timeout_at(None if context.deadline == math.inf else context.deadline):
                return await self._answer(context, payload)
        except TimeoutError:
            raise deadline_passed() from None

    async def _answer(self, context: CallContext, payload: bytes) -> bytes:
        _begin(context, sliding=context.path not in _HOT)
        try:
            try:
                return await self._handlers.unary[context.path](payload, context)
            except ApiError as error:
                if error.reason.status is StatusCode.NOT_FOUND:
                    # A store whose data is gone cannot tell what does not exist.
                    await context.env.store.require_data()
                raise
        except ApiError:
            raise
        except Exception as error:  # The last resort: callers are told of a defect, but nothing about it.
            raise to_api_error(context.path, error) from error

    async def _stream(self, context: CallContext, payload: bytes) -> AsyncGenerator[bytes, None]:
        _begin(context, sliding=True)
        try:
            async with aclosing(self._handlers.streaming[context.path](payload, context)) as messages:
                async for message in messages:
                    yield message
        except ApiError:
            raise
        except Exception as error:  # As in `_answer`.
            raise to_api_error(context.path, error) from error

    def _observe(self, path: str, status: StatusCode, since: float) -> None:
        if self.observer is not None:
            self.observer.call_ended(path, status, time.monotonic() - since)


def _begin(context: CallContext, *, sliding: bool) -> None:
    """Start the time that a call has for the store: when its request came, not when the event loop gets to it."""
    store = context.env.store
    seconds = store.call_seconds(context.durability) if method_at(context.path).writes else store.timeout_seconds
    begin_call(CallState(StoreDeadline(seconds, sliding=sliding, since=context.arrived_at), context.durability))
