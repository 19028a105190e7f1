"""Servers for the tests: each transport, on the embedded Valkey and on the system's Redis."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from canuse import Client
from support.locked import LockedRedis
from support.processes import Canuse, RedisServer
from support.scheduling import FIRST, Scheduling, scope_of
from support.soak import SECONDS as SOAK_SECONDS
from support.tools import ATHERIS, ENVOY, GRPCURL, MOUNTS, NETWORKS, REDIS_SERVER
from support.topologies import Cluster, SentinelTrio
from support.world import Clock

TRANSPORTS = ("native", "grpcio")
STORES = ("valkey", "redis") if REDIS_SERVER else ("valkey",)
IN_SOAK = ("soak", "chaos")
ALL_TARGETS = os.environ.get("CANUSE_ALL_TARGETS") == "1"
# Each transport, each store and each topology, but not each with each: what becomes of calls where a node has moved has
# tests of its own. CANUSE_ALL_TARGETS=1 takes all.
ONE_SERVER = [f"{transport}-{store}" for store in STORES for transport in TRANSPORTS]
if not ALL_TARGETS and REDIS_SERVER:
    ONE_SERVER = ["native-valkey", "grpcio-redis"]
TOPOLOGIES = (
    [f"{transport}-{topology}" for topology in ("sentinel", "cluster") for transport in TRANSPORTS]
    if ALL_TARGETS
    else ["grpcio-sentinel", "native-cluster"]
)
# What finds the server and lets canuse in is used by some tests in all ways that there are.
_ALL_WAYS = ("test_seed_flow.py", "test_users.py", "test_leases.py", "test_migration.py", "test_api_keys.py")
_MANY_KEYS = ("test_batches.py", "test_periods.py", "test_packages_and_features.py", "test_list_usage_events.py")
ENOUGH = {
    "grpcio-sentinel": _ALL_WAYS,
    "native-locked": (*_ALL_WAYS, "test_packages_and_features.py"),
    "native-cluster": (*_ALL_WAYS, *_MANY_KEYS),
}
# A store that speaks TLS and has a user for canuse who may do no more than the docs say.
LOCKED = ["native-locked"] if REDIS_SERVER else []
TARGETS = [*ONE_SERVER, *TOPOLOGIES, *LOCKED]


def pytest_report_header() -> list[str]:
    """Say which programs are missing, and so which tests are left out."""
    missing = {"redis-server": REDIS_SERVER, "grpcurl": GRPCURL, "envoy": ENVOY, "atheris": ATHERIS}
    rights = {"mount disks": MOUNTS, "lay networks": NETWORKS}
    return [
        *(f"left out, for want of the program: {name}" for name, path in missing.items() if path is None),
        *(f"left out, since only root on Linux may: {name}" for name, allowed in rights.items() if not allowed),
    ]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Say how tests are handed out to processes side by side."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests, and their order."""
    _leave_out(config, items)
    # What mostly waits, for things that break, goes on beside what keeps the processor busy.
    scopes = {item: scope_of(item.nodeid) for item in items}
    items.sort(key=lambda item: 0 if scopes[item] in FIRST else 1 if scopes[item] == item.nodeid else 2)


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a program that is not there, and what only a soak has time for."""
    marks: dict[str, object] = {"redis": REDIS_SERVER, "grpcurl": GRPCURL, "envoy": ENVOY, "atheris": ATHERIS}
    marks["soak"] = SOAK_SECONDS or None
    marks |= {"mounts": MOUNTS or None, "networks": NETWORKS or None}
    absent = [mark for mark, path in marks.items() if path is None]
    left_out = [
        item
        for item in items
        if any(item.get_closest_marker(mark) for mark in absent)
        or (not ALL_TARGETS and any(name in item.nodeid and item.path.name not in ENOUGH[name] for name in ENOUGH))
    ]
    if not (SOAK_SECONDS or ALL_TARGETS):
        left_out += _every_other_transport([item for item in items if item.get_closest_marker("chaos")])
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _every_other_transport(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return what to leave out so that each chaos script breaks each thing on one transport, in turns."""
    on_both = [item for item in items if "transport" in getattr(item, "fixturenames", ())]
    names = dict.fromkeys(item.nodeid.replace("grpcio", "native") for item in on_both)
    kept = {name: TRANSPORTS[number % 2] for number, name in enumerate(names)}
    return [item for item in on_both if kept[item.nodeid.replace("grpcio", "native")] not in item.nodeid]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures of the chaos scripts, which their own output does not show where tests run side by side."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", ())]
    for told in sorted({value for name, value in properties if name == "chaos"}):
        terminalreporter.write_line(told)


@pytest.fixture
def soak_seconds(request: pytest.FixtureRequest) -> float:
    """How long one test of a soak may take: its part of the time for all."""
    return SOAK_SECONDS / sum(any(map(item.get_closest_marker, IN_SOAK)) for item in request.session.items)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The system's Redis."""
    assert REDIS_SERVER is not None
    server = RedisServer(REDIS_SERVER, tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


def run_canuse(target: str, clock: str, folder: Path) -> Iterator[Canuse]:
    """Run a server, on a Redis of its own where the target says so."""
    transport, store = target.split("-")
    options = ["--transport", transport, "--clock", clock]
    with ExitStack() as stack:
        if store == "redis":
            assert REDIS_SERVER is not None
            redis = RedisServer(REDIS_SERVER, folder / "redis").start()
            stack.callback(redis.stop)
            options += ["--redis-url", redis.url]
        if store in ("sentinel", "cluster"):
            topology = (SentinelTrio if store == "sentinel" else Cluster)(folder / store).start()
            stack.callback(topology.stop)
            options += ["--redis-url", topology.url]
        inside_url = ""
        if store == "locked":
            locked = LockedRedis(folder / "locked").start()
            stack.callback(locked.stop)
            options += ["--redis-url", locked.locked_url]
            inside_url = locked.url
        server = Canuse(folder, *options)
        server.inside_url = inside_url
        server.start()
        stack.callback(server.stop)
        yield server


@pytest.fixture(scope="session", params=TARGETS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A running server on the system clock, shared by all tests: they use ids of their own."""
    yield from run_canuse(request.param, "system", tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="session", params=TARGETS)
def clocked_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A running server on the manual clock, shared by all tests: they only move the clock forwards."""
    yield from run_canuse(request.param, "manual", tmp_path_factory.mktemp("manual"))


@pytest.fixture
def client(server: Canuse) -> Iterator[Client]:
    """A client of the server on the system clock."""
    with Client(server.address) as client:
        yield client


@pytest.fixture
def clocked(clocked_server: Canuse) -> Iterator[Client]:
    """A client of the server on the manual clock."""
    with Client(clocked_server.address) as client:
        yield client


@pytest.fixture
def clock(clocked_server: Canuse) -> Iterator[Clock]:
    """The clock of the server on the manual clock."""
    clock = Clock(clocked_server.address)
    yield clock
    clock.close()
