"""The port for operations, as the settings want it: opened, or left out with a reason."""

from collections.abc import Awaitable, Callable

from canuse_server.app.ports import leave_out
from canuse_server.auth.access import is_loopback
from canuse_server.settings import Settings
from canuse_server.transport import ops
from canuse_server.transport.http import server


async def open_port(
    settings: Settings, is_ready: Callable[[], Awaitable[bool]], metrics: Callable[[], Awaitable[bytes]]
) -> server.HttpServer | None:
    """Open the port; return its server, or None where there is none to be.

    Raises:
        ListenError: it can't be opened, and somebody chose it. The default one is left out then.
    """
    if not settings.ops_listen:
        return None
    try:
        listening = server.bind(settings.ops_listen, share_port=False)
    except OSError as error:
        leave_out(settings, "ops_listen", f"can't listen on {settings.ops_listen}: {error}")
        return None
    opened = server.HttpServer(
        ops.application(is_ready, metrics, is_local=is_loopback(settings.ops_listen)), listening, None
    )
    await opened.start()
    return opened
