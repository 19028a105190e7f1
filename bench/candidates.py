"""Who is measured: how each is started, where it answers, which calls it has."""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.http2 import CallFailedError, LoadError
from bench.loader import Loader
from bench.methods import Method
from bench.processes import Cores, Process, StartError, free_port, running
from bench.store import Store, elsewhere, valkey
from bench.subjects import CANUSE, PLAIN, SKETCH, Subject, generate_sketch_stubs, spoken_at, wait_until_serving

UNIMPLEMENTED: Final = "12"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server to measure.

    It is started by `command`, in which {address}, {host}, {port}, {redis_url} and {redis_port} are filled in, or runs
    at `address` already, on the store at `redis_url` if that is known. `subject` None: canuse if it speaks as canuse
    does. `counted` false: it does not count in its store.
    """

    name: str
    command: tuple[str, ...] = ()
    address: str = ""
    redis_url: str = ""
    subject: Subject | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """A candidate that runs. `methods` are those that it has; `process` and `store` None: not known."""

    candidate: Candidate
    address: str
    subject: Subject
    methods: Sequence[Method]
    process: Process | None
    store: Store | None
    prepare_seconds: float

    def used(self, users: Sequence[str]) -> int | None:
        """Return what users have used so far, None where nobody can tell."""
        if self.store is None or not self.candidate.counted:
            return None
        return self.subject.used(self.store, users)


def canuse(transport: str, options: Sequence[str] = ()) -> Candidate:
    """Return this canuse with a transport."""
    serve = (sys.executable, "-m", "canuse_server", "serve", "--transport", transport, *options)
    return Candidate(transport, (*serve, "--listen", "{address}", "--redis-url", "{redis_url}"), subject=CANUSE)


def plain() -> Candidate:
    """Return the plain servicer that others are compared with."""
    path = str(Path(__file__).with_name("plain.py"))
    return Candidate("plain", (sys.executable, path, "{address}", "{redis_url}"), subject=PLAIN)


def sketch(path: Path, folder: Path) -> Candidate:
    """Return a sketch of a lane, started as `python PATH PORT REDIS_PORT`; its stubs are generated into a folder."""
    generate_sketch_stubs(path, folder)
    command = (sys.executable, str(path.resolve()), "{port}", "{redis_port}")
    return Candidate("sketch", command, subject=SKETCH, env={"PYTHONPATH": str(folder)})


def by_command(text: str, uncounted: Sequence[str]) -> Candidate:
    """Read NAME=COMMAND."""
    name, command = _named(text)
    return Candidate(name, tuple(shlex.split(command)), counted=name not in uncounted)


def by_address(text: str, uncounted: Sequence[str]) -> Candidate:
    """Read NAME=HOST:PORT or NAME=HOST:PORT,REDIS_URL."""
    name, place = _named(text)
    address, _, redis_url = place.partition(",")
    return Candidate(name, address=address, redis_url=redis_url, counted=name not in uncounted)


def _named(text: str) -> tuple[str, str]:
    name, _, rest = text.partition("=")
    if not (name and rest):
        raise LoadError(f"a candidate is given as NAME=…, not as {text!r}")
    return name, rest


@contextmanager
def started(
    candidate: Candidate, users: Sequence[str], wanted: Sequence[str], fsync: str, cores: Cores
) -> Iterator[Running]:
    """Start a candidate, make its users, and find out which of the wanted methods it has.

    Raises:
        LoadError: it did not start, or it answers a call with something else than a yes.
    """
    with _serving(candidate, fsync, cores) as (address, process, store):
        try:
            subject = candidate.subject or spoken_at(address)
            began = time.perf_counter()
            if store is not None:
                subject.prepare(address, store, users)
            lasted = time.perf_counter() - began
            methods = [method for method in subject.methods if method.name in wanted and _has(address, method, users)]
        except LoadError as error:
            raise LoadError(f"{candidate.name}: {error}") from error
        yield Running(candidate, address, subject, methods, process, store, lasted)


@contextmanager
def _serving(candidate: Candidate, fsync: str, cores: Cores) -> Iterator[tuple[str, Process | None, Store | None]]:
    """Have a candidate serve: yield its address, and its process and store where they are known."""
    with ExitStack() as stack:
        if not candidate.command:
            store = stack.enter_context(elsewhere(candidate.redis_url)) if candidate.redis_url else None
            yield candidate.address, None, store
            return
        port = free_port()
        try:
            valkey_store = stack.enter_context(valkey(fsync, cores))
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
    """Make one call; return false where there is no such method."""
    try:
        with Loader(address, method.path, method.messages(users[: method.decisions])[:1], method.yes, 1) as loader:
            loader.run(0)
    except CallFailedError as error:
        if error.status == UNIMPLEMENTED:
            return False
        raise LoadError(f"{method.name}: {error}") from error
    except LoadError as error:
        raise LoadError(f"{method.name}: {error}") from error
    return True
