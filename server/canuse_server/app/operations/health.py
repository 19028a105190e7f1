"""Whether the server is ready, told over gRPC (grpc.health.v1) and over HTTP."""

from collections.abc import Sequence
from typing import Final

from grpc_health.v1 import health, health_pb2

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The state of a server and of all its services. It starts as not ready."""

    def __init__(self, services: Sequence[str]) -> None:
        self.servicer = health.aio.HealthServicer()
        self.is_ready = False
        self._services = ("", *services)

    async def set_ready(self, is_ready: bool) -> None:
        """Change the state."""
        self.is_ready = is_ready
        for service in self._services:
            await self.servicer.set(service, SERVING if is_ready else NOT_SERVING)

    async def end(self) -> None:
        """Be not ready from now on."""
        self.is_ready = False
        await self.servicer.enter_graceful_shutdown()
