"""Servers start with what the chart gives them, on a real store, and their probes succeed."""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from canuse import CanuseError
from support.certificates import Authority
from support.chart import CHART, environment, rendered, server
from support.load import running
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.tools import VALKEY_SERVER

SECRET = f"sk_live_{'0123456789abcdef' * 4}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey."""
    valkey = RedisServer(VALKEY_SERVER, tmp_path / "valkey").start()
    yield valkey
    valkey.stop()


def deployed(folder: Path, resources: list[dict[str, Any]], files: dict[str, Path], store: str) -> Canuse:
    """Return the server of a rendered chart, with files and ports of this machine instead of those of a pod."""
    text = "\n".join(server(resources)["args"][1:])
    for mounted, path in files.items():
        assert mounted in text or mounted in str(environment(resources))
        text = text.replace(mounted, str(path))
    options = re.sub(r"(0\.0\.0\.0|127\.0\.0\.1):\d+", r"\1:0", text).splitlines()
    variables = {name: files.get(str(value), value) for name, value in environment(resources).items()}
    variables["CANUSE_REDIS_URL"] = store
    return Canuse(folder, *options, env={name: str(value) for name, value in variables.items()})


def test_a_server_with_secrets_starts_is_healthy_and_takes_the_key(tmp_path: Path, store: RedisServer) -> None:
    resources = rendered({}, CHART / "ci/secrets-values.yaml")
    key = tmp_path / "key"
    key.write_text(SECRET)
    canuse = deployed(tmp_path, resources, {"/etc/canuse/bootstrap-key/key": key}, store.url)
    with running(canuse), Client(canuse.address.replace("0.0.0.0", "127.0.0.1"), api_key=SECRET) as client:
        assert list(client.list_users()) == []
        assert "transport grpcio" in canuse.ready_line
        assert canuse.http_url
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = server(resources)[probe]["httpGet"]["path"]
            assert httpx.get(canuse.ops_url.replace("0.0.0.0", "127.0.0.1") + path).status_code == 200
    assert canuse.process is not None
    assert canuse.process.returncode == 0


def test_a_server_with_tls_accepts_clients_with_a_certificate_only(tmp_path: Path, store: RedisServer) -> None:
    resources = rendered({"bootstrapKey": {"sha256": hashed(SECRET)}}, CHART / "ci/tls-values.yaml")
    authority = Authority(tmp_path / "certificates")
    pair = authority.server()
    files = {
        "/etc/canuse/tls/tls.crt": pair.certificate,
        "/etc/canuse/tls/tls.key": pair.key,
        "/etc/canuse/client-ca/ca.crt": authority.path,
    }
    canuse = deployed(tmp_path, resources, files, store.url)
    with running(canuse):
        assert "with mTLS" in canuse.ready_line
        address = canuse.address.replace("0.0.0.0", "127.0.0.1")
        with Client(address, api_key=SECRET, tls=authority.trusted(authority.client())) as client:
            assert list(client.list_users()) == []
        with Client(address, api_key=SECRET, tls=authority.trusted()) as client, pytest.raises(CanuseError):
            list(client.list_users())


def test_a_server_behind_envoy_is_native_and_requires_the_key(tmp_path: Path, store: RedisServer) -> None:
    resources = rendered({"bootstrapKey": {"sha256": hashed(SECRET)}}, CHART / "ci/envoy-values.yaml")
    canuse = deployed(tmp_path, resources, {}, store.url)
    with running(canuse):
        assert "transport native" in canuse.ready_line
        assert canuse.address.startswith("127.0.0.1:")
        assert canuse.http_url == ""
        with Client(canuse.address) as client, pytest.raises(CanuseError, match="API key"):
            list(client.list_users())
        with Client(canuse.address, api_key=SECRET) as client:
            assert list(client.list_users()) == []


def hashed(secret: str) -> str:
    """Return the hash of a key as a setting."""
    return f"sha256:{sha256(secret.encode()).hexdigest()}"
