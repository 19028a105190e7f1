"""The measured servers: their commands, addresses and methods."""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.apis import BARE_LANE, CANUSE, PLAIN, Api, api_at, wait_until_serving
from bench.http2 import CallFailedError, LoadError
from bench.loader import Loader
from bench.methods import BATCH, Method
from bench.processes import Cores, Process, StartError, free_port, running
from bench.store import Store, existing_store, valkey

UNIMPLEMENTED: Final = "12"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server to measure.

    It is started by `command`, in which {address}, {host}, {port}, {redis_url} and {redis_port} are replaced, or
    already runs at `address`, with the store at `redis_url`, if known. `api` None: canuse's if the server has canuse's
    catalogue service. `counted` false: it does not count in its store.
    """

    name: str
    command: tuple[str, ...] = ()
    address: str = ""
    redis_url: str = ""
    api: Api | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Setup:
    """The setup of all candidates. `fsync` is `everysec`, `always` or `no`; `kept_ids` is the number of event ids that
    are stored for each user in advance."""

    methods: Sequence[str]
    cores: Cores
    fsync: str = "everysec"
    batch: int = BATCH
    kept_ids: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """A running candidate with its methods. `process` and `store` are None if unknown."""

    candidate: Candidate
    address: str
    api: Api
    methods: Sequence[Method]
    process: Process | None
    store: Store | None
    prepare_seconds: float

    def used(self, users: Sequence[str]) -> int | None:
        """Return the total usage of users so far, or None if it is unknown."""
        if self.store is None or not self.candidate.counted:
            return None
        return self.api.used(self.store, users)


def canuse(transport: str, options: Sequence[str] = (), *, http_listen: str = "") -> Candidate:
    """Return this canuse with the given transport, and with an HTTP port if it has an address."""
    serve = (sys.executable, "-m", "canuse_server", "serve", "--transport", transport, *options)
    ports = ("--listen", "{address}", "--http-listen", http_listen)
    return Candidate(transport, (*serve, *ports, "--redis-url", "{redis_url}"), api=CANUSE)


def plain() -> Candidate:
    """Return the plain `grpc.aio` servicer."""
    path = str(Path(__file__).with_name("plain.py"))
    return Candidate("plain", (sys.executable, path, "{address}", "{redis_url}"), api=PLAIN)


def bare_lane() -> Candidate:
    """Return the bare lane."""
    path = str(Path(__file__).with_name("bare_lane.py"))
    return Candidate("bare-lane", (sys.executable, path, "{address}", "{redis_port}"), api=BARE_LANE)


def by_command(text: str, uncounted: Sequence[str]) -> Candidate:
    """Parse NAME=COMMAND."""
    name, command = _named(text)
    return Candidate(name, tuple(shlex.split(command)), counted=name not in uncounted)


def by_address(text: str, uncounted: Sequence[str]) -> Candidate:
    """Parse NAME=HOST:PORT or NAME=HOST:PORT,REDIS_URL."""
    name, location = _named(text)
    address, _, redis_url = location.partition(",")
    return Candidate(name, address=address, redis_url=redis_url, counted=name not in uncounted)


def _named(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not (name and value):
        raise LoadError(f"a candidate is given as NAME=…, not as {text!r}")
    return name, value


@contextmanager
def started(candidate: Candidate, users: Sequence[str], setup: Setup) -> Iterator[Running]:
    """Start a candidate, create its users, and determine which of the requested methods it has.

    Raises:
        LoadError: it did not start, or a response does not grant access.
    """
    with _serving(candidate, setup) as (address, process, store):
        try:
            api = candidate.api or api_at(address)
            before = time.perf_counter()
            if store is not None:
                api.prepare(address, store, users, setup.kept_ids)
            prepare_seconds = time.perf_counter() - before
            requested = [method.with_batch(setup.batch) for method in api.methods if method.name in setup.methods]
            methods = [method for method in requested if _has(address, method, users)]
        except LoadError as error:
            raise LoadError(f"{candidate.name}: {error}") from error
        yield Running(candidate, address, api, methods, process, store, prepare_seconds)


@contextmanager
def _serving(candidate: Candidate, setup: Setup) -> Iterator[tuple[str, Process | None, Store | None]]:
    """Start a candidate; yield its address, its process and its store, if known."""
    with ExitStack() as stack:
        if not candidate.command:
            store = stack.enter_context(existing_store(candidate.redis_url)) if candidate.redis_url else None
            yield candidate.address, None, store
            return
        cores, port = setup.cores, free_port()
        try:
            valkey_store = stack.enter_context(valkey(setup.fsync, cores))
            command = _filled(candidate.command, port, valkey_store.url)
            process = stack.enter_context(running(command, cores.server, candidate.env, cores.load))
            process.wait_for_port(port)
            wait_until_serving(f"127.0.0.1:{port}")
        except StartError as error:
            raise LoadError(f"{candidate.name}: {error}") from error
        yield f"127.0.0.1:{port}", process, valkey_store


def _filled(command: Sequence[str], port: int, redis_url: str) -> list[str]:
    values = {"host": "127.0.0.1", "port": port, "address": f"127.0.0.1:{port}"}
    values |= {"redis_url": redis_url, "redis_port": redis_url.rpartition(":")[2]}
    try:
        return [word.format_map(values) for word in command]
    except (KeyError, ValueError) as error:
        raise StartError(f"{shlex.join(command)!r} has braces for something else than {', '.join(values)}") from error


def _has(address: str, method: Method, users: Sequence[str]) -> bool:
    """Make one call; return false if the server does not have the method."""
    try:
        with Loader(address, method.path, method.messages(users[: method.items])[:1], method.check, 1) as loader:
            loader.run(0)
    except CallFailedError as error:
        if error.status == UNIMPLEMENTED:
            return False
        raise LoadError(f"{method.name}: {error}") from error
    except LoadError as error:
        raise LoadError(f"{method.name}: {error}") from error
    return True
