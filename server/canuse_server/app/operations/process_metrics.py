"""Health and metrics of one process: what a scrape reads, and where it is answered."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.environment import Environments
from canuse_server.app.operations.health import Health
from canuse_server.app.operations.port import open_port
from canuse_server.metrics.calls import CallCounts
from canuse_server.metrics.census import Census
from canuse_server.metrics.collector import Sources, exposition
from canuse_server.metrics.decisions import DecisionMetrics
from canuse_server.settings import Settings
from canuse_server.store.trimming.trimmer import Trimmer
from canuse_server.transport.shutdown import Deadline

if TYPE_CHECKING:
    from canuse_server.transport.http.server import HttpServer
    from canuse_server.transport.native.server import NativeTransport


class ProcessMetrics:
    """The metrics of this process. Its parts are added as they start."""

    def __init__(
        self,
        settings: Settings,
        environments: Environments,
        admission: AdmissionLimit,
        health: Health,
        trimmer: Trimmer,
        *,
        is_worker: bool,
    ) -> None:
        self._settings = settings
        self._health = health
        self.grpc_calls, self.http_calls = CallCounts(), CallCounts()
        self._census = Census((environments.live, environments.test))
        self._sources = Sources(
            environments=(environments.live, environments.test),
            is_ready=lambda: health.is_ready,
            grpc_calls=self.grpc_calls,
            http_calls=self.http_calls,
            admission=admission,
            trimmer=trimmer,
            decisions=DecisionMetrics(None if is_worker else settings.metrics_features),
        )

    def set_ports(self, transport: str, native: "NativeTransport | None", http: "HttpServer | None") -> None:
        """Add the counts of the ports: of the native transport, if that is the transport, and of HTTP, if it is on."""
        self._sources.transport = transport
        if native is not None:
            self._sources.front, self._sources.batch_calls = native.metrics, native.batch_calls
        if http is not None:
            self._sources.http_connections = lambda: http.connection_count

    async def open(self, stack: AsyncExitStack) -> str | None:
        """Open the port for operations, if there is to be one; return its URL.

        Raises:
            ListenError: it can't be opened, and somebody chose it.
        """

        async def is_ready() -> bool:
            return self._health.is_ready

        opened = await open_port(self._settings, is_ready, self.report)
        if opened is None:
            return None
        # The process that has the port counts what the store has: once for all workers.
        self._sources.census = self._census
        stack.push_async_callback(opened.end, Deadline(0))
        return opened.address

    def background(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return the tasks that keep figures of the store up to date."""
        return () if self._sources.census is None else (self._census.keep_counting(),)

    async def report(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return await asyncio.to_thread(exposition, self._sources)
