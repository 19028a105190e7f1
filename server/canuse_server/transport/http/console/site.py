"""What all pages share: the server, its visitors' sessions, and the templates."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.transport.http.console.sessions import Sessions
from canuse_server.transport.http.host import Host

if TYPE_CHECKING:
    from canuse_server.transport.http.console.rendering import Templates

PRELOAD_SECONDS: Final = 0.5
"""When the templates are loaded after the server has started: that takes a moment, which neither the start nor the
first page shall wait for."""


@dataclass
class Site:
    """The console of a server."""

    dispatcher: Dispatcher
    reading: AdmissionLimit
    """Limits the bodies that are read at a time."""
    host: Host
    sessions: Sessions = field(init=False)
    _loading: "asyncio.Task[Templates] | None" = None

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.host)
        loop = asyncio.get_running_loop()
        loop.call_later(PRELOAD_SECONDS, lambda: loop.create_task(self.templates()))

    async def templates(self) -> "Templates":
        """Return the templates, which a thread loads."""
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.create_task(asyncio.to_thread(_load))
        return await asyncio.shield(self._loading)


def _load() -> "Templates":
    from canuse_server.transport.http.console.rendering import Templates  # noqa: PLC0415

    return Templates()
