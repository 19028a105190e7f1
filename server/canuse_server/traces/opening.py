"""The traces of a process, as the settings want them. OpenTelemetry is only imported if they want any."""

import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from canuse_server.settings import Settings
from canuse_server.traces.target import TracesError, target_of
from canuse_server.transport.shutdown import Deadline

if TYPE_CHECKING:
    from canuse_server.traces.export import Traces

log = structlog.get_logger(__name__)


def checked(settings: Settings) -> Settings:
    """Return the settings, without traces if only variables for all programs ask for them and they can't be sent.

    Raises:
        TracesError: the settings themselves ask for traces that can't be sent.
    """
    try:
        target_of(settings, os.environ)
    except TracesError as error:
        if settings.otlp_endpoint is not None:
            raise
        log.warning("there are no traces", cause=str(error))
        return settings.model_copy(update={"otlp_endpoint": ""})
    return settings


def open_traces(settings: Settings, stack: AsyncExitStack, grace: Deadline, *, request_ids: bool) -> "Traces | None":
    """Return the traces of this process, which end with the stack; None if the settings want none.

    `request_ids`: each call has a request id that is safe to show.

    Raises:
        TracesError: they can't be sent.
    """
    target = target_of(settings, os.environ)
    if target is None:
        return None
    from canuse_server.traces.export import Traces  # noqa: PLC0415 - it takes a moment to import

    traces = Traces(settings, target, request_ids=request_ids)
    stack.push_async_callback(traces.close, grace)
    return traces
