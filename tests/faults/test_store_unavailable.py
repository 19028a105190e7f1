"""While the store is unavailable, a feature's `on_unavailable` decides, the answer says so, and nobody waits long."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis

from canuse import NotFound, OutcomeUnknown, StoreUnavailable, Unavailable, v1
from canuse_server.store.keys import SCHEMA
from canuse_server.store.preflight.schema import VERSION
from support.load import MAX_WAIT_SECONDS, OWN_CONNECTION, running, until
from support.message_clients import AsyncClient, Client
from support.processes import SHORT_STORE_TIMEOUT, Canuse, RedisServer, free_port
from support.relay import Relay, server_behind_relay
from support.resources import subscriber, unique

STORE_TIMEOUT_SECONDS = 2.0
PATIENT_STORE_TIMEOUT_SECONDS = 6.0
"""Longer than any delay of a busy machine."""
DEADLINE_SECONDS = 11.9
"""The deadline of a caller, which shows whether a call waits that long once or twice."""
DELAY_SECONDS = 0.2
"""The delay of every reply of a slow store."""
DENY, ALLOW, LAST_KNOWN = v1.ON_UNAVAILABLE_DENY, v1.ON_UNAVAILABLE_ALLOW, v1.ON_UNAVAILABLE_LAST_KNOWN
NO, YES = (False, v1.SOURCE_FALLBACK), (True, v1.SOURCE_FALLBACK)

T = TypeVar("T")
Away = Callable[[RedisServer], AbstractContextManager[None]]


@contextmanager
def killed(redis: RedisServer) -> Iterator[None]:
    redis.kill()
    try:
        yield
    finally:
        redis.start()


@contextmanager
def paused(redis: RedisServer) -> Iterator[None]:
    with redis.paused():
        yield


@contextmanager
def loading_no_commands(redis: RedisServer) -> Iterator[None]:
    """Let it answer no command, but accept all of them."""
    redis.command("CLIENT", "PAUSE", "3600000", "ALL")
    try:
        yield
    finally:
        redis.kill()
        redis.start()


WAYS = [killed, paused, pytest.param(loading_no_commands, marks=pytest.mark.extended)]


@pytest.fixture(scope="module")
def own_redis(store_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that tests may stop; each leaves it running."""
    server = RedisServer(store_program, tmp_path_factory.mktemp("away")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["native", "grpcio"])
def canuse(request: pytest.FixtureRequest, own_redis: RedisServer) -> Iterator[Canuse]:
    folder = own_redis.folder / request.param
    folder.mkdir()
    options = ("--transport", request.param, "--redis-url", own_redis.url)
    env = SHORT_STORE_TIMEOUT
    with running(Canuse(folder, *options, env=env)) as canuse:
        yield canuse
    assert not canuse.failed_unexpectedly()


@pytest.fixture
def client(canuse: Canuse) -> Iterator[Client]:
    with Client(canuse.address, timeout_seconds=20) as client:
        yield client


def create_subscriber(
    client: Client, on_unavailable: v1.OnUnavailable.ValueType, *, limit: int = 10
) -> tuple[str, str]:
    """Create a user with 3 used of a feature whose `on_unavailable` is given."""
    user_id, feature_id = subscriber(client, limit)
    client.update_feature(feature_id, on_unavailable=on_unavailable)
    # The previous test may have made the store unavailable, and a lane tries again only after a moment.
    until(lambda: recorded(client, user_id, feature_id))
    return user_id, feature_id


def somebody_of(address: str) -> tuple[str, str]:
    with Client(address) as client:
        return create_subscriber(client, ALLOW)


def recorded(client: Client, user_id: str, feature_id: str) -> bool:
    """Record 3 uses, if that is possible now."""
    try:
        return client.use_feature(user_id, feature_id, 3, event_id="somebody").access
    except Unavailable:
        return False


def access_and_source(response: v1.CanUseResponse) -> tuple[bool, v1.Source.ValueType]:
    """Return access and source of an answer without the store, which must say so."""
    assert response.reason == v1.REASON_STORE_UNAVAILABLE
    return response.access, response.source


@pytest.mark.parametrize("unavailable", WAYS)
def test_a_check_is_answered_as_its_feature_is_set_to(
    client: Client, own_redis: RedisServer, unavailable: Away
) -> None:
    denied, allowed, remembered = (create_subscriber(client, choice) for choice in (DENY, ALLOW, LAST_KNOWN))
    unknown = (unique("user"), remembered[1])
    assert client.can_use(*remembered).consumption.remaining == 7
    expected = {denied: NO, allowed: YES, remembered: (True, v1.SOURCE_LAST_KNOWN), unknown: NO}
    with unavailable(own_redis):
        for names, answer in expected.items():
            assert access_and_source(client.can_use(*names)) == answer
            assert access_and_source(client.can_use(*names, explain=True)) == answer
        batch = client.batch_can_use([v1.CanUseRequest(user_id=user, feature_id=feature) for user, feature in expected])
        assert [access_and_source(each) for each in batch if isinstance(each, v1.CanUseResponse)] == list(
            expected.values()
        )
    until(lambda: client.can_use(*denied).source == v1.SOURCE_STORE)
    assert client.can_use(*denied).access


def test_a_call_with_a_user_token_which_may_be_revoked_is_not_answered(
    client: Client, canuse: Canuse, own_redis: RedisServer
) -> None:
    user_id, feature_id = create_subscriber(client, ALLOW)
    token = client.generate_user_token(user_id).token
    with Client(canuse.address, api_key=token, timeout_seconds=20) as page:
        assert page.can_use(user_id, feature_id).access
        with paused(own_redis):
            for call in (
                lambda: page.can_use(user_id, feature_id),
                lambda: page.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)]),
            ):
                with pytest.raises(StoreUnavailable):
                    call()


def test_an_answer_says_what_a_caller_is_to_do_without_canuse(client: Client, own_redis: RedisServer) -> None:
    denied, allowed, remembered = (create_subscriber(client, choice, limit=3) for choice in (DENY, ALLOW, LAST_KNOWN))
    expected = {denied: DENY, allowed: ALLOW, remembered: LAST_KNOWN}

    def said(**named: bool) -> list[v1.OnUnavailable.ValueType]:
        answers = [client.can_use(*names, **named) for names in expected]
        assert [each.HasField("on_unavailable") for each in answers] == [False, True, True]
        return [each.on_unavailable or DENY for each in answers]

    # A lane keeps an answer from the second time on.
    for named in ({}, {}, {}, {"explain": True}):
        assert said(**named) == list(expected.values())
    assert client.can_use(*remembered).HasField("retry_after")
    with killed(own_redis):
        for named in ({}, {"explain": True}):
            assert said(**named) == list(expected.values())
        answer = client.can_use(*remembered)
        assert (answer.source, answer.HasField("retry_after")) == (v1.SOURCE_LAST_KNOWN, False)
    until(lambda: client.can_use(*denied).source == v1.SOURCE_STORE)
    client.update_feature(allowed[1], on_unavailable=DENY)
    assert not client.can_use(*allowed).HasField("on_unavailable")


def test_what_was_known_last_is_applied_to_the_amount_that_is_asked_about(
    client: Client, own_redis: RedisServer
) -> None:
    names = create_subscriber(client, LAST_KNOWN)
    client.can_use(*names)
    client.use_feature(*names, 2)
    before = client.can_use(*names, 100)
    assert before.reason == v1.REASON_BUDGET_EXCEEDED
    with killed(own_redis):
        for delta, access in ((5, True), (6, False), (100, False), (1, True)):
            answer = client.can_use(*names, delta)
            assert access_and_source(answer) == (access, v1.SOURCE_LAST_KNOWN)
            assert answer.consumption == before.consumption


def test_only_answers_of_features_that_are_set_to_it_are_known(client: Client, own_redis: RedisServer) -> None:
    names = create_subscriber(client, DENY)
    assert client.can_use(*names).access
    client.update_feature(names[1], on_unavailable=LAST_KNOWN)
    with killed(own_redis):
        assert access_and_source(client.can_use(*names)) == NO
    assert client.can_use(*names).access
    with killed(own_redis):
        assert access_and_source(client.can_use(*names)) == (True, v1.SOURCE_LAST_KNOWN)


def test_an_archived_feature_is_used_by_nobody_whatever_it_is_set_to(client: Client, own_redis: RedisServer) -> None:
    always_allowed, remembered = create_subscriber(client, ALLOW), create_subscriber(client, LAST_KNOWN)
    assert client.can_use(*remembered).access
    for _, feature_id in (always_allowed, remembered):
        client.archive_feature(feature_id)
    with killed(own_redis):
        assert access_and_source(client.can_use(*always_allowed)) == NO
        assert access_and_source(client.can_use(*remembered)) == (False, v1.SOURCE_LAST_KNOWN)


def test_nothing_is_known_of_a_user_who_was_erased(client: Client, own_redis: RedisServer) -> None:
    names = create_subscriber(client, LAST_KNOWN)
    assert client.can_use(*names).access
    client.delete_user(names[0])
    with killed(own_redis):
        assert access_and_source(client.can_use(*names)) == NO


def test_an_explanation_says_what_was_done_without_the_store(client: Client, own_redis: RedisServer) -> None:
    names = create_subscriber(client, LAST_KNOWN)
    client.can_use(*names)
    with killed(own_redis):
        steps = client.can_use(*names, 2, explain=True).explanation.steps
        assert [step.WhichOneof("step") for step in steps] == ["feature", "store_unavailable", "decision"]
        assert steps[1].store_unavailable.on_unavailable == LAST_KNOWN
        assert steps[1].store_unavailable.HasField("age")
        decision = v1.DecisionStep(delta=2, access=True, reason=v1.REASON_STORE_UNAVAILABLE)
        assert steps[2].decision == decision
        nobody = client.can_use(unique("user"), names[1], explain=True).explanation.steps[1]
        assert not nobody.store_unavailable.HasField("age")


def test_without_the_store_neither_unknown_features_nor_writes_are_answered(
    client: Client, own_redis: RedisServer
) -> None:
    user_id, feature_id = create_subscriber(client, ALLOW)
    with killed(own_redis):
        for call in (
            lambda: client.can_use(user_id, unique("feature")),
            lambda: client.use_feature(user_id, feature_id),
            lambda: client.create_usage_event(user_id, feature_id),
            lambda: client.reserve(user_id, feature_id, 1),
            lambda: client.show_usage(user_id, feature_id),
        ):
            with pytest.raises(StoreUnavailable):
                call()
        items = client.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=unique("feature"))])
        assert [type(item) for item in items] == [StoreUnavailable]


def test_what_was_sent_to_a_stalled_store_may_have_been_recorded(client: Client, own_redis: RedisServer) -> None:
    user_id, feature_id = create_subscriber(client, ALLOW)
    with own_redis.paused(), pytest.raises(OutcomeUnknown):
        client.use_feature(user_id, feature_id)


@contextmanager
def black_hole() -> Iterator[str]:
    """Yield the URL of a store that neither accepts nor refuses connections."""
    with socket.socket() as hole, ExitStack() as stack:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(hole.getsockname())
        yield f"redis://127.0.0.1:{hole.getsockname()[1]}"


def health(address: str) -> "health_pb2.HealthCheckResponse.ServingStatus.ValueType | None":
    """Return the server's health; None if it does not answer."""
    with grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=MAX_WAIT_SECONDS
            )
        except grpc.RpcError:
            return None
        return answer.status


@pytest.fixture
def launched(transport: str, tmp_path: Path) -> Iterator[Callable[..., Canuse]]:
    """Launches servers on an unavailable store; they are stopped afterwards."""
    with ExitStack() as stack:

        def launch(url: str, *options: str) -> Canuse:
            command = ("--transport", transport, "--redis-url", url, *options)
            canuse = Canuse(tmp_path, *command, env={"CANUSE_STORE_TIMEOUT_SECONDS": "1"})
            canuse.env["CANUSE_LISTEN"] = canuse.address = f"127.0.0.1:{free_port()}"
            stack.callback(canuse.stop)
            return canuse.launch()

        yield launch


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_a_server_starts_without_its_store_and_serves_once_it_is_there(
    launched: Callable[..., Canuse], store_program: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    redis = RedisServer(store_program, tmp_path / "redis")
    canuse = launched(redis.url, "--demo", *options)
    until(lambda: health(canuse.address) == health_pb2.HealthCheckResponse.NOT_SERVING)
    with Client(canuse.address, timeout_seconds=20) as client:
        for call in (client.can_use, client.use_feature, client.show_usage):
            with pytest.raises(StoreUnavailable):
                call("124", "api-calls")
        with pytest.raises(StoreUnavailable):
            list(client.list_features())
        assert "waiting for the store" in canuse.log
        redis.start()
        try:
            canuse.wait_until_ready()
            assert health(canuse.address) == health_pb2.HealthCheckResponse.SERVING
            assert client.can_use("124", "api-calls").access
            assert client.use_feature("124", "api-calls").access
            assert canuse.stop() == 0
        finally:
            redis.stop()


def test_a_store_of_another_layout_that_comes_later_still_ends_the_server(
    launched: Callable[..., Canuse], store_program: str, tmp_path: Path
) -> None:
    redis = RedisServer(store_program, tmp_path / "redis").start()
    try:
        with Redis(port=redis.port) as store:
            store.set(SCHEMA, "1")
        with redis.paused():
            canuse = launched(redis.url)
            until(lambda: "waiting for the store" in canuse.log)
            assert health(canuse.address) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert canuse.process is not None
        assert canuse.process.wait(MAX_WAIT_SECONDS) == 1
        problem = f"the store has data of schema '1'; this version of canuse supports only schema '{VERSION}'"
        assert canuse.log.endswith(f"canuse: {problem}\n")
    finally:
        redis.stop()


def test_a_server_that_waits_for_its_store_ends_when_it_is_asked_to(launched: Callable[..., Canuse]) -> None:
    with black_hole() as url:
        canuse = launched(url)
        until(lambda: health(canuse.address) == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert canuse.process is not None
        canuse.process.send_signal(signal.SIGTERM)
        assert canuse.process.wait(MAX_WAIT_SECONDS) == 0


@pytest.mark.extended
async def test_a_call_that_arrives_while_a_server_starts_waits_for_its_store(
    transport: str, own_redis: RedisServer, tmp_path: Path
) -> None:
    async with Relay.to(own_redis.port) as relay:
        relay.delay_seconds = DELAY_SECONDS
        canuse = Canuse(tmp_path, "--transport", transport, "--redis-url", f"redis://127.0.0.1:{relay.port}")
        canuse.env["CANUSE_LISTEN"] = canuse.address = f"127.0.0.1:{free_port()}"
        await asyncio.to_thread(canuse.launch)
        try:
            async with AsyncClient(canuse.address, timeout_seconds=MAX_WAIT_SECONDS, options=OWN_CONNECTION) as caller:
                with pytest.raises(NotFound):  # That is what the store says.
                    await first_answer(lambda: caller.can_use(unique("user"), unique("feature")))
        finally:
            await asyncio.to_thread(canuse.stop)


async def first_answer(call: Callable[[], Awaitable[T]]) -> T:
    """Return the first answer of a server whose port is not open yet. It may not say that its store is unavailable."""
    async with asyncio.timeout(MAX_WAIT_SECONDS):
        while True:
            try:
                return await call()
            except Unavailable as error:
                assert not isinstance(error, StoreUnavailable)
                await asyncio.sleep(0.01)


@pytest.fixture
def patient(transport: str, own_redis: RedisServer, tmp_path: Path) -> Iterator[Canuse]:
    """A server with a store timeout longer than any delay of a busy machine."""
    options = ("--transport", transport, "--redis-url", own_redis.url)
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": str(PATIENT_STORE_TIMEOUT_SECONDS)}
    with running(Canuse(tmp_path, *options, env=env)) as canuse:
        yield canuse


@pytest.mark.extended
async def test_no_caller_waits_for_the_store_twice(patient: Canuse, own_redis: RedisServer) -> None:
    user_id, feature_id = await asyncio.to_thread(somebody_of, patient.address)
    once = (("grpc.enable_retries", 0),)
    async with AsyncClient(patient.address, timeout_seconds=DEADLINE_SECONDS, options=once) as caller:
        # Changes of one user wait for each other, and each waits for the store.
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: caller.can_use(user_id, feature_id),
            lambda: caller.use_feature(user_id, feature_id),
            lambda: caller.update_user(user_id, name=unique("name")),
            lambda: caller.can_use(user_id, feature_id, explain=True),
            lambda: caller.can_use(user_id, unique("feature")),
            lambda: caller.show_usage(user_id, feature_id),
            # Only a few pages are made at a time.
            lambda: anext(aiter(caller.list_users())),
            lambda: caller.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)]),
        )
        with own_redis.paused():
            for _ in range(2):
                results = await asyncio.gather(*(call() for call in calls * 10), return_exceptions=True)
                kinds = {type(result) for result in results}
                assert kinds <= {v1.CanUseResponse, list, StoreUnavailable, OutcomeUnknown}, kinds


@pytest.mark.extended
async def test_changes_of_one_user_that_wait_for_each_other_do_not_find_the_store_unavailable(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    """Each sends two commands, so that the last one waits for its turn for longer than the store timeout."""
    timeout = {"CANUSE_STORE_TIMEOUT_SECONDS": str(STORE_TIMEOUT_SECONDS)}
    async with server_behind_relay("native", tmp_path, own_redis, **timeout) as (canuse, relay):
        user_id, _ = await asyncio.to_thread(somebody_of, canuse.address)
        async with AsyncClient(canuse.address, timeout_seconds=MAX_WAIT_SECONDS) as caller:
            relay.delay_seconds = DELAY_SECONDS
            changes = int(STORE_TIMEOUT_SECONDS / DELAY_SECONDS)
            await asyncio.gather(*(caller.update_user(user_id, name=unique("name")) for _ in range(changes)))
            relay.delay_seconds = 0


def test_what_the_store_is_to_blame_for_is_not_repeated_by_the_client(client: Client, own_redis: RedisServer) -> None:
    names = create_subscriber(client, DENY)
    with own_redis.paused(), pytest.raises(StoreUnavailable) as refused:
        client.show_usage(*names)
    raw = refused.value.__cause__
    assert isinstance(raw, grpc.RpcError)
    assert ("grpc-retry-pushback-ms", "-1") in [tuple(pair) for pair in cast("Any", raw.trailing_metadata())]
