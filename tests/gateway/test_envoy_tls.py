"""The real Envoy terminates TLS for the native transport, with the configuration of docs/security.md."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from canuse import Unavailable
from canuse_server.api.metadata import MAX_METADATA_BYTES
from canuse_server.transport.limits import MAX_MESSAGE_BYTES
from support.certificates import Authority, first_certificate, served_certificate
from support.gateway import TlsEnvoy
from support.grpcurl import grpcurl
from support.load import MAX_WAIT_SECONDS, OWN_CONNECTION, running, until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber

USE_FEATURE = "canuse.v1.EntitlementService/UseFeature"
HEAP_MIB: Final = 512
"""Memory limit of Envoy in its configuration."""
SEND_ANYTHING: Final = (("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 20), *OWN_CONNECTION)
METHODS: Final = (
    f"/{USE_FEATURE}",
    "/canuse.v1.CatalogService/ListFeatures",
    "/canuse.v1.UsageService/ShowUsage",
    "/canuse.v1.NoService/NoMethod",
    "/grpc.health.v1.Health/Check",
)
REFLECTION: Final = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def canuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server on the loopback with the native transport, which has no TLS."""
    with running(Canuse(tmp_path_factory.mktemp("canuse"), "--transport", "native")) as canuse:
        yield canuse


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The CA of Envoy's certificate."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def clients(tmp_path: Path) -> Authority:
    """The CA of the clients' certificates."""
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
        before = served_certificate(envoy.address)
        assert before == first_certificate(pair.certificate)
        authority.server()

        def is_renewed() -> bool:
            assert client.use_feature(user_id, feature_id).access
            return served_certificate(envoy.address) == first_certificate(pair.certificate)

        until(is_renewed)
        assert served_certificate(envoy.address) != before


def peak_mib(pid: int) -> int:
    """Return the peak memory of a process."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024


def refused(channel: grpc.Channel, path: str, size: int, compression: grpc.Compression) -> tuple[str, str]:
    """Send a request of so many zeros; return the status and the message with which it is refused."""
    call: Any = channel.stream_stream(path)
    with pytest.raises(grpc.RpcError) as error:
        list(call(iter((bytes(size),)), timeout=MAX_WAIT_SECONDS, compression=compression))
    return error.value.code().name, str(error.value.details())


def test_what_is_compressed_or_too_large_gets_no_further_than_envoy(
    canuse: Canuse, authority: Authority, tmp_path: Path
) -> None:
    """The native transport decompresses and reads everything: four calls of 199 KiB took 800 MiB there."""
    plain, gzip, deflate = grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate
    credentials = authority.trusted().credentials()
    with started(TlsEnvoy(tmp_path, canuse.address, authority.server())) as envoy, ThreadPoolExecutor(4) as threads:
        pids = (canuse.pid, envoy.pid)
        before = [peak_mib(pid) for pid in pids]
        with grpc.secure_channel(envoy.address, credentials, SEND_ANYTHING) as channel:
            assert refused(channel, METHODS[0], MAX_MESSAGE_BYTES, plain)[0] == "INVALID_ARGUMENT"
            for path in METHODS:
                sent = [threads.submit(refused, channel, path, 64 << 20, how) for how in (plain, gzip, plain, deflate)]
                assert [each.result() for each in sent] == [
                    ("UNKNOWN", "the request has more than 4194304 bytes"),
                    ("UNIMPLEMENTED", "compressed requests are not taken"),
                ] * 2
            assert refused(channel, REFLECTION, 64 << 20, gzip)[0] == "UNIMPLEMENTED"
            assert refused(channel, REFLECTION, 64 << 20, plain)[0] == "RESOURCE_EXHAUSTED"
        assert all(peak_mib(pid) - then < 64 for pid, then in zip(pids, before, strict=True))


def test_requests_that_do_not_end_fill_the_memory_of_envoy_up_to_its_bound(
    canuse: Canuse, authority: Authority, tmp_path: Path
) -> None:
    async def send(address: str) -> None:
        async def send_some() -> None:
            async with grpc.aio.secure_channel(address, authority.trusted().credentials(), SEND_ANYTHING) as channel:
                calls: list[Any] = [channel.stream_unary(METHODS[0])(timeout=MAX_WAIT_SECONDS) for _ in range(20)]
                for call in calls:
                    # Refused or reset, sooner or later.
                    with suppress(grpc.RpcError, asyncio.InvalidStateError, TimeoutError):
                        await asyncio.wait_for(call.write(bytes(MAX_MESSAGE_BYTES - 100)), 2)

        await asyncio.gather(*(send_some() for _ in range(15)))

    with started(TlsEnvoy(tmp_path, canuse.address, authority.server())) as envoy:
        asyncio.run(send(envoy.address))
        # Envoy checks its memory every 50 ms, and TLS has buffers of its own.
        assert peak_mib(envoy.pid) < HEAP_MIB * 1.5
        with Client(envoy.address, tls=authority.trusted(), options=OWN_CONNECTION) as client:
            user_id, feature_id = subscriber(client, None)
            assert client.use_feature(user_id, feature_id).access


def test_a_call_with_too_much_metadata_is_refused_alone(canuse: Canuse, authority: Authority, tmp_path: Path) -> None:
    with (
        started(TlsEnvoy(tmp_path, canuse.address, authority.server())) as envoy,
        grpc.secure_channel(envoy.address, authority.trusted().credentials(), SEND_ANYTHING) as channel,
    ):
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        beside = watch(b"")
        next(beside)
        for size in (MAX_METADATA_BYTES, 70_000, 300 << 10):
            metadata = tuple((f"x-large-{number}", "x" * 8_000) for number in range(size // 8_000 + 1))
            for path in METHODS:
                call: Any = channel.unary_unary(path)
                with pytest.raises(grpc.RpcError) as error:
                    call(b"", timeout=MAX_WAIT_SECONDS, metadata=metadata)
                assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert str(error.value.details()).startswith("metadata: must be at most 16384 bytes")
        assert beside.is_active()
        beside.cancel()
