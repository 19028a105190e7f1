"""Certificates that are reload_if_changed while a server runs: no call fails, and unusable files change nothing."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from canuse import Tls, Unavailable
from canuse_server.transport.tls import SETTLE_SECONDS, Certificates, TlsFiles
from support.certificates import Authority, Pair, first_certificate, replace_file, served_certificate
from support.load import OWN_CONNECTION, running, wait_until
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import subscriber

TURNS = 10
KEPT = "the previous certificate stays in use"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The CA of the server."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """The server's files."""
    return authority.server()


@pytest.fixture
def clients(tmp_path: Path) -> Authority:
    """The CA of the clients."""
    return Authority(tmp_path / "clients")


@pytest.fixture
def canuse(clients: Authority, pair: Pair, tmp_path: Path) -> Iterator[Canuse]:
    """A server that accepts clients with a certificate of the clients' CA."""
    files = {"certificate": pair.certificate, "key": pair.key, "client-ca": clients.path}
    options = [part for name, path in files.items() for part in (f"--tls-{name}", str(path))]
    with running(Canuse(tmp_path, *options)) as canuse:
        yield canuse


async def test_calls_go_on_while_the_certificate_is_renewed_again_and_again(
    authority: Authority, clients: Authority, canuse: Canuse, pair: Pair
) -> None:
    tls = authority.trusted(clients.client())
    with Client(canuse.address, tls=tls) as admin:
        user_id, feature_id = subscriber(admin, None)
    over, counted = asyncio.Event(), [0, 0]

    async def one_connection() -> None:
        async with AsyncClient(canuse.address, tls=tls, options=OWN_CONNECTION) as client:
            while not over.is_set():
                assert (await client.use_feature(user_id, feature_id)).access
                counted[0] += 1

    async def one_after_the_other() -> None:
        while not over.is_set():
            async with AsyncClient(canuse.address, tls=tls, options=OWN_CONNECTION) as client:
                assert (await client.use_feature(user_id, feature_id)).access
                counted[1] += 1

    tasks = [asyncio.create_task(work()) for work in (one_connection, one_connection, one_after_the_other)]
    for _ in range(TURNS):
        await asyncio.to_thread(authority.server)
        before = list(counted)
        assert await asyncio.to_thread(served_certificate, canuse.address) == first_certificate(pair.certificate)
        await wait_until(partial(have_gone_on, counted, before))
        assert not any(task.done() for task in tasks)
    over.set()
    await asyncio.gather(*tasks)
    with Client(canuse.address, tls=tls) as admin:
        assert admin.show_usage(user_id, feature_id).current.used == sum(counted)


def have_gone_on(counted: list[int], before: list[int]) -> bool:
    """Return whether calls were begun and answered recently, on connections of both kinds."""
    return all(now > then + 1 for now, then in zip(counted, before, strict=True))


def test_a_certificate_that_can_not_be_used_changes_nothing_and_is_reported_once(
    authority: Authority, clients: Authority, canuse: Canuse, pair: Pair
) -> None:
    tls = authority.trusted(clients.client())
    shown = first_certificate(pair.certificate)
    whole = pair.certificate.read_bytes()
    for number, content in enumerate((b"", whole[:-40], whole[: len(whole) // 3])):
        pair.certificate.write_bytes(content)  # In place, as an editor does: half of it may be there.
        for turn in range(3):
            with Client(canuse.address, tls=tls, options=OWN_CONNECTION) as client:
                client.create_user(f"user-{number}-{turn}")
            assert served_certificate(canuse.address) == shown
    assert canuse.log.count(KEPT) == 1
    pair.certificate.unlink()
    assert served_certificate(canuse.address) == shown
    assert canuse.log.count(KEPT) == 2
    assert "No such file" in canuse.log
    authority.server()
    assert served_certificate(canuse.address) == first_certificate(pair.certificate) != shown
    pair.key.write_bytes(Authority(pair.key.parent / "other").server().key.read_bytes())
    assert served_certificate(canuse.address) == first_certificate(pair.certificate)
    assert canuse.log.count(KEPT) == 3
    assert "PRIVATE KEY" not in canuse.log


def test_another_ca_for_clients_lets_in_its_clients_and_the_old_ones_no_more(
    authority: Authority, clients: Authority, canuse: Canuse, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    old, new = authority.trusted(clients.client()), authority.trusted(other.client())
    with Client(canuse.address, tls=old) as feature_state:
        feature_state.create_user("124")
        assert not is_let_in(canuse, new)
        assert is_let_in(canuse, old)
        replace_file(clients.path, other.path.read_bytes())
        assert is_let_in(canuse, new)
        assert not is_let_in(canuse, old)
        # Existing connections stay: they are not made again.
        assert feature_state.get_user("124").id == "124"


def test_grpc_gets_a_new_certificate_after_a_wait_and_no_other(
    authority: Authority, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    # gRPC freed the previous one while handshakes in other threads took hold of it: one in some thousand changes beside
    # a few hundred handshakes a second ended the server.
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    certificates = Certificates(TlsFiles(pair.certificate, pair.key, None))
    assert certificates.fetch() is None
    assert waits == []
    authority.server()
    assert certificates.fetch() is not None
    assert waits == [SETTLE_SECONDS]


def is_let_in(canuse: Canuse, tls: Tls) -> bool:
    """Return whether a new connection gets an answer."""
    with Client(canuse.address, tls=tls, options=OWN_CONNECTION) as client:
        try:
            return client.get_user("124").id == "124"
        except Unavailable:
            return False
