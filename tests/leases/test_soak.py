"""Eight processes with leases on small budgets of many users: no budget is exceeded, and each use is recorded once."""

import random
import re
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from canuse import v1
from support.load import running, until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import unique
from support.soak import SECONDS, SEED, soak

PROGRAM = Path(__file__).parent / "competing.py"
PROCESSES = 8
USERS = 12
SHORT_TTL_SECONDS = 4
LONG_TTL_SECONDS = 20
"""Longer than a restart of the server: what is reported later may exceed the budget."""
KINDS = ("sync", "threads", "async")


class Round:
    """A server, and processes that use the same users' budgets."""

    def __init__(self, folder: Path, seed: int, seconds: float, *, with_faults: bool) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.seconds = seconds
        self.with_faults = with_faults
        self.ttl_seconds = LONG_TTL_SECONDS if with_faults else SHORT_TTL_SECONDS
        self.budget = self.chance.choice([60, 300, 2000] if SECONDS else [300, 2000])

    def run(self) -> int:
        """Let them run; return how many uses were decided locally."""
        with ExitStack() as stack:
            server = stack.enter_context(running(Canuse(self.folder)))
            plain = stack.enter_context(Client(server.address, timeout_seconds=30))
            feature_id = self.set_up(plain)
            allowed_paths = [self.folder / f"allowed-{number}" for number in range(PROCESSES)]
            processes = [self.start(server, feature_id, path) for path in allowed_paths]
            for process in processes:
                stack.callback(process.kill)
            killed = self.break_things(server, processes) if self.with_faults else None
            outputs = [process.communicate(timeout=self.seconds + 60) for process in processes]
            for number, (printed, errors) in enumerate(outputs):
                assert processes[number].returncode == 0 or number == killed, printed + errors
            until(lambda: not list(self.reserved(plain, feature_id)), self.ttl_seconds + 30)
            allowed = [struct.unpack(f"<{USERS}q", path.read_bytes()) for path in allowed_paths]
            for user in range(USERS):
                used = plain.show_usage(f"user-{user}", feature_id).current.used
                self.check(used, [each[user] for each in allowed], killed)
            return sum(int(found[1]) for printed, _ in outputs if (found := re.search(r"local (\d+)", printed)))

    def set_up(self, plain: Client) -> str:
        """Create the users with their budgets; return the feature."""
        feature_id = unique("feature")
        plain.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        entry = v1.PackageFeature(feature_id=feature_id, limit=self.budget, reset_period=v1.RESET_PERIOD_NEVER)
        plain.create_package("pro", [entry])
        plain.publish_package("pro")
        for user in range(USERS):
            plain.ensure_user(f"user-{user}", package_id="pro")
        return feature_id

    def start(self, server: Canuse, feature_id: str, path: Path) -> "subprocess.Popen[str]":
        """Start a process."""
        path.write_bytes(bytes(8 * USERS))
        numbers = [str(USERS), str(self.seconds), str(self.chance.getrandbits(32))]
        command = [sys.executable, "-W", "ignore", str(PROGRAM), server.address, feature_id, str(path), *numbers]
        kind = self.chance.choice(KINDS)
        return subprocess.Popen(
            [*command, kind, str(self.ttl_seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def break_things(self, server: Canuse, processes: "list[subprocess.Popen[str]]") -> int:
        """Restart the server, and end one of the processes by `kill -9`; return which."""
        for action in self.chance.sample([server.stop, server.kill], 2):
            time.sleep(self.seconds / 4)
            action()
            server.start()
        time.sleep(self.seconds / 4)
        killed = self.chance.randrange(PROCESSES)
        processes[killed].kill()
        return killed

    def reserved(self, plain: Client, feature_id: str) -> list[str]:
        """Return the users of whom units are reserved."""
        users = [f"user-{user}" for user in range(USERS)]
        return [user for user in users if plain.show_usage(user, feature_id).current.reserved]

    def check(self, used: int, allowed: list[int], killed: int | None) -> None:
        """Compare what was recorded of a user with what was allowed."""
        if killed is None:
            assert used == sum(allowed) <= self.budget, (used, allowed, self.budget)
            return
        by_others = sum(allowed) - allowed[killed]
        # What the killed process had not reported is not recorded. Others may have used it when its lease had expired.
        # It may also have been killed in each of its threads before it counted a use of up to 5 units.
        assert by_others <= used <= sum(allowed) + 4 * 5, (used, allowed)
        assert used <= self.budget, (used, allowed, self.budget)


def test_processes_never_use_more_than_the_budgets_together(tmp_path: Path) -> None:
    assert Round(tmp_path, SEED, 6, with_faults=False).run() > 0, f"nothing was decided locally; SOAK_SEED={SEED}"


@pytest.mark.soak
def test_processes_with_leases(tmp_path: Path, soak_seconds: float) -> None:
    numbers = iter(range(1_000_000))

    def run_round(seed: int) -> int:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return Round(folder, seed, 8, with_faults=bool(seed % 3)).run()

    soak(soak_seconds, run_round)
