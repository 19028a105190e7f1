"""The ports beside that for gRPC: a default one that can't be opened is left out, a chosen one is an error."""

import structlog

from canuse_server.settings import Settings

log = structlog.get_logger(__name__)


class ListenError(RuntimeError):
    """The address can't be listened on."""


def leave_out(settings: Settings, setting: str, problem: str) -> None:
    """Raise ListenError where somebody chose the port; where nobody did, log that there is none."""
    if setting in settings.model_fields_set:
        raise ListenError(problem)
    port = {"http_listen": "HTTP port", "ops_listen": "port for health and metrics"}[setting]
    log.warning(f"there is no {port}; choose another one with {setting}, or an empty one for none", cause=problem)
