"""The load generator of the bench: it fails unless every answer is right and every use is counted."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest
from bench import event_ids
from bench.candidates import Running, Setup, bare_lane, canuse, started
from bench.http2 import GOAWAY, MAX_FRAME_BYTES, RST_STREAM, SETTINGS, WINDOW_UPDATE, CallFailedError, LoadError
from bench.loader import Loader
from bench.measure import measure
from bench.methods import CAN_USE, METHODS, SERVICE, USE_FEATURE, Method, first_field_is_1
from bench.processes import Cores

from canuse import v1
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber

ANYWHERE = Cores(None, None)
END = b"<end>"
USERS = [f"bench-{number:07d}" for number in range(50)]
NATIVE_AND_GRPCIO = pytest.mark.parametrize("server", ["native-valkey", "grpcio-valkey"], indirect=True)


def use(user_id: str, feature_id: str) -> bytes:
    """Return a request to use one unit."""
    return v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id).SerializeToString()


def load(server: Canuse, method: str, message: bytes, in_flight: int = 40) -> Loader:
    """Return the load of one call, repeated."""
    return Loader(server.address, SERVICE + method, [message], first_field_is_1, in_flight)


@NATIVE_AND_GRPCIO
@pytest.mark.parametrize("in_flight", [1, 40, 100])
def test_each_answer_is_one_use_that_was_counted(server: Canuse, client: Client, in_flight: int) -> None:
    user_id, feature_id = subscriber(client, 10**9)
    with load(server, "UseFeature", use(user_id, feature_id), in_flight) as loader:
        first, second = loader.run(0.05), loader.run(0.05)
    assert first.answered >= in_flight
    assert client.can_use(user_id, feature_id).consumption.used == first.answered + second.answered
    assert 0 < second.latency_us(0.5) <= second.latency_us(0.999)


@NATIVE_AND_GRPCIO
def test_a_refusal_makes_the_load_fail(server: Canuse, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    with load(server, "UseFeature", use(user_id, feature_id)) as loader, pytest.raises(LoadError, match="not a yes"):
        loader.run(5)
    assert client.can_use(user_id, feature_id).consumption.used == 5


@NATIVE_AND_GRPCIO
def test_an_error_makes_the_load_fail_with_its_words(server: Canuse, client: Client) -> None:
    _, feature_id = subscriber(client, 5)
    with load(server, "CanUse", use("nobody", feature_id)) as loader, pytest.raises(CallFailedError) as caught:
        loader.run(5)
    assert caught.value.status == "5"
    assert "nobody" in str(caught.value)


@NATIVE_AND_GRPCIO
def test_a_method_that_is_not_there_makes_the_load_fail(server: Canuse) -> None:
    with load(server, "NoSuchMethod", b"") as loader, pytest.raises(CallFailedError) as caught:
        loader.run(5)
    assert caught.value.status == "12"


def test_a_server_that_ends_makes_the_load_fail(tmp_path: Path) -> None:
    server = Canuse(tmp_path, "--transport", "native").start()
    try:
        with Client(server.address) as client:
            user_id, feature_id = subscriber(client, 10**9)
        with load(server, "UseFeature", use(user_id, feature_id)) as loader:
            threading.Timer(0.2, server.kill).start()
            with pytest.raises(LoadError):
                loader.run(30)
    finally:
        server.stop()
    with pytest.raises(LoadError, match="no connection"):
        load(server, "UseFeature", b"")


@contextmanager
def peer(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen as a server that sends a script after its SETTINGS, and then nothing; yield the address."""

    def talk() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(frame(SETTINGS, b""))
            script(connection)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def frame(kind: int, payload: bytes) -> bytes:
    """Return a frame of stream 0."""
    return len(payload).to_bytes(3, "big") + bytes((kind, 0, 0, 0, 0, 0)) + payload


def read_calls(connection: socket.socket, count: int) -> None:
    """Read until so many calls that end with END have arrived."""
    seen = b""
    while seen.count(END) < count:
        seen += connection.recv(1 << 16)


def test_a_connection_that_is_closed_before_the_answer_makes_the_load_fail() -> None:
    with (
        peer(lambda connection: read_calls(connection, 1)) as address,
        Loader(address, "/a/b", [END], first_field_is_1, 1) as loader,
        pytest.raises(LoadError, match="closed with 1 calls unanswered"),
    ):
        loader.run(5)


def test_no_more_is_sent_than_the_server_has_made_room_for() -> None:
    def make_room_for_one_more(connection: socket.socket) -> None:
        read_calls(connection, 6)  # of 10,005 bytes each: another one would be more than 65,535
        connection.sendall(frame(WINDOW_UPDATE, (5_000).to_bytes(4, "big")))
        read_calls(connection, 1)

    with (
        peer(make_room_for_one_more) as address,
        Loader(address, "/a/b", [END.rjust(10_000)], first_field_is_1, 32) as loader,
        pytest.raises(LoadError, match="closed with 7 calls unanswered"),
    ):
        loader.run(5)


@pytest.mark.parametrize(("kind", "name"), [(GOAWAY, "GOAWAY, error 2"), (RST_STREAM, "RST_STREAM, error 2")])
def test_a_call_that_is_broken_off_makes_the_load_fail(kind: int, name: str) -> None:
    payload = (b"\0\0\0\0" if kind == GOAWAY else b"") + (2).to_bytes(4, "big")

    def break_off(connection: socket.socket) -> None:
        read_calls(connection, 1)
        connection.sendall(frame(kind, payload))

    with (
        peer(break_off) as address,
        Loader(address, "/a/b", [END], first_field_is_1, 1) as loader,
        pytest.raises(LoadError, match=name),
    ):
        loader.run(5)


@pytest.fixture(scope="module")
def candidate() -> Iterator[Running]:
    """This canuse, started as the bench starts it."""
    with started(canuse("native"), USERS, Setup([method.name for method in METHODS], ANYWHERE)) as running:
        yield running


def test_a_measurement_counts_in_the_store(candidate: Running) -> None:
    before = candidate.used(USERS)
    done = measure(candidate, USE_FEATURE, USERS, 4, 0.1, ANYWHERE)
    after = candidate.used(USERS)
    assert before is not None
    assert after is not None
    assert after - before >= done.answered > 0
    assert done.checked


def test_answers_that_were_not_counted_make_a_measurement_fail(candidate: Running) -> None:
    # Like a server that answers yes and counts nothing.
    wrong = replace(CAN_USE, counts=1)
    with pytest.raises(LoadError, match=r"native, CanUse, 4 in flight: \d+ should have been counted, and 0 were"):
        measure(candidate, wrong, USERS, 4, 0.05, ANYWHERE)


def test_uses_that_nobody_asked_for_make_a_measurement_fail(candidate: Running) -> None:
    wrong = replace(USE_FEATURE, counts=0)
    with pytest.raises(LoadError, match=r"0 should have been counted, and \d+ were"):
        measure(candidate, wrong, USERS, 4, 0.05, ANYWHERE)


@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
def test_each_method_counts_exactly_its_items(candidate: Running, method: Method) -> None:
    # An event id that came twice would be answered with a yes, and not be counted.
    users = USERS[:3]
    before = candidate.used(users) or 0
    [measured] = [each for each in candidate.methods if each.name == method.name]
    result = measure(candidate, measured, users, 4, 0.05, ANYWHERE)
    after = candidate.used(users) or 0
    assert result.checked
    assert (after > before) is (method.name not in {"CanUse", "BatchCanUse"})
    assert (after - before) % measured.items == 0


def test_event_ids_that_come_twice_make_a_measurement_fail(candidate: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_ids, "_IDS", repeat(b"the-same-event-id-each-time-----"))
    with pytest.raises(LoadError, match=r"UseFeature\+id, 4 in flight: \d+ should have been counted, and 1 were"):
        measure(candidate, _method("UseFeature+id"), USERS[10:11], 4, 0.05, ANYWHERE)


def test_a_batch_of_a_thousand_does_not_fit_into_one_frame_and_is_counted(candidate: Running) -> None:
    thousand = _method("BatchCreateUsageEvents+id").with_batch(1000)
    assert len(thousand.messages(USERS)[0]) > 3 * MAX_FRAME_BYTES
    before = candidate.used(USERS) or 0
    measure(candidate, thousand, USERS, 1, 0.05, ANYWHERE)
    assert ((candidate.used(USERS) or 0) - before) % 1000 == 0


def test_users_have_as_many_event_ids_from_before_as_they_are_told_to() -> None:
    setup = Setup(["UseFeature+id"], ANYWHERE, kept_ids=40)
    with started(canuse("native"), USERS[:30], setup) as running:
        assert running.used(USERS[:30]) == 40 * 30 + 1  # Whether it has the method was seen by a call.


def test_the_bare_lane_counts_what_it_answers() -> None:
    with started(bare_lane(), USERS, Setup(["ShouldRateLimit"], ANYWHERE)) as running:
        assert measure(running, running.methods[0], USERS, 4, 0.05, ANYWHERE).checked
        assert (running.used(USERS) or 0) > 1


def _method(name: str) -> Method:
    return next(method for method in METHODS if method.name == name)


def test_users_made_in_bulk_are_users_like_any_other(candidate: Running) -> None:
    with Client(candidate.address) as client:
        assert set(USERS) < {user.id for user in client.list_users()}
        assert client.use_feature(USERS[7], "api-calls").access
        assert client.show_usage(USERS[7], "api-calls").current.budget == 10**12
