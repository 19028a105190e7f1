"""The way to the collector: it never delays or fails a call, and what waits is sent when the server ends."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run

import pytest

from support.certificates import Authority
from support.collector import SERVER, collecting
from support.load import running, until
from support.message_clients import Client
from support.processes import Canuse, free_port
from support.resources import subscriber

TRACED = {"CANUSE_TRACE_SAMPLE": "1"}
NOTHING_IMPORTED = """
import asyncio, sys
import canuse
from canuse_server.app.wiring import serve_in_process
from canuse_server.settings import Settings

async def serve():
    stop, ready = asyncio.Event(), asyncio.Queue()
    settings = Settings.load(None, {"listen": "127.0.0.1:0", "data_dir": sys.argv[1]})
    task = asyncio.create_task(serve_in_process(settings, ready.put_nowait, stop))
    async with canuse.AsyncClient((await ready.get()).address) as client:
        assert [feature async for feature in client.list_features()] == []
        try:
            await client.can_use("nobody", "nothing")
        except canuse.NotFound:
            pass
    stop.set()
    await task

asyncio.run(serve())
print([name for name in sys.modules if name.startswith(("opentelemetry.exporter", "canuse_server.traces."))])
"""
"""The client of Redis imports other parts of OpenTelemetry where it is installed."""


@contextmanager
def nobody(kind: str) -> Iterator[str]:
    """Return the URL of a collector that refuses connections, or that accepts them and never answers."""
    if kind == "refuses":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("kind", ["refuses", "is silent"])
def test_calls_go_on_without_a_collector_and_the_server_ends(tmp_path: Path, protocol: str, kind: str) -> None:
    with nobody(kind) as url:
        env = {**TRACED, "CANUSE_OTLP_ENDPOINT": url, "CANUSE_OTLP_PROTOCOL": protocol}
        with running(Canuse(tmp_path, env=env)) as canuse, Client(canuse.address) as client:
            user_id, feature_id = subscriber(client, 10_000)
            for _ in range(300):
                assert client.can_use(user_id, feature_id).access
                assert client.use_feature(user_id, feature_id).access
            if kind == "refuses":
                until(lambda: "traces may be lost" in canuse.log)
            began_at = time.monotonic()
            canuse.stop()
    # OpenTelemetry itself would try for half a minute.
    assert time.monotonic() - began_at < 20
    assert "the last traces were not sent" in canuse.log
    assert "Traceback" not in canuse.log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_waits_is_sent_when_the_server_ends(tmp_path: Path, workers: str) -> None:
    calls = 40
    with collecting() as collector:
        env = {**TRACED, "CANUSE_WORKERS": workers, "CANUSE_OTLP_ENDPOINT": collector.grpc_url}
        with running(
            Canuse(tmp_path, env={**env, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=tests"})
        ) as canuse:
            for _ in range(calls):
                with Client(canuse.address) as client:
                    assert not list(client.list_users())
    spans = [received for received in collector.spans if received.span.kind == SERVER]
    assert len(spans) == calls
    assert {received.resource["service.name"] for received in spans} == {"canuse"}
    assert {received.resource["deployment.environment"] for received in spans} == {"tests"}
    # All connections in the same worker: once in 10^12 runs.
    assert len({received.resource["service.instance.id"] for received in spans}) == int(workers)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_variables_of_opentelemetry_are_enough_also_for_tls(tmp_path: Path, protocol: str) -> None:
    authority = Authority(tmp_path / "certificates")
    with collecting(authority.server()) as collector:
        env = {
            **TRACED,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_url if protocol == "grpc" else collector.http_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority.path),
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=tests",
            "OTEL_SERVICE_NAME": "entitlements",
            # Where they are set, OpenTelemetry's exporter over HTTP prefers them.
            "REQUESTS_CA_BUNDLE": "",
            "CURL_CA_BUNDLE": "",
        }
        with running(Canuse(tmp_path, env=env)) as canuse, Client(canuse.address) as client:
            assert not list(client.list_users())
    assert {received.resource["service.name"] for received in collector.spans} == {"entitlements"}
    assert collector.metadata[0]["x-tenant"] == "tests"


def test_without_an_endpoint_nothing_of_traces_is_imported(tmp_path: Path) -> None:
    ended = run(
        [sys.executable, "-c", NOTHING_IMPORTED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout.splitlines()[-1:] == ["['canuse_server.traces.target', 'canuse_server.traces.opening']"], (
        ended.stderr
    )
