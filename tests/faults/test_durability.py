"""What is acknowledged has reached what was promised; what has not is said to be unknown, on each transport."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from redis import Redis

from canuse import CanuseError, Client, InvalidArgument, OutcomeUnknown, v1
from support.load import running, until, used
from support.processes import Canuse, RedisServer
from support.tools import VALKEY_SERVER
from support.world import package, subscriber, unique

TIMEOUT_SECONDS: Final = 2.0
"""How long a write waits for its confirmation: long enough where nothing is broken, short where it never comes."""


@dataclass
class Stage:
    """A Valkey with a replica that may be made to lag, and a server that promises `level`."""

    valkey: RedisServer
    replica: RedisServer
    canuse: Canuse
    admin: Any

    def commands(self, name: str) -> int:
        """Return how often the store has run a command."""
        return int(self.admin.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"])

    def hold_replica(self) -> None:
        """Let the replica take nothing."""
        self._signal(signal.SIGSTOP)

    def release_replica(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.replica.process is not None
        os.kill(self.replica.process.pid, number)


@pytest.fixture
def stage(request: pytest.FixtureRequest, transport: str, tmp_path: Path) -> Iterator[Stage]:
    """A server that promises what the test's parameter says."""
    level = getattr(request, "param", "memory")
    with ExitStack() as stack:
        valkey = RedisServer(VALKEY_SERVER, tmp_path / "valkey", ("--repl-diskless-sync-delay", "0")).start()
        stack.callback(valkey.stop)
        follow = ("--replicaof", f"127.0.0.1 {valkey.port}")
        replica = RedisServer(VALKEY_SERVER, tmp_path / "replica", follow).start()
        stack.callback(replica.stop)
        admin = stack.enter_context(Redis(port=valkey.port))
        until(lambda: admin.info("replication").get("slave0", {}).get("state") == "online")
        options = ("--transport", transport, "--redis-url", valkey.url, "--durability", level)
        canuse = Canuse(tmp_path, *options, env={"CANUSE_DURABILITY_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS)})
        stack.enter_context(running(canuse))
        stage = Stage(valkey, replica, canuse, admin)
        stack.callback(stage.release_replica)
        yield stage


promises = pytest.mark.parametrize("stage", ["memory", "fsync", "replica"], indirect=True)
promises_replica = pytest.mark.parametrize("stage", ["replica"], indirect=True)


@pytest.mark.parametrize(
    ("stage", "command", "others"),
    [("memory", "", ("wait", "waitaof")), ("fsync", "waitaof", ("wait",)), ("replica", "wait", ("waitaof",))],
    indirect=["stage"],
)
def test_writes_at_the_same_time_share_what_they_wait_for(stage: Stage, command: str, others: tuple[str, ...]) -> None:
    with Client(stage.canuse.address, timeout_seconds=20) as client, ThreadPoolExecutor(32) as threads:
        user_id, feature_id = subscriber(client, None)
        before = stage.commands(command)
        list(threads.map(lambda _: client.create_usage_event(user_id, feature_id), range(400)))
        assert used(client, user_id, feature_id) == 400
        assert not any(map(stage.commands, others))
        if command:
            assert 0 < stage.commands(command) - before < 400
        batch = [v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)] * 100
        before = stage.commands(command)
        client.batch_create_usage_events(batch)
        assert stage.commands(command) - before == bool(command)


Call = Callable[[Client, str, str, str], object]

WRITES: dict[str, Call] = {
    "CreateUsageEvent": lambda client, user, feature, _: client.create_usage_event(user, feature, event_id=unique()),
    "UseFeature": lambda client, user, feature, _: client.use_feature(user, feature),
    "UseFeatures": lambda client, user, feature, _: client.use_features(user, {feature: 1}),
    "Reserve": lambda client, user, feature, _: client.reserve(user, feature, 1),
    "BatchCreateUsageEvents": lambda client, user, feature, _: _batch(client, user, feature),
    "Subscribe": lambda client, user, _, addon: client.subscribe(user, [addon]),
    "CreateGrant": lambda client, user, feature, _: client.create_grant(user, unique("grant"), feature, amount=1),
    "CreateUser": lambda client, *_: client.create_user(unique("user")),
    "UpdateUser": lambda client, user, *_: client.update_user(user, name=unique("name")),
    "CreateFeature": lambda client, *_: client.create_feature(unique("feature"), type=v1.FEATURE_TYPE_BINARY),
    "ArchivePackage": lambda client, _user, _feature, addon: client.archive_package(addon),
    "ArchivePackage, which is archived": lambda client, _user, _feature, addon: client.archive_package(addon),
    "DeleteUser": lambda client, user, *_: client.delete_user(user),
}


def _batch(client: Client, user_id: str, feature_id: str) -> None:
    """Record two uses, of which each has an outcome of its own."""
    requests = [v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)] * 2
    first, second = client.batch_create_usage_events(requests)
    assert type(first) is type(second)
    if isinstance(first, CanuseError):
        raise first


@promises_replica
def test_every_write_that_does_not_reach_a_replica_is_unknown_and_checks_do_not_wait(stage: Stage) -> None:
    with Client(stage.canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        addon_id = package(client, [], v1.PACKAGE_TYPE_ADD_ON)
        stage.hold_replica()
        unconfirmed = []
        for name, call in WRITES.items():
            try:
                call(client, user_id, feature_id, addon_id)
            except OutcomeUnknown:
                unconfirmed.append(name)
            if name != "DeleteUser":
                assert client.can_use(user_id, feature_id).access
        assert unconfirmed == list(WRITES)
        stage.release_replica()
        assert client.get_package(addon_id).status == v1.PACKAGE_STATUS_ARCHIVED
        client.delete_user(user_id)


@promises_replica
def test_an_answer_that_is_given_again_is_as_durable_as_the_first_one_was_to_be(stage: Stage) -> None:
    """WAIT waits for the writes of its own connection, and the first attempt was on one that is gone."""
    with Client(stage.canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        stage.hold_replica()
        with pytest.raises(OutcomeUnknown):
            client.use_feature(user_id, feature_id, event_id="e")
    stage.canuse.stop()
    # The server puts its version on the store as it starts, which waits for nothing.
    stage.canuse.start()
    with Client(stage.canuse.address, timeout_seconds=20) as client:
        with pytest.raises(OutcomeUnknown):
            client.use_feature(user_id, feature_id, event_id="e")
        stage.release_replica()
        again = client.use_feature(user_id, feature_id, event_id="e")
        assert (again.access, again.replayed, again.consumption.used) == (True, True, 1)


@promises_replica
def test_a_replica_that_comes_back_in_time_confirms(stage: Stage) -> None:
    with Client(stage.canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        for _ in range(3):
            stage.hold_replica()
            with pytest.raises(OutcomeUnknown):
                client.use_feature(user_id, feature_id)
            stage.release_replica()
            until(lambda: _acknowledged(stage))
            assert client.use_feature(user_id, feature_id).access
        assert used(client, user_id, feature_id) == 6


def _acknowledged(stage: Stage) -> bool:
    info = stage.admin.info("replication")
    return bool(info["slave0"]["offset"] == info["master_repl_offset"])


@promises
@pytest.mark.parametrize("asked", ["memory", "fsync", "replica"])
def test_a_caller_can_ask_for_more_than_the_server_promises_and_not_for_less(
    stage: Stage, asked: Literal["memory", "fsync", "replica"]
) -> None:
    promised = stage.canuse.options[-1]
    with Client(stage.canuse.address, timeout_seconds=20, durability=asked) as client:
        user_id, feature_id = subscriber(client, None)
        before = {name: stage.commands(name) for name in ("wait", "waitaof")}
        assert client.use_feature(user_id, feature_id).access
        assert client.can_use(user_id, feature_id).access
        client.update_user(user_id, name="name")
        waited = {name for name, count in before.items() if stage.commands(name) - count == 2}
        assert waited == {
            {"fsync": "waitaof", "replica": "wait"}[level] for level in (promised, asked) if level != "memory"
        }
        stage.hold_replica()
        if "replica" in (asked, promised):
            with pytest.raises(OutcomeUnknown):
                client.use_feature(user_id, feature_id)
        else:
            client.use_feature(user_id, feature_id)


@pytest.mark.parametrize("stage", ["fsync"], indirect=True)
def test_a_store_that_confirms_what_is_not_on_its_disk_is_not_believed(stage: Stage) -> None:
    """With `everysec` WAITAOF was answered at once, and a power cut took what had been acknowledged."""
    with Client(stage.canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        stage.admin.config_set("appendfsync", "everysec")
        for call in (lambda: client.use_feature(user_id, feature_id), lambda: client.update_user(user_id, name="name")):
            with pytest.raises(OutcomeUnknown):
                call()
        stage.admin.config_set("appendfsync", "always")
        assert client.use_feature(user_id, feature_id).consumption.used == 2


def test_a_level_that_there_is_not_is_named(stage: Stage) -> None:
    wrong: Any = "disk"
    told = "canuse-durability: must be one of memory, fsync, replica; 'disk' was sent"
    with Client(stage.canuse.address) as client:
        user_id, feature_id = subscriber(client, None)
    with Client(stage.canuse.address, durability=wrong) as client:
        for call in (lambda: client.use_feature(user_id, feature_id), lambda: client.create_user(unique("user"))):
            with pytest.raises(InvalidArgument, match=told):
                call()
        assert client.can_use(user_id, feature_id).access
        assert used(client, user_id, feature_id) == 0


def test_durability_fsync_has_the_embedded_valkey_bring_each_write_to_disk(transport: str, tmp_path: Path) -> None:
    canuse = Canuse(tmp_path, "--transport", transport, "--durability", "fsync")
    with running(canuse), Client(canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        for _ in range(20):
            client.use_feature(user_id, feature_id)
        assert used(client, user_id, feature_id) == 20
        assert "everysec" not in canuse.log
