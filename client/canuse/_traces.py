"""Spans of calls for callers that use OpenTelemetry, with W3C's `traceparent` in the metadata.

OpenTelemetry is no dependency, and nothing here imports it first: a program that has not imported it traces nothing.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from types import TracebackType
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import Message

from canuse._channel import Metadata
from canuse._safety import methods
from canuse.errors import CanuseError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider


def call_span(request: object, metadata: Metadata) -> AbstractContextManager[Metadata]:
    """Return the context of a call, whose value is the metadata to send; it has a span if the program traces.

    Leave it with the CanuseError of a call that fails.
    """
    if not is_traced() or not isinstance(request, Message):
        return nullcontext(metadata)
    return _CallSpan(request, metadata)


def is_traced() -> bool:
    """Whether calls have spans: the program traces, or is called by one that does."""
    if "opentelemetry.trace" not in sys.modules:
        return False
    from opentelemetry import trace  # noqa: PLC0415 - the program has already imported it

    is_off = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    return not is_off or trace.get_current_span().get_span_context().is_valid


class _CallSpan:
    """The span of a call, from entering the context to leaving it."""

    def __init__(self, request: Message, metadata: Metadata) -> None:
        self._request = request
        self._metadata = metadata

    def __enter__(self) -> Metadata:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        service, method = _names(self._request.DESCRIPTOR.full_name)
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        tracer = _tracer(trace.get_tracer_provider())
        self._span = tracer.start_span(f"{service}/{method}", kind=trace.SpanKind.CLIENT, attributes=attributes)
        sent: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(sent, trace.set_span_in_context(self._span))
        return (*self._metadata, *sent.items())

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        status = _status(error)
        self._span.set_attribute("rpc.grpc.status_code", status.value[0])
        if error is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415

            # Without the message, which may name users.
            self._span.set_attribute("error.type", status.name)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _status(error: BaseException | None) -> grpc.StatusCode:
    """Return the status of a call that has ended with an error or without."""
    if error is None:
        return grpc.StatusCode.OK
    if isinstance(error, CanuseError):
        return error.code
    # What is no Exception cancels a task, or ends a generator or the program.
    return grpc.StatusCode.UNKNOWN if isinstance(error, Exception) else grpc.StatusCode.CANCELLED


@lru_cache(maxsize=1)
def _tracer(provider: "TracerProvider") -> "Tracer":
    return provider.get_tracer("canuse")


@cache
def _names(request_type: str) -> tuple[str, str]:
    """Return the service and the method with a type of request: each method has one of its own."""
    for method in methods():
        if method.input_type.full_name == request_type:
            return method.containing_service.full_name, method.name
    return request_type.rpartition(".")[0], request_type.rpartition(".")[2].removesuffix("Request")
