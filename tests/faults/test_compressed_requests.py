"""A request costs no more memory than its sender has sent: compressed ones are refused before they are decompressed.

200 KiB of gzip expand to 200 MiB, and a few KiB to the largest valid request. gRPC refuses the former once 4 MiB are
decompressed; 400 of the latter at once took a gigabyte. The front of the native transport decompresses requests to its
own methods, which can't be turned off: it is for trusted callers, or behind Envoy, which refuses them.
"""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from bench.headers import Decoder
from bench.http2 import END_HEADERS, HEADERS, PREFACE, SETTINGS

from canuse_server.transport.limits import MAX_MESSAGE_BYTES
from chaos.attacks import CAN_USE, LIST_FEATURES, REFLECTION, block, frame
from support.authenticated_server import authenticated_server
from support.grpc_statuses import statuses
from support.load import MAX_WAIT_SECONDS, OWN_CONNECTION, running
from support.processes import Canuse

PASSED_ON: Final = (
    "/canuse.v1.UsageService/ShowUsage",
    "/canuse.v1.NoService/NoMethod",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/canuse.v1.CatalogService/MigrateSubscriptions",
    REFLECTION,
)
"""Methods that the native transport's front delegates, including a streaming one, and one that does not exist."""
ANY_SIZE: Final = (("grpc.max_send_message_length", -1), *OWN_CONNECTION)
MAX_MIB: Final = 48
"""Memory that all calls of a test may take: gRPC's own buffers, and no more."""


def code_of(address: str, path: str, size: int, compression: grpc.Compression) -> grpc.StatusCode:
    """Send a request of so many zeros; return the status of the call."""
    with grpc.insecure_channel(address, ANY_SIZE) as channel:
        try:
            if path in PASSED_ON[3:]:
                stream: Any = channel.stream_stream(path)
                list(stream(iter((bytes(size),)), timeout=MAX_WAIT_SECONDS, compression=compression))
            else:
                call: Any = channel.unary_unary(path)
                call(bytes(size), timeout=MAX_WAIT_SECONDS, compression=compression)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def peak_mib(canuse: Canuse) -> int:
    """Return the peak memory of a server."""
    status = Path(f"/proc/{canuse.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
def test_a_compressed_request_is_refused_before_it_is_unpacked(
    transport: str, tmp_path: Path, compression: grpc.Compression
) -> None:
    paths = PASSED_ON if transport == "native" else (*PASSED_ON, CAN_USE, LIST_FEATURES)
    with running(Canuse(tmp_path, "--transport", transport)) as canuse:
        before = peak_mib(canuse)
        for path in paths:
            assert code_of(canuse.address, path, 64 << 20, compression) is grpc.StatusCode.UNIMPLEMENTED
        with ThreadPoolExecutor(8) as threads:
            sent = [
                threads.submit(code_of, canuse.address, paths[-2], MAX_MESSAGE_BYTES, compression) for _ in range(64)
            ]
        assert {each.result() for each in sent} == {grpc.StatusCode.UNIMPLEMENTED}
        assert peak_mib(canuse) - before < MAX_MIB


def test_a_call_without_a_key_is_refused_before_its_request_is_read(tmp_path: Path) -> None:
    with authenticated_server(Canuse(tmp_path, "--transport", "grpcio")) as guard:
        host, _, port = guard.canuse.address.rpartition(":")
        with socket.create_connection((host, int(port)), MAX_WAIT_SECONDS) as connection:
            headers = b"".join(
                frame(HEADERS, END_HEADERS, stream, block(path))
                for stream, path in ((1, CAN_USE), (3, PASSED_ON[0]), (5, PASSED_ON[4]))
            )
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + headers)
            with connection.makefile("rb") as read:
                # No request message follows.
                ended = statuses(read, Decoder(), [1, 3, 5])
    assert ended == {1: b"16", 3: b"16", 5: b"16"}
