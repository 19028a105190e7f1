"""A server that refuses the first calls of each method, for clients that retry."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from canuse import v1
from support.command_line import CommandLine

REFUSALS: Final = 2
"""How many calls of each method are refused with UNAVAILABLE before one is answered."""


@contextmanager
def refusing_server() -> Iterator[tuple[str, Counter[str]]]:
    """Serve two methods; return the address, and how often each method was called so far."""
    calls: Counter[str] = Counter()

    def handler(method: str, request: Any, response: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        def answer(_: Any, context: grpc.ServicerContext) -> Any:
            calls[method] += 1
            if calls[method] <= REFUSALS:
                context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
            return response()

        return grpc.unary_unary_rpc_method_handler(answer, request.FromString, response.SerializeToString)

    handlers = {
        "CanUse": handler("CanUse", v1.CanUseRequest, v1.CanUseResponse),
        "UseFeature": handler("UseFeature", v1.UseFeatureRequest, v1.UseFeatureResponse),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("canuse.v1.EntitlementService", handlers)])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield address, calls
    finally:
        server.stop(None).wait()


def write_service_config(folder: Path, *options: str) -> Path:
    """Write what `canuse service-config` prints to a file, and return that."""
    printed = CommandLine("")("service-config", *options)
    assert printed.status == 0, printed.stderr
    path = folder / "service_config.json"
    path.write_text(printed.stdout, encoding="utf-8")
    return path


@dataclass(frozen=True)
class Retries:
    """The options of the service config, and what a client with it gets and does on a server that refuses twice."""

    options: tuple[str, ...]
    statuses: list[int]
    calls: dict[str, int]


_UNAVAILABLE: Final = 14
RETRIES: Final = [
    Retries((), [0, _UNAVAILABLE], {"CanUse": REFUSALS + 1, "UseFeature": 1}),
    Retries(("--retry-uses",), [0, 0], {"CanUse": REFUSALS + 1, "UseFeature": REFUSALS + 1}),
]
