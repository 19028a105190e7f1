"""Channels of gRPC that lead to the service in memory."""

import asyncio
import re
from collections.abc import Callable
from threading import RLock
from typing import Any, NoReturn

import grpc
import grpc.aio

from canuse.testing.fake.refusal import Refusal
from canuse.testing.fake.usage import Usage


class Service:
    """The service in memory, for callers in several threads. `world` is its state."""

    def __init__(self, now: int) -> None:
        """Start without any data."""
        self.world = Usage(now)
        self._lock = RLock()

    def call(self, path: str, request: Any) -> Any:
        """Answer a call; raise Refusal."""
        name = path.rpartition("/")[2]
        handler = getattr(self.world, re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), None)
        if handler is None or not path.startswith("/canuse.v1."):
            raise Refusal("UNIMPLEMENTED", f"FakeClient does not implement {name}: use the fixture canuse_server")
        with self._lock:
            if not self.world.available and name not in ("CanUse", "BatchCanUse"):
                raise Refusal("STORE_UNAVAILABLE", "the store is unavailable; nothing was written")
            return handler(request)


class _Method:
    """A method of the service in memory. Messages are copied, as they are by a network."""

    def __init__(
        self, service: Service, path: str, serialize: Callable[[Any], bytes], deserialize: Callable[[bytes], Any]
    ) -> None:
        self._service = service
        self._path = path
        self._serialize = serialize
        self._deserialize = deserialize

    def answer(self, request: Any) -> Any:
        """Call it."""
        copied = type(request)()
        copied.ParseFromString(self._serialize(request))
        return self._deserialize(self._service.call(self._path, copied).SerializeToString())


class _Call(_Method):
    """A method of a synchronous stub."""

    def __call__(self, request: Any, **_: object) -> Any:
        """Call it."""
        return self.answer(request)


class _AsyncCall(_Method):
    """A method of an asynchronous stub."""

    async def __call__(self, request: Any, **_: object) -> Any:
        """Call it. Other tasks run meanwhile, as they do while a call is on its way."""
        await asyncio.sleep(0)
        return self.answer(request)


class _Stream:
    """The call of a method with streams, of which there are none: it fails when the first message is read."""

    def __init__(self, *_: object, **__: object) -> None:
        """Accept the arguments of a call."""

    def __iter__(self) -> "_Stream":
        """Return the call, for a synchronous stub."""
        return self

    def __next__(self) -> NoReturn:
        """Fail."""
        raise Refusal("UNIMPLEMENTED", "FakeClient does not implement streams: use the fixture canuse_server")

    async def read(self) -> NoReturn:
        """Fail, for an asynchronous stub."""
        next(self)

    def cancel(self) -> None:
        """Do nothing."""


def _no_streams(*_: object, **__: object) -> type[_Stream]:
    return _Stream


class FakeChannel(grpc.Channel):
    """A channel for stubs that threads call."""

    def __init__(self, service: Service) -> None:
        """Lead to a service."""
        self._service = service

    def unary_unary(  # type: ignore[override]
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: object, **__: object
    ) -> _Call:
        """Return a method of a stub."""
        return _Call(self._service, method, request_serializer, response_deserializer)

    unary_stream = stream_unary = stream_stream = staticmethod(_no_streams)  # type: ignore[assignment]

    def subscribe(self, *_: object, **__: object) -> None:
        """Do nothing: it is always connected."""

    unsubscribe = subscribe

    def close(self) -> None:
        """Do nothing: the service stays."""

    def __enter__(self) -> "FakeChannel":
        """Return the channel."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class FakeAsyncChannel(grpc.aio.Channel):
    """A channel for stubs that asyncio calls."""

    def __init__(self, service: Service) -> None:
        """Lead to a service."""
        self._service = service

    def unary_unary(  # type: ignore[override]
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: object, **__: object
    ) -> _AsyncCall:
        """Return a method of a stub."""
        return _AsyncCall(self._service, method, request_serializer, response_deserializer)

    unary_stream = stream_unary = stream_stream = staticmethod(_no_streams)  # type: ignore[assignment]

    async def close(self, grace: float | None = None) -> None:
        """Do nothing: the service stays."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return that it is connected."""
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return at once."""

    async def channel_ready(self) -> None:
        """Return at once."""

    async def __aenter__(self) -> "FakeAsyncChannel":
        """Return the channel."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""
