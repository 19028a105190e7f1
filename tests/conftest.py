"""Servers for the tests: each transport on each kind of store."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.acl_redis import AclRedis
from support.connect import ConnectChannel
from support.load import MAX_WAIT_SECONDS
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import Clock
from support.scheduling import FIRST, Scheduling, scope_of
from support.selection import EXTENDED_FOLDERS, FAST, HTTP, is_extended, is_fast, programs_of, targets_of
from support.soak import SECONDS as SOAK_SECONDS
from support.tools import ROOT, VALKEY_SERVER, tool
from support.topologies import Cluster, SentinelTrio

pytest_plugins = ["support.browser", "support.npm"]

IN_SOAK = ("soak", "chaos")
TESTS = "tests"
"""The folder of this file."""

# Servers that tests start have no HTTP port unless they ask for one: many would have the same.
os.environ.setdefault("CANUSE_HTTP_LISTEN", "")
os.environ.setdefault("CANUSE_OPS_LISTEN", "")

if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    # Precompiled code halves the start of a server, and tests start hundreds. The cache is not beside the sources where
    # PYTHONDONTWRITEBYTECODE asks for a clean tree.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "bytecode")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Return the scheduler that distributes tests to processes."""
    return Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `make test` sets."""
    parser.addoption(FAST, action="store_true", help="leave out what only `make test-all` runs")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the servers and stores of a test, before all other parameters."""
    path = metafunc.definition.nodeid.partition("::")[0]
    targets = targets_of(metafunc.config, path)
    values = {"store_program": programs_of(metafunc.config, path), "server": targets, "clocked_server": targets}
    marks = {mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")}
    for name in values.keys() - marks:
        found = metafunc._arg2fixturedefs.get(name)
        # A module may have a server of its own.
        if name in metafunc.fixturenames and found and found[-1].baseid == TESTS:
            metafunc.parametrize(name, values[name], indirect=True, scope="session")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import what `make test` does not run: it may need packages that only `make test-all` installs."""
    is_left_out = collection_path.name in EXTENDED_FOLDERS and collection_path.parent == ROOT / "tests"
    return True if is_fast(config) and is_left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests and order them."""
    left_out = {item for item in items if item.get_closest_marker("soak")} if not SOAK_SECONDS else set()
    if is_fast(config):
        left_out |= {item for item in items if is_extended(item)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    # Tests that mostly wait run beside tests that keep the processor busy.
    scopes = {item: scope_of(item.nodeid) for item in items}
    items.sort(key=lambda item: 0 if scopes[item] in FIRST else 1 if scopes[item] == item.nodeid else 2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which tests were left out and why, and the figures of the chaos scripts, which xdist does not show."""
    skipped = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in sorted(skipped.items()):
        terminalreporter.write_line(f"{reason.removeprefix('Skipped: ')}: {count} tests")
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", ())]
    for figures in sorted({value for name, value in properties if name == "chaos"}):
        terminalreporter.write_line(figures)


@pytest.fixture
def soak_seconds(request: pytest.FixtureRequest) -> float:
    """The time for one test of a soak: its share of the total."""
    return SOAK_SECONDS / sum(any(map(item.get_closest_marker, IN_SOAK)) for item in request.session.items)


@pytest.fixture(scope="session")
def store_program(request: pytest.FixtureRequest) -> str:
    """The program of the store: the Valkey that comes with canuse, and the system's Redis."""
    return VALKEY_SERVER if request.param == "valkey" else tool("redis-server")


@pytest.fixture(scope="session")
def redis(store_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A store on a port of its own, shared by all tests."""
    server = RedisServer(store_program, tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


def run_canuse(target: str, clock: str, folder: Path) -> Iterator[Canuse]:
    """Run a server, with a store of its own if the target names one."""
    transport, store = target.split("-")
    over_http = transport == HTTP
    options = ["--transport", "native" if over_http else transport, "--clock", clock]
    with ExitStack() as stack:
        if store == "redis":
            redis = RedisServer(tool("redis-server"), folder / "redis").start()
            stack.callback(redis.stop)
            options += ["--redis-url", redis.url]
        if store in ("sentinel", "cluster"):
            topology = (SentinelTrio if store == "sentinel" else Cluster)(folder / store).start()
            stack.callback(topology.stop)
            options += ["--redis-url", topology.url]
        inspection_url = ""
        if store == "acl":
            acl_redis = AclRedis(folder / "acl").start()
            stack.callback(acl_redis.stop)
            options += ["--redis-url", acl_redis.acl_url]
            inspection_url = acl_redis.url
        server = Canuse(folder, *options, env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"} if over_http else None)
        server.inspection_url = inspection_url
        server.start()
        stack.callback(server.stop)
        yield server


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A running server on the system clock, shared by all tests: they use ids of their own."""
    yield from run_canuse(request.param, "system", tmp_path_factory.mktemp("system"))


@pytest.fixture(scope="session")
def clocked_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A running server on the manual clock, shared by all tests: they only move the clock forwards."""
    yield from run_canuse(request.param, "manual", tmp_path_factory.mktemp("manual"))


@contextmanager
def client_of(server: Canuse) -> Iterator[Client]:
    """Return a client of a server, over HTTP if it has an HTTP port."""
    if not server.http_url:
        with Client(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
            yield client
        return
    with ConnectChannel(server.http_url) as channel:
        yield Client(channel=channel, timeout_seconds=MAX_WAIT_SECONDS)


@pytest.fixture
def client(server: Canuse) -> Iterator[Client]:
    """A client of the server on the system clock."""
    with client_of(server) as client:
        yield client


@pytest.fixture
def clocked(clocked_server: Canuse) -> Iterator[Client]:
    """A client of the server on the manual clock."""
    with client_of(clocked_server) as client:
        yield client


@pytest.fixture
def clock(clocked_server: Canuse) -> Iterator[Clock]:
    """The clock of the server on the manual clock."""
    clock = Clock(clocked_server.address)
    yield clock
    clock.close()
