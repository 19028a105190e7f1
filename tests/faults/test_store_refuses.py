"""A store that refuses commands: callers learn that it is unavailable and that nothing was written, and no more."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import grpc
import pytest
from redis import Redis

from canuse import StoreUnavailable, v1
from support.load import running, until, used
from support.message_clients import Client
from support.processes import Canuse, RedisServer, free_port
from support.resources import package, subscriber, unique

TRANSPORTS = ("native", "grpcio")
ADMIN_USER = "keeper"
"""A Redis user with all rights, whatever happens to canuse's user."""


@dataclass(frozen=True)
class Subject:
    """The user and the feature that calls are about."""

    user_id: str
    feature_id: str
    addon_id: str


Call = Callable[[Client, Subject], object]

READS: dict[str, Call] = {
    "CanUse": lambda client, on: client.can_use(on.user_id, on.feature_id),
    "ShowUsage": lambda client, on: client.show_usage(on.user_id, on.feature_id),
    "ListEntitlements": lambda client, on: list(client.list_entitlements(on.user_id)),
    "GetUser": lambda client, on: client.get_user(on.user_id),
    "GetFeature": lambda client, on: client.get_feature(on.feature_id),
}
WRITES: dict[str, Call] = {
    "CreateUsageEvent": lambda client, on: client.create_usage_event(on.user_id, on.feature_id),
    "UseFeature": lambda client, on: client.use_feature(on.user_id, on.feature_id, event_id=unique("event")),
    "Subscribe": lambda client, on: client.subscribe(on.user_id, [on.addon_id]),
    "UpdateUser": lambda client, on: client.update_user(on.user_id, name=unique("name")),
    "CreateUser": lambda client, _: client.create_user(unique("user")),
    "CreateFeature": lambda client, _: client.create_feature(unique("feature"), type=v1.FEATURE_TYPE_BINARY),
    "CreatePackage": lambda client, _: client.create_package(unique("package")),
    "ArchivePackage": lambda client, on: client.archive_package(on.addon_id),
}
LEAKS = ("redis", "valkey", "lua", "script", "evalsha", "memory", "replica", "snapshot", "loading", "127.0.0.1", "auth")


class Deployment:
    """A Redis to break, and a server on each transport that uses it."""

    def __init__(self, redis: RedisServer, servers: dict[str, Canuse], admin: Redis) -> None:
        self.redis = redis
        self.servers = servers
        self.admin = admin

    def do(self, *words: str) -> object:
        """Send Redis a command with all rights."""
        return self.admin.execute_command(*words)  # type: ignore[no-untyped-call]

    def set(self, name: str, value: str) -> None:
        """Change a setting of Redis."""
        self.do("CONFIG", "SET", name, value)

    def refusal_of(self, *words: str) -> str:
        """Return the error with which Redis refuses a command from another client, empty if it does not."""
        return self.redis.command(*words).decode().partition(" ")[0].removeprefix("-").strip()


@pytest.fixture(scope="module")
def deployment(store_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stage shared by all tests here: each leaves it as it was."""
    folder = tmp_path_factory.mktemp("refuses")
    keeper = ("--user", ADMIN_USER, "on", "nopass", "~*", "&*", "+@all")
    redis = RedisServer(store_program, folder / "redis", ("--enable-debug-command", "yes", *keeper)).start()
    with ExitStack() as stack:
        stack.callback(redis.stop)
        servers = {}
        for transport in TRANSPORTS:
            options = ("--transport", transport, "--redis-url", redis.url)
            (folder / transport).mkdir()
            servers[transport] = stack.enter_context(running(Canuse(folder / transport, *options)))
        admin = stack.enter_context(Redis(port=redis.port, username=ADMIN_USER, password="any"))
        yield Deployment(redis, servers, admin)
    for server in servers.values():
        assert not server.failed_unexpectedly()


# Ways to make Redis refuse: each lasts while the block runs, and Redis is as before afterwards.


@contextmanager
def read_only(deployment: Deployment) -> Iterator[None]:
    deployment.do("REPLICAOF", "127.0.0.1", str(free_port()))
    try:
        yield
    finally:
        deployment.do("REPLICAOF", "NO", "ONE")


@contextmanager
def without_its_master(deployment: Deployment) -> Iterator[None]:
    deployment.set("replica-serve-stale-data", "no")
    with read_only(deployment):
        yield
    deployment.set("replica-serve-stale-data", "yes")


@contextmanager
def out_of_memory(deployment: Deployment) -> Iterator[None]:
    deployment.set("maxmemory", "1mb")
    try:
        yield
    finally:
        deployment.set("maxmemory", "0")


@contextmanager
def busy(deployment: Deployment) -> Iterator[None]:
    deployment.set("busy-reply-threshold", "10")
    endless = threading.Thread(target=deployment.redis.command, args=("EVAL", "while true do end", "0"))
    endless.start()
    until(lambda: deployment.refusal_of("GET", "x") == "BUSY")
    try:
        yield
    finally:
        deployment.do("SCRIPT", "KILL")
        endless.join()
        deployment.set("busy-reply-threshold", "5000")


@contextmanager
def unable_to_save(deployment: Deployment) -> Iterator[None]:
    in_the_way = deployment.redis.folder / "dump.rdb"
    in_the_way.mkdir()
    deployment.set("save", "3600 1")
    save(deployment, "err")
    try:
        yield
    finally:
        in_the_way.rmdir()
        save(deployment, "ok")
        deployment.set("save", "")
        in_the_way.unlink()


def save(deployment: Deployment, result: str) -> None:
    deployment.do("BGSAVE")
    until(lambda: not deployment.admin.info("persistence")["rdb_bgsave_in_progress"])
    assert deployment.admin.info("persistence")["rdb_last_bgsave_status"] == result


@contextmanager
def forbidding_all(deployment: Deployment) -> Iterator[None]:
    deployment.do("ACL", "SETUSER", "default", "-@all")
    try:
        yield
    finally:
        deployment.do("ACL", "SETUSER", "default", "+@all")


@contextmanager
def forbidding_scripts(deployment: Deployment) -> Iterator[None]:
    deployment.do("ACL", "SETUSER", "default", "-@scripting")
    try:
        yield
    finally:
        deployment.do("ACL", "SETUSER", "default", "+@all")


@contextmanager
def wanting_a_password(deployment: Deployment) -> Iterator[None]:
    deployment.set("requirepass", "secret")
    deployment.do("CLIENT", "KILL", "TYPE", "normal")
    try:
        yield
    finally:
        deployment.set("requirepass", "")
        deployment.do("ACL", "SETUSER", "default", "nopass")


Way = Callable[[Deployment], AbstractContextManager[None]]

# The error that a writer gets from each, and whether readers are refused as well.
WAYS: list[tuple[Way, str, bool]] = [
    (read_only, "READONLY", False),
    (without_its_master, "MASTERDOWN", True),
    (out_of_memory, "OOM", False),
    (busy, "BUSY", True),
    (unable_to_save, "MISCONF", False),
    (forbidding_all, "NOPERM", True),
    (forbidding_scripts, "NOPERM", False),
    (wanting_a_password, "NOAUTH", True),
]


def subject(client: Client) -> Subject:
    """Create a user who has used 7 of a feature."""
    user_id, feature_id = subscriber(client, None)
    client.use_feature(user_id, feature_id, 7)
    return Subject(user_id, feature_id, package(client, [], v1.PACKAGE_TYPE_ADD_ON))


def assert_refused(name: str, call: Call, client: Client, on: Subject, port: int) -> None:
    """Assert that a call fails because the store is unavailable, and says no more; a check is answered without it."""
    if name == "CanUse":
        answer = client.can_use(on.user_id, on.feature_id)
        assert (answer.access, answer.reason) == (False, v1.REASON_STORE_UNAVAILABLE)
        return
    with pytest.raises(StoreUnavailable) as refused:
        pytest.fail(f"{name} was answered: {call(client, on)}")
    assert refused.value.code == grpc.StatusCode.UNAVAILABLE
    assert refused.value.reason == "STORE_UNAVAILABLE"
    raw = refused.value.__cause__
    assert isinstance(raw, grpc.RpcError)
    text = f"{raw.details()} {raw.trailing_metadata()}".lower()
    assert not [word for word in (*LEAKS, str(port)) if word in text]


@pytest.mark.parametrize(("way", "word", "reads_too"), WAYS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_store_that_refuses_is_unavailable_and_nothing_is_written(
    deployment: Deployment, transport: str, way: Way, word: str, *, reads_too: bool
) -> None:
    with Client(deployment.servers[transport].address, timeout_seconds=20) as client:
        on = subject(client)
        before = deployment.do("DEBUG", "DIGEST")
        with way(deployment):
            assert deployment.refusal_of("EVAL", "return redis.call('SET', 'probe', 1)", "0") == word
            for name, call in (WRITES | READS if reads_too else WRITES).items():
                assert_refused(name, call, client, on, deployment.redis.port)
            if not reads_too:
                assert client.can_use(on.user_id, on.feature_id).access
                assert used(client, on.user_id, on.feature_id) == 7
        assert deployment.do("DEBUG", "DIGEST") == before
        for call in (READS | WRITES).values():
            call(client, on)
        assert used(client, on.user_id, on.feature_id) == 9


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_store_that_takes_no_more_connections_is_unavailable_and_nothing_is_written(
    deployment: Deployment, transport: str
) -> None:
    with Client(deployment.servers[transport].address, timeout_seconds=20) as client:
        on = subject(client)
        before = deployment.do("DEBUG", "DIGEST")
        max_clients = str(deployment.admin.config_get("maxclients")["maxclients"])
        try:
            deployment.set("maxclients", "1")
            deployment.do("CLIENT", "KILL", "TYPE", "normal")
            deployment.do("CLIENT", "KILL", "TYPE", "pubsub")
            for name, call in (WRITES | READS).items():
                assert_refused(name, call, client, on, deployment.redis.port)
        finally:
            deployment.set("maxclients", max_clients)
        assert deployment.do("DEBUG", "DIGEST") == before
        client.use_feature(on.user_id, on.feature_id)
        assert used(client, on.user_id, on.feature_id) == 8


def test_a_store_that_is_still_loading_is_unavailable_on_each_transport(deployment: Deployment) -> None:
    redis = deployment.redis
    deployment.do("EVAL", "for i = 1, 20000 do redis.call('SET', i, i) end", "0")
    # Data in RDB format is loaded with more interruptions in which Redis answers.
    deployment.do("BGREWRITEAOF")
    until(lambda: not deployment.admin.info("persistence")["aof_rewrite_in_progress"])
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Client(server.address, timeout_seconds=20)) for server in deployment.servers.values()
        ]
        on = subject(clients[0])
        for client in clients:
            # The other server knows the feature as well: it answers no check of an unknown one.
            until(lambda: answers(client, on))  # noqa: B023
        redis.kill()
        delay = ("--key-load-delay", "200")  # microseconds: four seconds in all
        redis.settings = (*redis.settings, *delay, "--loading-process-events-interval-bytes", "1024")
        starting = threading.Thread(target=redis.start)
        starting.start()
        try:
            until(lambda: loading(redis))
            for client in clients:
                for name, call in (WRITES | READS).items():
                    assert_refused(name, call, client, on, redis.port)
            assert loading(redis), "it was done before all calls were made"
        finally:
            starting.join()
        for client in clients:
            # A lane that got no answer in time does not try again for a while.
            until(lambda: answers(client, on))  # noqa: B023
            assert client.use_feature(on.user_id, on.feature_id).access
        assert used(clients[0], on.user_id, on.feature_id) == 9


def answers(client: Client, on: Subject) -> bool:
    """Whether checks are answered from the store."""
    return client.can_use(on.user_id, on.feature_id).source == v1.SOURCE_STORE


def loading(redis: RedisServer) -> bool:
    """Whether Redis answers that it is loading its data."""
    try:
        return redis.command("GET", "x").startswith(b"-LOADING")
    except OSError:
        return False
