"""The command `canuse`, run as a separate process against a server."""

import json
import os
from dataclasses import dataclass
from typing import Any

from support import fork_server


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return its standard output as JSON."""
        return json.loads(self.stdout)

    def rows(self) -> list[list[str]]:
        """Return the rows of the table it printed, without the header, split into words."""
        lines = self.stdout.splitlines()
        rule = next(number for number, line in enumerate(lines) if line.strip() and set(line.strip()) <= {"─", " "})
        return [line.split() for line in lines[rule + 1 :] if line.strip()]


@dataclass(frozen=True)
class CommandLine:
    """Runs `canuse` with the address of a server in the environment."""

    address: str

    def __call__(self, *arguments: str, **environment: str) -> Outcome:
        """Run one command to its end."""
        settings = {key: value for key, value in os.environ.items() if not key.startswith("CANUSE_")}
        env = settings | {"CANUSE_SERVER": self.address, "PYTHONIOENCODING": "utf-8"} | environment
        done = fork_server.run(*arguments, env=env)
        return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Subscriber:
    """A user on a package with a counted feature, an unlimited one and a binary one."""

    user: str
    package: str
    counted: str
    unlimited: str
    binary: str
    started_at: str
