"""What the access log has of each call: nothing about users, and no credentials. And the log of changes."""

import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

from grpc import StatusCode

from canuse_server.api.dispatch import EndedCall
from canuse_server.api.metadata import authorization, request_id
from canuse_server.auth.authorizer import Authorizer
from canuse_server.runtime.call_state import ChangeLog
from canuse_server.runtime.line_writer import LineWriter
from canuse_server.settings import Settings

CHANGE_LEVELS: Final = ("debug", "info")
"""The settings of `log_level` with lines about changes, which have the level info."""


class AccessLog:
    """An Observer of one port that logs calls."""

    def __init__(self, port: str, settings: Settings, authorizer: Authorizer, writer: LineWriter) -> None:
        self._port = port
        self._only_errors = settings.access_log == "errors"
        self._sample = settings.access_log_sample
        self._authorizer = authorizer
        self._writer = writer

    def call_ended(self, call: EndedCall) -> None:
        """See Observer."""
        if self._only_errors and call.status is StatusCode.OK:
            return
        if random.random() >= self._sample:  # noqa: S311 - not for cryptography
            return
        caller = self._authorizer.identify(authorization(call.metadata))
        principal = None if caller is None else caller.principal
        self._writer.put(
            {
                "event": "call",
                "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "port": self._port,
                "method": call.path.removeprefix("/"),
                "status": call.status.name,
                "duration_ms": round(call.seconds * 1000, 3),
                "environment": None if caller is None else caller.env.environment,
                "key_id": None if principal is None else principal.key_id or None,
                "request_id": request_id(call.metadata),
            }
        )


def access_logs(
    settings: Settings, authorizer: Authorizer, stack: AsyncExitStack
) -> tuple[AccessLog, AccessLog] | None:
    """Return the access logs of the ports for gRPC and for HTTP; None if the settings want none."""
    if settings.access_log == "off":
        return None
    writer = LineWriter("calls")
    writer.start()
    stack.callback(writer.close)
    return AccessLog("grpc", settings, authorizer, writer), AccessLog("http", settings, authorizer, writer)


def change_log(settings: Settings, stack: AsyncExitStack) -> ChangeLog | None:
    """Return what writes a line for each change of the audit log; None if the log level leaves them out."""
    if settings.log_level not in CHANGE_LEVELS:
        return None
    writer = LineWriter("changes")
    writer.start()
    stack.callback(writer.close)
    return writer.put
