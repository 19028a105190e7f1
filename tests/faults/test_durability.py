"""What is acknowledged has reached the promised durability; what has not is reported as unknown, on each transport."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from redis import Redis

from canuse import CanuseError, InvalidArgument, OutcomeUnknown, v1
from support.load import running, until, used
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import consumable, package, subscriber, unique
from support.tools import VALKEY_SERVER

TIMEOUT_SECONDS: Final = 2.0
"""How long a write waits for its confirmation: long enough when nothing is broken, short when it never comes."""


@dataclass
class Deployment:
    """A Valkey with a replica that can be paused, and a server that promises `level`."""

    valkey: RedisServer
    replica: RedisServer
    canuse: Canuse
    admin: Any

    def commands(self, name: str) -> int:
        """Return how often the store has run a command."""
        return int(self.admin.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"])

    def hold_replica(self) -> None:
        """Pause the replica."""
        self._signal(signal.SIGSTOP)

    def release_replica(self) -> None:
        """Resume the replica."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.replica.process is not None
        os.kill(self.replica.process.pid, number)


@pytest.fixture
def deployment(request: pytest.FixtureRequest, transport: str, tmp_path: Path) -> Iterator[Deployment]:
    """A server that promises the level of the test's parameter."""
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
        deployment = Deployment(valkey, replica, canuse, admin)
        stack.callback(deployment.release_replica)
        yield deployment


LEVELS: Final = ("memory", "fsync", "replica")
promises_replica = pytest.mark.parametrize("deployment", ["replica"], indirect=True)


@pytest.mark.parametrize(
    ("deployment", "command", "others"),
    [("memory", "", ("wait", "waitaof")), ("fsync", "waitaof", ("wait",)), ("replica", "wait", ("waitaof",))],
    indirect=["deployment"],
)
def test_writes_at_the_same_time_share_what_they_wait_for(
    deployment: Deployment, command: str, others: tuple[str, ...]
) -> None:
    with Client(deployment.canuse.address, timeout_seconds=20) as client, ThreadPoolExecutor(32) as threads:
        user_id, feature_id = subscriber(client, None)
        before = deployment.commands(command)
        list(threads.map(lambda _: client.create_usage_event(user_id, feature_id), range(400)))
        assert used(client, user_id, feature_id) == 400
        assert not any(map(deployment.commands, others))
        if command:
            assert 0 < deployment.commands(command) - before < 400
        batch = [v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)] * 100
        before = deployment.commands(command)
        client.batch_create_usage_events(batch)
        assert deployment.commands(command) - before == bool(command)


Call = Callable[[Client, str, str, str], object]

WRITES: dict[str, Call] = {
    "CreateUsageEvent": lambda client, user, feature, _: client.create_usage_event(user, feature, event_id=unique()),
    "UseFeature": lambda client, user, feature, _: client.use_feature(user, feature),
    "UseFeatures": lambda client, user, feature, _: client.use_features(user, {feature: 1}),
    "BatchCreateUsageEvents": lambda client, user, feature, _: _batch(client, user, feature),
    "BatchUseFeature": lambda client, user, feature, _: _use_batch(client, user, feature),
    "Reserve": lambda client, user, feature, _: client.reserve(user, feature, 1),
    "ExtendLease": lambda client, user, feature, _: _extend(client, user, feature),
    "BatchUseFeature, each with a script of its own": lambda client, user, feature, _: _use_batch(
        client, user, feature
    ),
    "Subscribe": lambda client, user, _, addon: client.subscribe(user, [addon]),
    "CreateGrant": lambda client, user, feature, _: client.create_grant(user, unique("grant"), feature, amount=1),
    "CreateUser": lambda client, *_: client.create_user(unique("user")),
    "UpdateUser": lambda client, user, *_: client.update_user(user, name=unique("name")),
    "CreateFeature": lambda client, *_: client.create_feature(unique("feature"), type=v1.FEATURE_TYPE_BINARY),
    "ArchivePackage": lambda client, _user, _feature, addon: client.archive_package(addon),
    "ArchivePackage, which is archived": lambda client, _user, _feature, addon: client.archive_package(addon),
    "DeleteUser": lambda client, user, *_: client.delete_user(user),
}


def _extend(client: Client, user_id: str, feature_id: str) -> None:
    """Extend a new lease."""
    client.extend_lease(client.reserve(user_id, feature_id, 1).lease_id, amount=1)


def _use_batch(client: Client, user_id: str, feature_id: str) -> None:
    """Check and record a use in a batch."""
    [result] = client.batch_use_feature([v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id)])
    if isinstance(result, CanuseError):
        raise result


def _batch(client: Client, user_id: str, feature_id: str) -> None:
    """Record two uses, each of which has its own outcome."""
    requests = [v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)] * 2
    first, second = client.batch_create_usage_events(requests)
    assert type(first) is type(second)
    if isinstance(first, CanuseError):
        raise first


@promises_replica
def test_every_write_that_does_not_reach_a_replica_is_unknown_and_checks_do_not_wait(deployment: Deployment) -> None:
    with Client(deployment.canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        addon_id = package(client, [], v1.PACKAGE_TYPE_ADD_ON)
        deployment.hold_replica()
        unconfirmed = []
        for name, call in WRITES.items():
            try:
                call(client, user_id, feature_id, addon_id)
            except OutcomeUnknown:
                unconfirmed.append(name)
            if name != "DeleteUser":
                assert client.can_use(user_id, feature_id).access
        assert unconfirmed == list(WRITES)
        deployment.release_replica()
        assert client.get_package(addon_id).status == v1.PACKAGE_STATUS_ARCHIVED
        client.delete_user(user_id)


@promises_replica
def test_an_answer_that_is_given_again_is_as_durable_as_the_first_one_was_to_be(deployment: Deployment) -> None:
    """WAIT covers the writes of its own connection, and the connection of the first attempt is gone."""
    with Client(deployment.canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        deployment.hold_replica()
        with pytest.raises(OutcomeUnknown):
            client.use_feature(user_id, feature_id, event_id="e")
    deployment.canuse.stop()
    # At its start the server writes its version to the store, which waits for nothing.
    deployment.canuse.start()
    with Client(deployment.canuse.address, timeout_seconds=20) as client:
        with pytest.raises(OutcomeUnknown):
            client.use_feature(user_id, feature_id, event_id="e")
        deployment.release_replica()
        again = client.use_feature(user_id, feature_id, event_id="e")
        assert (again.access, again.replayed, again.consumption.used) == (True, True, 1)


@promises_replica
def test_a_replica_that_comes_back_in_time_confirms(deployment: Deployment) -> None:
    with Client(deployment.canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        for _ in range(3):
            deployment.hold_replica()
            with pytest.raises(OutcomeUnknown):
                client.use_feature(user_id, feature_id)
            deployment.release_replica()
            until(lambda: _acknowledged(deployment))
            assert client.use_feature(user_id, feature_id).access
        assert used(client, user_id, feature_id) == 6


def _acknowledged(deployment: Deployment) -> bool:
    info = deployment.admin.info("replication")
    return bool(info["slave0"]["offset"] == info["master_repl_offset"])


@pytest.mark.parametrize(
    ("deployment", "requested"),
    [
        pytest.param(
            promised, requested, marks=() if (promised, requested) == ("fsync", "replica") else pytest.mark.extended
        )
        for promised in LEVELS
        for requested in LEVELS
    ],
    indirect=["deployment"],
)
def test_a_caller_can_ask_for_more_than_the_server_promises_and_not_for_less(
    deployment: Deployment, requested: Literal["memory", "fsync", "replica"]
) -> None:
    promised = deployment.canuse.options[-1]
    with Client(deployment.canuse.address, timeout_seconds=20, durability=requested) as client:
        user_id, feature_id = subscriber(client, None)
        before = {name: deployment.commands(name) for name in ("wait", "waitaof")}
        assert client.use_feature(user_id, feature_id).access
        assert client.can_use(user_id, feature_id).access
        client.update_user(user_id, name="name")
        waited = {name for name, count in before.items() if deployment.commands(name) - count == 2}
        assert waited == {
            {"fsync": "waitaof", "replica": "wait"}[level] for level in (promised, requested) if level != "memory"
        }
        deployment.hold_replica()
        if "replica" in (requested, promised):
            with pytest.raises(OutcomeUnknown):
                client.use_feature(user_id, feature_id)
        else:
            client.use_feature(user_id, feature_id)


@pytest.mark.parametrize("deployment", ["fsync"], indirect=True)
def test_a_store_that_confirms_what_is_not_on_its_disk_is_not_believed(deployment: Deployment) -> None:
    """With `everysec` WAITAOF was answered at once, and a power cut took what had been acknowledged."""
    with Client(deployment.canuse.address, timeout_seconds=20) as client:
        user_id, feature_id = subscriber(client, None)
        deployment.admin.config_set("appendfsync", "everysec")
        for call in (lambda: client.use_feature(user_id, feature_id), lambda: client.update_user(user_id, name="name")):
            # It was said only that the write was not confirmed, and nobody could tell what to do.
            with pytest.raises(OutcomeUnknown, match="needs the store's appendfsync to be always, and it is everysec"):
                call()
        deployment.admin.config_set("appendfsync", "always")
        assert client.use_feature(user_id, feature_id).consumption.used == 2
        deployment.admin.config_set("appendonly", "no")
        with pytest.raises(OutcomeUnknown, match="needs an append-only file, and the store has none"):
            client.use_feature(user_id, feature_id)


def test_a_level_that_there_is_not_is_named(deployment: Deployment) -> None:
    wrong: Any = "disk"
    message = "canuse-durability: must be one of memory, fsync, replica; 'disk' was sent"
    with Client(deployment.canuse.address) as client:
        user_id, feature_id = subscriber(client, None)
    with Client(deployment.canuse.address, durability=wrong) as client:
        for call in (lambda: client.use_feature(user_id, feature_id), lambda: client.create_user(unique("user"))):
            with pytest.raises(InvalidArgument, match=message):
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


def _checked(client: Client, user_id: str, feature_id: str) -> "v1.Source.ValueType":
    """Make a check in a batch; return the source of its answer."""
    [answer] = client.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)])
    assert isinstance(answer, v1.CanUseResponse)
    return answer.source


READS: Final[dict[str, Callable[[Client, str, str], object]]] = {
    "CanUse": lambda client, user, feature: client.can_use(user, feature).source,
    "CanUse, explained": lambda client, user, feature: client.can_use(user, feature, explain=True).source,
    "BatchCanUse": _checked,
    "ListEntitlements": lambda client, user, _: list(client.list_entitlements(user)),
    "ShowUsage": lambda client, user, feature: client.show_usage(user, feature),
    "ListUsageEvents": lambda client, user, _: list(client.list_usage_events(user)),
    "ListSubscriptions": lambda client, user, _: list(client.list_subscriptions(user)),
}


@pytest.fixture
def generous(deployment: Deployment, tmp_path: Path) -> Iterator[Canuse]:
    """Another server on the same store: it waits long, and unknown users get the package `default`."""
    env = {**deployment.canuse.env, "CANUSE_DURABILITY_TIMEOUT_SECONDS": "20", "CANUSE_DEFAULT_PACKAGE": "default"}
    folder = tmp_path / "generous"
    folder.mkdir()
    with running(Canuse(folder, *deployment.canuse.options, env={**env, "CANUSE_LISTEN": "127.0.0.1:0"})) as canuse:
        yield canuse


def _on_trial(client: Client, package_id: str, end: datetime) -> str:
    """Create a user with a trial; return the id."""
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [package_id], trial_end=end)
    return user_id


def _has_passed(moment: datetime) -> bool:
    return datetime.now(UTC) > moment


@pytest.mark.parametrize("deployment", ["memory", "replica"], indirect=True)
def test_no_read_waits_until_what_it_brings_up_to_date_is_confirmed(deployment: Deployment, generous: Canuse) -> None:
    """A check of a user whose trial had just ended was denied with STORE_UNAVAILABLE: it waited for a replica."""
    with Client(generous.address, timeout_seconds=60) as client:
        feature_id = consumable(client)
        package_id = client.create_package("default", [v1.PackageFeature(feature_id=feature_id)]).id
        client.publish_package(package_id)
        end = datetime.now(UTC) + timedelta(seconds=2)
        on_trial = {name: _on_trial(client, package_id, end) for name in READS}
        leasing = {name: _on_trial(client, package_id, end + timedelta(days=1)) for name in READS}
        for user_id in leasing.values():
            client.reserve(user_id, feature_id, 1, ttl=timedelta(seconds=1))
        leased = datetime.now(UTC) + timedelta(seconds=1)
    until(lambda: _has_passed(max(end, leased)))
    with Client(generous.address, timeout_seconds=60, durability="replica") as client:
        before = deployment.commands("wait")
        deployment.hold_replica()
        for name, read in READS.items():
            for user_id in (on_trial[name], leasing[name]):
                assert read(client, user_id, feature_id) != v1.SOURCE_FALLBACK, name
            if name != "ListSubscriptions":
                assert read(client, unique("unknown"), feature_id) != v1.SOURCE_FALLBACK, name
        assert client.can_use(on_trial["CanUse"], feature_id).reason == v1.REASON_SUBSCRIPTION_INACTIVE
        assert client.show_usage(leasing["CanUse"], feature_id).current.reserved == 0
        assert deployment.commands("wait") == before
        assert deployment.admin.info("clients")["blocked_clients"] == 0


@promises_replica
def test_no_check_waits_until_a_change_of_its_user_is_confirmed(deployment: Deployment, generous: Canuse) -> None:
    """A renewal waited for its turn behind a change that waited for its replica."""
    with Client(generous.address, timeout_seconds=60) as client, ThreadPoolExecutor(1) as thread:
        user_id, feature_id = subscriber(client, None)
        end = datetime.now(UTC) + timedelta(seconds=2)
        client.update_subscription(next(client.list_subscriptions(user_id)).id, cancel_at=end)
        deployment.hold_replica()
        renamed = thread.submit(client.update_user, user_id, disabled=False, name="name")
        until(lambda: deployment.admin.info("clients")["blocked_clients"] == 1 and _has_passed(end))
        answer = client.can_use(user_id, feature_id)
        assert (answer.source, answer.reason) == (v1.SOURCE_STORE, v1.REASON_SUBSCRIPTION_INACTIVE)
        deployment.release_replica()
        renamed.result()


@promises_replica
def test_a_write_that_brings_its_user_up_to_date_first_is_made_and_its_confirmation_waited_for(
    deployment: Deployment,
) -> None:
    """The renewal before it was not confirmed either, and the write was not attempted again."""
    with Client(deployment.canuse.address, timeout_seconds=20) as client:
        feature_id = consumable(client)
        package_id = package(client, [v1.PackageFeature(feature_id=feature_id)])
        end = datetime.now(UTC) + timedelta(seconds=1)
        user_id = _on_trial(client, package_id, end)
        until(lambda: _has_passed(end))
        deployment.hold_replica()
        with pytest.raises(OutcomeUnknown):
            _batch(client, user_id, feature_id)
        deployment.release_replica()
        assert used(client, user_id, feature_id) == 2
