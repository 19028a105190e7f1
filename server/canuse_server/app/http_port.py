"""The HTTP port, as the settings want it: opened, or left out with a reason."""

from typing import TYPE_CHECKING

import structlog

from canuse_server import missing_package
from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.app.ports import leave_out
from canuse_server.app.workers.supervisor import ReservedPort
from canuse_server.auth.access import is_loopback
from canuse_server.settings import Settings
from canuse_server.transport.http.host import Host
from canuse_server.transport.tls import TlsFiles

if TYPE_CHECKING:
    from canuse_server.transport.http.server import HttpServer

log = structlog.get_logger(__name__)


def keep_port(settings: Settings) -> ReservedPort | None:
    """Return the port, kept for workers; None where there is none to be. Raises ListenError as `open_port` does."""
    if not settings.http_listen:
        return None
    try:
        return ReservedPort(settings.http_listen)
    except OSError as error:
        leave_out(settings, "http_listen", f"can't listen on {settings.http_listen}: {error}")
        return None


def open_port(settings: Settings, dispatcher: Dispatcher, host: Host, *, share_port: bool) -> "HttpServer | None":
    """Open the port; return its server, which is to be started, or None where there is none to be.

    Raises:
        ListenError: it can't be opened, and somebody chose it. The default one is left out then.
        TlsError: the TLS files can't be used.
    """
    if not settings.http_listen:
        return None
    try:
        # They are not installed with gRPC alone, and take a moment to import.
        from canuse_server.transport.http import app, server, tls  # noqa: PLC0415
    except ModuleNotFoundError as error:
        leave_out(
            settings,
            "http_listen",
            f"http_listen needs the package {missing_package(error)}: pip install 'canuse[http]'",
        )
        return None
    files = TlsFiles.of(settings)
    certificates = None if files is None else tls.HttpCertificates(files)
    try:
        listening = server.bind(settings.http_listen, share_port=share_port)
    except OSError as error:
        leave_out(settings, "http_listen", f"can't listen on {settings.http_listen}: {error}")
        return None
    # Of its own: whoever sends slowly over HTTP takes nothing from others.
    reading = AdmissionLimit(settings.max_calls_in_flight, settings.max_waiting_bytes)
    application = app.application(
        dispatcher,
        reading,
        origins=settings.http_cors_origins,
        is_open=lambda: host.authorizer.is_open,
        host=host if _has_console(settings, quiet=share_port) else None,
    )
    return server.HttpServer(application, listening, None if certificates is None else certificates.context)


def shown_settings(settings: Settings) -> dict[str, str]:
    """Return the settings for people, without those that may contain a password."""
    shown = (name for name, field in Settings.model_fields.items() if field.repr)
    return {name: _text(getattr(settings, name)) for name in shown}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)


def _has_console(settings: Settings, *, quiet: bool) -> bool:
    """Return whether there is a console. Unless `quiet`, log why not, where somebody may expect one."""
    if not settings.console:
        return False
    if is_loopback(settings.http_listen):
        return True
    # A key that somebody logs in with, and the cookie after it, would be sent in clear; or nobody would need one.
    problem = "TLS is off" if settings.tls_certificate is None else "API keys are not required"
    if settings.tls_certificate is not None and not settings.insecure_no_auth:
        return True
    if not quiet:
        log.info("there is no console: other machines can reach http_listen (docs/console.md)", cause=problem)
    return False
