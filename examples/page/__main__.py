"""Starts the whole example: canuse, the page, and the service behind it, until Ctrl-C."""

import argparse
import asyncio
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio
import uvicorn
from examples.page.build import build_page
from examples.page.canuse_server import TIMEOUT_SECONDS, Keys, Server, prepare, running_canuse
from examples.page.clock import clock_routes
from examples.page.service import create_service
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from canuse import AsyncClient

HOST = "127.0.0.1"


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(prog="python -m examples.page", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="port of the page on the loopback (default: 8000)")
    parser.add_argument(
        "--clock", choices=("manual", "system"), default="manual", help="manual: the page can move it (default)"
    )
    options = parser.parse_args()
    # It stops all that was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        run(options.port, options.clock)
    except KeyboardInterrupt:
        sys.exit(130)


def run(port: int, clock: str) -> None:
    """Build the page, start canuse, and serve the page and its service."""
    with TemporaryDirectory(prefix="canuse-example-") as folder, listen(port) as listener:
        origin = f"http://{HOST}:{listener.getsockname()[1]}"
        site = Path(folder, "site")
        build_page(site)
        with running_canuse(Path(folder, "data"), clock, origin) as server:
            keys = prepare(server.address)
            print(f"the example is ready on {origin}", flush=True)
            asyncio.run(serve(server, keys, site, listener, manual_clock=clock == "manual"))


def listen(port: int) -> socket.socket:
    """Take the port before canuse starts, which has to know the origin of the page."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        sys.exit(f"{HOST}:{port}: {error.strerror}; --port chooses another port")


async def serve(server: Server, keys: Keys, site: Path, listener: socket.socket, *, manual_clock: bool) -> None:
    """Serve the page and its service until a signal."""
    async with (
        AsyncClient(server.address, api_key=keys.service, timeout_seconds=TIMEOUT_SECONDS) as canuse,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        service = create_service(canuse, server.url, manual_clock=manual_clock)
        # A page elsewhere whose name leads to the loopback gets no token.
        service.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST])
        if manual_clock:
            service.include_router(clock_routes(channel, keys.admin))
        service.mount("/", StaticFiles(directory=site, html=True))
        config = uvicorn.Config(service, log_level="warning", timeout_graceful_shutdown=5)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    main()
