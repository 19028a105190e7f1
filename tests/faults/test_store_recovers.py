"""A store that was unavailable is used again by the very next call."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from canuse import StoreUnavailable, v1
from support.load import running, used
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import consumable, package, subscriber, unique

Call = Callable[[Client, str, str], object]

CALLS: dict[str, Call] = {
    "CanUse": lambda client, user_id, feature_id: client.can_use(user_id, feature_id),
    "CreateUsageEvent": lambda client, user_id, feature_id: client.create_usage_event(user_id, feature_id),
    "UseFeature": lambda client, user_id, feature_id: client.use_feature(user_id, feature_id),
    "Reserve": lambda client, user_id, feature_id: client.reserve(user_id, feature_id, 1),
    "ShowUsage": lambda client, user_id, feature_id: client.show_usage(user_id, feature_id),
    "CreateUser": lambda client, _, __: client.create_user(unique("user")),
    "CreateFeature": lambda client, _, __: consumable(client),
    "PublishPackage": lambda client, _, __: package(client, []),
}


@pytest.fixture(scope="module")
def own_redis(store_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that tests may break; each leaves it running."""
    server = RedisServer(store_program, tmp_path_factory.mktemp("recovers")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["native", "grpcio"])
def canuse(request: pytest.FixtureRequest, own_redis: RedisServer) -> Iterator[Canuse]:
    folder = own_redis.folder / request.param
    folder.mkdir()
    with running(Canuse(folder, "--transport", request.param, "--redis-url", own_redis.url)) as canuse:
        yield canuse
    assert not canuse.failed_unexpectedly()


@pytest.fixture
def client(canuse: Canuse) -> Iterator[Client]:
    with Client(canuse.address, timeout_seconds=20) as client:
        yield client


def test_after_the_scripts_are_forgotten_the_next_call_works(client: Client, own_redis: RedisServer) -> None:
    user_id, feature_id = subscriber(client, None)
    for _ in range(5):
        for call in CALLS.values():
            assert own_redis.command("SCRIPT", "FLUSH") == b"+OK\r\n"
            call(client, user_id, feature_id)
    assert used(client, user_id, feature_id) == 10


def test_a_call_on_a_connection_that_the_store_closed_while_it_was_idle_does_not_fail(
    client: Client, own_redis: RedisServer
) -> None:
    user_id, feature_id = subscriber(client, None)
    for _ in range(20):
        for call in CALLS.values():
            # The kernel has notified canuse before this returns.
            assert own_redis.command("CLIENT", "KILL", "TYPE", "normal").startswith(b":")
            call(client, user_id, feature_id)
    assert used(client, user_id, feature_id) == 40


def test_after_a_restart_of_the_store_every_kind_of_call_works_at_once_and_nothing_is_lost(
    client: Client, own_redis: RedisServer
) -> None:
    user_id, feature_id = subscriber(client, None)
    for count, call in enumerate(CALLS.values(), 1):
        client.create_usage_event(user_id, feature_id, 100, event_id=f"event-{count}")
        own_redis.kill()
        own_redis.start()
        call(client, user_id, feature_id)
        assert client.create_usage_event(user_id, feature_id, 100, event_id=f"event-{count}").replayed
    assert used(client, user_id, feature_id) == 100 * len(CALLS) + 2


def test_while_the_store_is_down_every_kind_of_call_says_so_and_afterwards_works(
    client: Client, own_redis: RedisServer
) -> None:
    user_id, feature_id = subscriber(client, None)
    own_redis.kill()
    for _ in range(3):
        for name, call in CALLS.items():
            if name == "CanUse":
                assert client.can_use(user_id, feature_id).reason == v1.REASON_STORE_UNAVAILABLE
                continue
            with pytest.raises(StoreUnavailable):
                call(client, user_id, feature_id)
    own_redis.start()
    for call in CALLS.values():
        call(client, user_id, feature_id)
    assert used(client, user_id, feature_id) == 2


def test_scripts_that_are_forgotten_while_calls_are_made_fail_no_call(client: Client, own_redis: RedisServer) -> None:
    user_id, feature_id = subscriber(client, None)
    done = threading.Event()

    def forget() -> None:
        with Redis(port=own_redis.port) as redis:
            while not done.is_set():
                redis.script_flush()

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.use_feature(user_id, feature_id), range(800)))
    finally:
        done.set()
        forgetting.join()
    assert sorted(answer.consumption.used for answer in answers) == list(range(1, 801))
