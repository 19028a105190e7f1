"""Sends spans to a collector, from a thread of its own. Calls never wait for it."""

import asyncio
import logging
import threading
import uuid
from importlib.metadata import version
from typing import Final

import structlog
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from canuse_server.runtime.throttle import Throttle
from canuse_server.settings import Settings
from canuse_server.traces.spans import CallSpans
from canuse_server.traces.target import Target
from canuse_server.transport.shutdown import Deadline

log = structlog.get_logger(__name__)

MAX_WAITING: Final = 4096
"""Maximum number of spans that wait to be sent. Further ones take the places of the oldest."""
BATCH_SPANS: Final = 64
"""Spans in one request. Its encoding holds Python's lock, at 20 us a span, and the batch lane waits for that."""
DELAY_SECONDS: Final = 1.0
"""Maximum time that a span waits for others."""
FLUSH_SECONDS: Final = 2.0
"""Maximum time to send what waits when the server ends, also if there is more for calls."""
LOG_INTERVAL_SECONDS: Final = 30.0


class Traces:
    """The traces of this process, sent to one collector."""

    def __init__(self, settings: Settings, target: Target, *, request_ids: bool) -> None:
        """`request_ids`: each call has a request id that is safe to show."""
        _forward_logs()
        self._exporter = _exporter(target)
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=MAX_WAITING,
            schedule_delay_millis=DELAY_SECONDS * 1000,
            max_export_batch_size=BATCH_SPANS,
        )
        resource, scope = _resource(), InstrumentationScope("canuse", version("canuse"))
        self.of_grpc, self.of_http = (
            CallSpans(*(port, settings.trace_sample, resource, scope, self._processor.on_end), request_ids=request_ids)
            for port in ("grpc", "http")
        )

    async def close(self, grace: Deadline) -> None:
        """Send what waits, as far as there is time."""
        # Not in the loop's own threads, which Python waits for when it ends.
        closing = threading.Thread(target=self._processor.shutdown, name="canuse-traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, min(grace.remaining(), FLUSH_SECONDS))
        if closing.is_alive():
            log.warning("the last traces were not sent: the collector did not take them in time")
            self._exporter.shutdown()


def _exporter(target: Target) -> SpanExporter:
    """Return the exporter for a protocol. Each takes a moment to import."""
    if target.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        return OTLPSpanExporter(target.url)
    from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415

    return trace_exporter.OTLPSpanExporter(target.url)


def _resource() -> Resource:
    """Return what all spans of this process have in common; the variables of OpenTelemetry may add to it."""
    own = Resource({SERVICE_NAME: "canuse", SERVICE_VERSION: version("canuse"), SERVICE_INSTANCE_ID: str(uuid.uuid4())})
    return Resource.create(dict(own.merge(OTELResourceDetector().detect()).attributes))


class _Forward(logging.Handler):
    """Puts OpenTelemetry's warnings into canuse's log, not more often than somebody can read them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._throttle = Throttle(LOG_INTERVAL_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record."""
        if (suppressed := self._throttle.try_acquire()) is not None:
            log.warning("traces may be lost", cause=record.getMessage(), suppressed=suppressed)


def _forward_logs() -> None:
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _Forward) for handler in logger.handlers):
        logger.addHandler(_Forward())
        logger.propagate = False
