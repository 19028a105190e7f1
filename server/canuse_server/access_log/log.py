"""What the access log has of each call: nothing about users, and no credentials."""

import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from grpc import StatusCode

from canuse_server.access_log.line_writer import LineWriter
from canuse_server.api.dispatch import EndedCall
from canuse_server.api.metadata import authorization, request_id
from canuse_server.auth.authorizer import Authorizer
from canuse_server.settings import Settings


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
                "timestamp": datetime.now(UTC).isoformat(),
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
    writer = LineWriter()
    writer.start()
    stack.callback(writer.close)
    return AccessLog("grpc", settings, authorizer, writer), AccessLog("http", settings, authorizer, writer)
