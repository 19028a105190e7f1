"""Which trace a call is part of, by W3C's Trace Context in its metadata."""

import re
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from canuse_server.api.metadata import Metadata

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_VALID: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?", re.ASCII
)
"""A valid `traceparent`, with its flags. OpenTelemetry, which reads it for calls that are traced, takes five times as
long."""
_EMPTY: Final = Context()
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_IDS: Final = RandomIdGenerator()


def is_recorded(metadata: Metadata) -> bool | None:
    """Return whether the caller records its own span; None if it does not say."""
    for name, value in metadata:
        if name == TRACEPARENT and isinstance(value, str) and (found := _VALID.fullmatch(value)):
            return bool(int(found[1], 16) & TraceFlags.SAMPLED)
    return None


def parent_of(metadata: Metadata) -> SpanContext | None:
    """Return the caller's span, if the metadata has a valid one."""
    carrier: dict[str, str] = {}
    for name, value in metadata:
        if name in (TRACEPARENT, TRACESTATE) and isinstance(value, str):
            carrier.setdefault(name, value)
    found = get_current_span(_PROPAGATOR.extract(carrier, _EMPTY)).get_span_context()
    return found if found.is_valid else None


def new_context(parent: SpanContext | None) -> SpanContext:
    """Return the ids of a new span that is recorded; without a parent it begins a trace."""
    return SpanContext(
        _IDS.generate_trace_id() if parent is None else parent.trace_id,
        _IDS.generate_span_id(),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=None if parent is None else parent.trace_state,
    )
