"""TLS on the public port: who is accepted, with common tools, and what prevents a server from starting."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

import canuse
from canuse import Tls, Unavailable
from support import fork_server
from support.certificates import Authority, Pair
from support.grpcurl import grpcurl
from support.load import OWN_CONNECTION, running
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import subscriber

CAN_USE = "canuse.v1.EntitlementService/CanUse"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the servers and their clients."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another CA, which nobody here trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


def options_of(pair: Pair, client_ca: Path | None = None) -> list[str]:
    """Return the options of a server with a certificate."""
    options = ["--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key)]
    return options + (["--tls-client-ca", str(client_ca)] if client_ca else [])


@pytest.fixture(scope="module")
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with a certificate that accepts everybody."""
    with running(Canuse(tmp_path_factory.mktemp("tls"), *options_of(authority.server()))) as canuse:
        yield canuse


@pytest.fixture(scope="module")
def mutual(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server that accepts clients with a certificate of the CA."""
    options = options_of(authority.server("mutual"), authority.path)
    with running(Canuse(tmp_path_factory.mktemp("mtls"), *options)) as canuse:
        yield canuse


def refused(address: str, tls: Tls | bool) -> str:
    """Make a call that must fail; return the message that the client gets."""
    with Client(address, tls=tls, options=OWN_CONNECTION) as client, pytest.raises(Unavailable) as caught:
        client.can_use("124", "api-calls")
    return str(caught.value)


def test_a_client_that_trusts_the_ca_is_answered_and_the_server_says_that_it_speaks_tls(
    authority: Authority, secured: Canuse
) -> None:
    with Client(secured.address, tls=authority.trusted()) as client:
        user_id, feature_id = subscriber(client, 5)
        assert client.use_feature(user_id, feature_id).access
    assert "transport grpcio with TLS," in secured.ready_line


async def test_the_asynchronous_client_speaks_tls_as_well(authority: Authority, mutual: Canuse) -> None:
    async with AsyncClient(mutual.address, tls=authority.trusted(authority.client())) as client:
        created = await client.create_user("tls-async")
        assert created.id == "tls-async"


def test_a_client_that_trusts_another_ca_or_speaks_no_tls_gets_no_answer(
    secured: Canuse, other_authority: Authority
) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in refused(secured.address, other_authority.trusted())
    assert "CERTIFICATE_VERIFY_FAILED" in refused(secured.address, tls=True)
    refused(secured.address, tls=False)


def test_a_client_with_a_certificate_of_the_ca_is_accepted(authority: Authority, mutual: Canuse) -> None:
    with Client(mutual.address, tls=authority.trusted(authority.client())) as client:
        user_id, feature_id = subscriber(client, 5)
        assert client.can_use(user_id, feature_id).access
    assert "transport grpcio with mTLS," in mutual.ready_line


def test_a_client_without_a_certificate_of_the_ca_is_refused(
    authority: Authority, other_authority: Authority, mutual: Canuse
) -> None:
    refused(mutual.address, authority.trusted())
    refused(mutual.address, authority.trusted(other_authority.client()))


def test_grpcurl_is_accepted_with_the_ca_and_its_certificate_and_not_without(
    authority: Authority, other_authority: Authority, secured: Canuse, mutual: Canuse
) -> None:
    trusting, client = ("-cacert", str(authority.path)), authority.client("grpcurl")
    known = (*trusting, "-cert", str(client.certificate), "-key", str(client.key))
    for server, options in ((secured, trusting), (mutual, known)):
        listed = grpcurl(server.address, "list", options=options)
        assert listed.returncode == 0, listed.stderr
        assert "canuse.v1.EntitlementService" in listed.stdout.split()
        answered = grpcurl(
            server.address, CAN_USE, options=(*options, "-d", '{"user_id": "nobody", "feature_id": "no"}')
        )
        assert "NotFound" in answered.stderr
    assert grpcurl(secured.address, "list", options=("-plaintext",)).returncode != 0
    assert grpcurl(secured.address, "list", options=("-cacert", str(other_authority.path))).returncode != 0
    assert grpcurl(mutual.address, "list", options=trusting).returncode != 0


def command(address: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """List the server's users with the command `canuse`."""
    return fork_server.run("users", "list", "--json", "--server", address, *options, env={**os.environ, **env})


def users(completed: subprocess.CompletedProcess[str]) -> list[Any]:
    """Return the users that a command has printed."""
    assert completed.returncode == 0, completed.stderr
    found: list[Any] = json.loads(completed.stdout)
    return found


def test_the_command_speaks_tls_by_options_and_by_the_environment(authority: Authority, mutual: Canuse) -> None:
    client = authority.client("command")
    with Client(mutual.address, tls=authority.trusted(client)) as admin:
        admin.create_user("tls-command")
    paths = {"ca": authority.path, "certificate": client.certificate, "key": client.key}
    options = [part for name, path in paths.items() for part in (f"--tls-{name}", str(path))]
    env = {f"CANUSE_CLIENT_TLS_{name.upper()}": str(path) for name, path in paths.items()}
    for completed in (command(mutual.address, *options), command(mutual.address, **env)):
        assert "tls-command" in [user["id"] for user in users(completed)]


def test_a_client_without_arguments_speaks_tls_by_the_environment_of_the_command(
    authority: Authority, mutual: Canuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = authority.client("by-environment")
    monkeypatch.setenv("CANUSE_SERVER", mutual.address)
    monkeypatch.setenv("CANUSE_CLIENT_TLS_CA", str(authority.path))
    monkeypatch.setenv("CANUSE_CLIENT_TLS_CERTIFICATE", str(own.certificate))
    monkeypatch.setenv("CANUSE_CLIENT_TLS_KEY", str(own.key))
    with canuse.Client() as client:
        assert client.create_user("by-environment").id == "by-environment"


def test_the_command_tells_in_one_line_what_is_wrong_with_its_files_or_with_the_server(
    authority: Authority, secured: Canuse
) -> None:
    for options, message in (
        (("--tls",), f"no answer from {secured.address}"),
        (("--tls-ca", "nowhere.pem"), "nowhere.pem: No such file"),
        (("--tls-ca", str(authority.path), "--tls-key", "key.pem"), "`certificate` and `key` must be set together"),
    ):
        completed = command(secured.address, *options)
        assert (completed.returncode, completed.stdout, len(completed.stderr.splitlines())) == (2, "", 1), (
            completed.stderr
        )
        assert message in completed.stderr


@pytest.mark.extended
def test_workers_show_the_certificate_and_ask_for_one(authority: Authority, tmp_path: Path) -> None:
    options = [*options_of(authority.server("workers"), authority.path), "--workers", "2"]
    tls = authority.trusted(authority.client())
    with running(Canuse(tmp_path, *options)) as canuse:
        assert "transport grpcio with mTLS," in canuse.ready_line
        for number in range(8):  # Each has a connection of its own, to the one worker or the other.
            with Client(canuse.address, tls=tls, options=OWN_CONNECTION) as client:
                assert client.create_user(f"user-{number}").id == f"user-{number}"
            refused(canuse.address, authority.trusted())


def not_started(tmp_path: Path, *options: str) -> str:
    """Start a server that must not start; return the one line it prints, within a minute and without a prompt."""
    completed = fork_server.run("serve", "--listen", "127.0.0.1:0", *options, folder=tmp_path)
    assert (completed.returncode, completed.stdout, len(completed.stderr.splitlines())) == (1, "", 1), completed.stderr
    return completed.stderr


def test_the_native_transport_with_tls_is_refused_and_points_to_envoy(authority: Authority, tmp_path: Path) -> None:
    said = not_started(tmp_path, "--transport", "native", *options_of(authority.server("native")))
    assert said.startswith("canuse: tls_certificate: ")
    assert "deploy/envoy/tls.yaml" in said


def test_half_of_the_settings_is_refused(authority: Authority, tmp_path: Path) -> None:
    pair = authority.server("half")
    assert "tls_key: " in not_started(tmp_path, "--tls-certificate", str(pair.certificate))
    assert "tls_key: " in not_started(tmp_path, "--tls-key", str(pair.key))
    assert "tls_client_ca: " in not_started(tmp_path, "--tls-client-ca", str(authority.path))


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.extended)])
def test_files_that_can_not_be_used_are_named_at_the_start(
    authority: Authority, other_authority: Authority, tmp_path: Path, workers: str
) -> None:
    pair, other = authority.server("start"), other_authority.server()
    empty = tmp_path / "empty.pem"
    empty.touch()
    encrypted_key = tmp_path / "locked.pem"
    seal(pair.key, encrypted_key)
    for wrong, client_ca, message in (
        (Pair(tmp_path / "none.pem", pair.key), None, "none.pem"),
        (Pair(pair.certificate, tmp_path / "none.pem"), None, "none.pem"),
        (Pair(pair.certificate, other.key), None, "not encrypted"),
        (Pair(pair.certificate, encrypted_key), None, "not encrypted"),
        (Pair(empty, pair.key), None, "empty.pem"),
        (pair, empty, "tls_client_ca: "),
        (pair, pair.key, "tls_client_ca: "),
    ):
        assert message in not_started(tmp_path, *options_of(wrong, client_ca), "--workers", workers)


def seal(key: Path, path: Path) -> None:
    """Encrypt a key with a password."""
    opened = serialization.load_pem_private_key(key.read_bytes(), password=None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(opened.private_bytes(pem, pkcs8, encryption))
