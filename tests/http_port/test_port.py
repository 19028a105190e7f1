"""The HTTP port: where it is, what happens where it is taken, how it ends, TLS, and workers."""

import asyncio
import os
import signal
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from support import fork_server
from support.certificates import Authority, Pair
from support.load import running, until, wait_until
from support.message_clients import Client
from support.processes import Canuse, RedisServer, free_port
from support.relay import server_behind_relay
from support.resources import subscriber

ANY_PORT = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
LIST = "/canuse.v1.UserService/ListUsers"
DEFAULT = "127.0.0.1:50052"


def test_the_ready_line_names_the_port_after_what_it_always_said(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, env=ANY_PORT)) as canuse:
        assert canuse.ready_line.startswith(f"canuse ready on {canuse.address} (transport ")
        assert canuse.ready_line.endswith(f"), HTTP on {canuse.http_url}\n")
        assert httpx.post(canuse.http_url + LIST, json={}).status_code == 200


def test_without_a_port_there_is_none(tmp_path: Path) -> None:
    with running(Canuse(tmp_path)) as canuse:
        assert "HTTP" not in canuse.ready_line


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_that_somebody_chose_keeps_the_server_from_starting(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        options = ("--http-listen", f"127.0.0.1:{port}", "--listen", "127.0.0.1:0", "--workers", workers)
        ended = fork_server.run("serve", "--data-dir", str(tmp_path / "data"), *options)
    assert ended.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_that_nobody_chose_is_a_warning(
    tmp_path: Path, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CANUSE_HTTP_LISTEN")
    canuse = Canuse(tmp_path, "--workers", workers)
    host, _, port = DEFAULT.rpartition(":")
    try:
        other = socket.create_server((host, int(port)))
    except OSError:
        other = None  # Somebody on this machine has it already.
    try:
        with running(canuse):
            assert "HTTP" not in canuse.ready_line
            assert canuse.log.count("there is no HTTP port") == 1
            with Client(canuse.address) as client:
                assert list(client.list_users()) == []
    finally:
        if other is not None:
            other.close()


def test_each_worker_answers_on_the_port(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--workers", "2", env={"CANUSE_HTTP_LISTEN": f"127.0.0.1:{free_port()}"})) as canuse:
        connections = [httpx.Client(base_url=canuse.http_url) for _ in range(12)]
        assert all(each.post(LIST, json={}).status_code == 200 for each in connections)
        for each in connections:
            each.close()


async def test_calls_under_way_end_with_their_answers_when_the_server_is_asked_to_end(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with server_behind_relay("grpcio", tmp_path, redis, CANUSE_STORE_TIMEOUT_SECONDS="20", **ANY_PORT) as (
        canuse,
        relay,
    ):
        user_id, feature_id = await asyncio.to_thread(_subscriber, canuse)
        async with httpx.AsyncClient(base_url=canuse.http_url, timeout=60) as http:
            assert (await http.post(LIST, json={})).status_code == 200
            relay.hold_replies()
            asked = relay.request_with(user_id.encode())
            body = {"userId": user_id, "featureId": feature_id}
            call = asyncio.create_task(http.post("/canuse.v1.UsageService/ShowUsage", json=body))
            await asyncio.wait_for(asked.wait(), 20)
            os.kill(canuse.pid, signal.SIGTERM)
            await wait_until(lambda: _refuses(canuse.http_url))
            relay.release()
            assert (await call).status_code == 200
        assert canuse.process is not None
        assert await asyncio.to_thread(canuse.process.wait, 60) == 0


def _subscriber(canuse: Canuse) -> tuple[str, str]:
    with Client(canuse.address) as client:
        return subscriber(client, 5)


def _refuses(url: str) -> bool:
    host, _, port = url.rpartition("//")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return True
    return False


def test_a_connection_that_waits_does_not_keep_the_server_from_ending(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, env={**ANY_PORT, "CANUSE_GRACE_SECONDS": "3600"})) as canuse:
        host, _, port = canuse.http_url.rpartition("//")[2].rpartition(":")
        with socket.create_connection((host, int(port))), httpx.Client(base_url=canuse.http_url) as http:
            assert http.post(LIST, json={}).status_code == 200
            assert canuse.stop() == 0
        canuse.start()


def options_of(pair: Pair, client_ca: Path | None = None) -> list[str]:
    """Return the options of a server with a certificate."""
    options = ["--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key)]
    return options + (["--tls-client-ca", str(client_ca)] if client_ca else [])


def status(canuse: Canuse, context: ssl.SSLContext) -> int:
    """Make a call on a connection of its own; return the HTTP status."""
    return httpx.post(canuse.http_url + LIST, json={}, verify=context).status_code


def test_tls_is_that_of_grpc_and_a_new_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    pair = authority.server()
    with running(Canuse(tmp_path, *options_of(pair), env=ANY_PORT)) as canuse:
        assert canuse.http_url.startswith("https://")
        trusting, stranger = (ssl.create_default_context(cafile=each.path) for each in (authority, other))
        assert status(canuse, trusting) == 200
        with pytest.raises(httpx.ConnectError):
            status(canuse, stranger)
        with pytest.raises(httpx.HTTPError):
            httpx.post(canuse.http_url.replace("https", "http") + LIST, json={})
        renewed = other.server()
        pair.key.write_bytes(renewed.key.read_bytes())
        pair.certificate.write_bytes(renewed.certificate.read_bytes())

        def is_renewed() -> bool:
            try:
                return status(canuse, stranger) == 200
            except httpx.ConnectError:
                return False

        until(is_renewed)


def test_a_client_without_a_certificate_is_refused_where_one_is_required(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    options = options_of(authority.server(), authority.path)
    with running(Canuse(tmp_path, *options, env=ANY_PORT)) as canuse:
        context = ssl.create_default_context(cafile=authority.path)
        with pytest.raises(httpx.HTTPError):
            status(canuse, context)
        own = authority.client()
        context.load_cert_chain(own.certificate, own.key)
        assert status(canuse, context) == 200
