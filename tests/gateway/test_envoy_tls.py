"""The real Envoy speaks TLS before the native transport, by the configuration that docs/security.md tells people of."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from canuse import Unavailable
from support.certificates import Authority, first, served
from support.gateway import TlsEnvoy
from support.grpcurl import grpcurl
from support.load import OWN_CONNECTION, running, until
from support.message_clients import Client
from support.processes import Canuse
from support.world import subscriber

USE_FEATURE = "canuse.v1.EntitlementService/UseFeature"


@pytest.fixture(scope="module")
def canuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server on the loopback, with the transport that has no TLS."""
    with running(Canuse(tmp_path_factory.mktemp("canuse"), "--transport", "native")) as canuse:
        yield canuse


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs for Envoy."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def clients(tmp_path: Path) -> Authority:
    """Who signs for the clients."""
    return Authority(tmp_path / "clients")


@contextmanager
def started(envoy: TlsEnvoy) -> Iterator[TlsEnvoy]:
    """Run an Envoy."""
    envoy.start()
    try:
        yield envoy
    finally:
        envoy.stop()


def test_calls_come_through_tls_and_others_do_not(canuse: Canuse, authority: Authority, tmp_path: Path) -> None:
    with started(TlsEnvoy(tmp_path, canuse.address, authority.server())) as envoy:
        with Client(envoy.address, tls=authority.trusted()) as client:
            user_id, feature_id = subscriber(client, 2)
            assert [client.use_feature(user_id, feature_id).access for _ in range(3)] == [True, True, False]
        with Client(envoy.address, options=OWN_CONNECTION) as plain, pytest.raises(Unavailable):
            plain.can_use(user_id, feature_id)


def test_grpcurl_comes_through_tls_with_reflection_answers_and_errors(
    canuse: Canuse, authority: Authority, tmp_path: Path
) -> None:
    with Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 1)
    request = json.dumps({"user_id": user_id, "feature_id": feature_id})
    with started(TlsEnvoy(tmp_path, canuse.address, authority.server())) as envoy:
        options = ("-cacert", str(authority.path))
        assert "canuse.v1.EntitlementService" in grpcurl(envoy.address, "list", options=options).stdout.split()
        assert '"access": true' in grpcurl(envoy.address, USE_FEATURE, options=(*options, "-d", request)).stdout
        refused = grpcurl(envoy.address, USE_FEATURE, options=(*options, "-d", "{}")).stderr
        assert "InvalidArgument" in refused
        assert "google.rpc.BadRequest" in refused
        assert grpcurl(envoy.address, "list", options=("-plaintext",)).returncode != 0


def test_with_mtls_only_who_has_a_certificate_comes_through(
    canuse: Canuse, authority: Authority, clients: Authority, tmp_path: Path
) -> None:
    with started(TlsEnvoy(tmp_path, canuse.address, authority.server(), clients.path)) as envoy:
        with Client(envoy.address, tls=authority.trusted(clients.client())) as client:
            user_id, feature_id = subscriber(client, 1)
            assert client.can_use(user_id, feature_id).access
        for tls in (authority.trusted(), authority.trusted(authority.client())):
            with Client(envoy.address, tls=tls, options=OWN_CONNECTION) as client, pytest.raises(Unavailable):
                client.can_use(user_id, feature_id)


def test_a_renewed_certificate_is_shown_without_a_call_that_fails(
    canuse: Canuse, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.server()
    with (
        started(TlsEnvoy(tmp_path, canuse.address, pair)) as envoy,
        Client(envoy.address, tls=authority.trusted()) as client,
    ):
        user_id, feature_id = subscriber(client, None)
        before = served(envoy.address)
        assert before == first(pair.certificate)
        authority.server()

        def is_renewed() -> bool:
            assert client.use_feature(user_id, feature_id).access
            return served(envoy.address) == first(pair.certificate)

        until(is_renewed)
        assert served(envoy.address) != before
