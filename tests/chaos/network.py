"""Machines on separate networks (Linux namespaces), whose links can be cut, one way or both. They need root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from support.processes import RedisServer
from support.tools import VALKEY_SERVER, require_networks

# A queue without room for a packet: everything sent on the link is lost, silently.
LOSE_ALL: Final = ("root", "tbf", "rate", "8bit", "burst", "1", "limit", "1")
_NUMBERS: Final = count()


class Link:
    """A link between two machines; None is this one."""

    def __init__(self, here: "Machine | None", there: "Machine") -> None:
        number = next(_NUMBERS)
        # A network of four addresses for each link of each test process.
        block = (os.getpid() * 8 + number) % (1 << 14) * 4
        prefix = f"10.231.{block >> 8}."
        self.addresses = tuple(f"{prefix}{(block & 255) + place}" for place in (1, 2))
        self._endpoints = [(here, f"cz{os.getpid()}a{number}"), (there, f"cz{os.getpid()}b{number}")]
        (_, first), (_, second) = self._endpoints
        _run("ip", "link", "add", first, "type", "veth", "peer", "name", second)
        for (machine, device), address in zip(self._endpoints, self.addresses, strict=True):
            if machine is not None:
                _run("ip", "link", "set", device, "netns", machine.name)
            _ip(machine, "addr", "add", f"{address}/30", "dev", device)
            _ip(machine, "link", "set", device, "up")

    def cut(self) -> None:
        """Drop everything sent over it, in both directions."""
        self.lose_what_is_sent()
        self.lose_what_comes_back()

    def lose_what_is_sent(self) -> None:
        """Drop what is sent from the first end."""
        _lose(*self._endpoints[0])

    def lose_what_comes_back(self) -> None:
        """Drop what is sent from the second end."""
        _lose(*self._endpoints[1])

    def heal(self) -> None:
        """Let everything through again."""
        for machine, device in self._endpoints:
            _run("tc", *_in(machine), "qdisc", "delete", "dev", device, "root", check=False)


class Machine:
    """A machine that is only reachable over links. `link` is the one from here."""

    def __init__(self) -> None:
        self.name = f"canuse-{os.getpid()}-{next(_NUMBERS)}"
        _run("ip", "netns", "add", self.name)
        _ip(self, "link", "set", "lo", "up")
        self.link = Link(None, self)

    @property
    def address(self) -> str:
        """Its address, seen from here."""
        return self.link.addresses[1]

    def store(self, folder: Path, *settings: str) -> RedisServer:
        """Return a Valkey to be started on it."""
        folder.mkdir(parents=True)
        program = folder / "valkey-on-machine"
        program.write_text(f'#!/bin/sh\nexec ip netns exec {self.name} {VALKEY_SERVER} "$@"\n')
        program.chmod(0o700)
        server = RedisServer(str(program), folder, ("--bind", "*", "--protected-mode", "no", *settings))
        server.host = self.address
        return server

    def remove(self) -> None:
        """Remove it, with its links."""
        _run("ip", "netns", "delete", self.name)


@contextmanager
def machine() -> Iterator[Machine]:
    """Provide a machine while the block runs."""
    require_networks()
    created = Machine()
    try:
        yield created
    finally:
        created.remove()


def _lose(machine: Machine | None, device: str) -> None:
    _run("tc", *_in(machine), "qdisc", "replace", "dev", device, *LOSE_ALL)


def _in(machine: Machine | None) -> tuple[str, ...]:
    return () if machine is None else ("-n", machine.name)


def _ip(machine: Machine | None, *words: str) -> None:
    _run("ip", *_in(machine), *words)


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
