"""Clients that mean harm, on the public port of both transports, and of Envoy before the native one.

While `attacks.py` does its worst, a good client goes on calling: each of its calls has to succeed, health has to
answer, nothing may crash, and no memory and no connection may be kept. How long its calls take, and how much memory is
used, is told; only what must never be is asserted. In `make soak` each attack is also made on another server beside
this one: what that costs the good client is what the attack costs the machine, whomever it is made on.

Guards, with what is red without them:
- `STREAMS` in `transport/limits.py`: calls of the good client are CANCELLED while others reset theirs.
- `files.allow_many`: with the few files that many systems give a process at first, idle connections keep everybody out.
- `connection_pool_per_downstream_connection` in `deploy/envoy/tls.yaml`: calls are UNAVAILABLE then.
- `GARBAGE_OF_GRPCIO` in `app.py`, by the figures: the metadata of thousands of calls stays in memory.
- `Pages` in `runtime/fairness.py`, by the figures: calls wait for the pages of those who ask for many at once.
- `MAX_BYTES` in `transport/reflection.py`: the front keeps what those who ask don't read, hundreds of MiB.
- `_refuse` there, in a long soak: with `abort` Python keeps 20 MiB of each such attack until it looks at all there is.
- `large` in `api/methods.py`, by the figures: what is passed on waits until those have gone who read nothing.
- On the native transport the bounds are those of `pygrpc_native`: 1024 calls a connection, 16 KiB of metadata, windows.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from canuse import Tls, v1
from chaos.attacks import ATTACKS
from support.certificates import Authority
from support.chaos import Report, Rounds
from support.gateway import TlsEnvoy
from support.load import MAX_WAIT_SECONDS, OWN_CONNECTION, running, until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber, unique
from support.soak import SECONDS as SOAK_SECONDS
from support.tools import ROOT

pytestmark = pytest.mark.chaos

SHORT, LONG = 1, 10
LONG_SOAK = SOAK_SECONDS >= 600
ATTACK_SECONDS = 3.0 if LONG_SOAK else 1.0
CALLS = 1_000 if LONG_SOAK else 200
"""How many calls of the good client say how long a call takes, at least."""
FILES = 256
"""How many files the server may have open at first."""
FEATURES, WORDS = 200, 250
"""How many features there are, and how long their descriptions are: a page of them is a large answer."""
MAX_MIB = 256
"""How much memory an attack may leave behind: what allocators keep for the next one."""
MAX_METADATA_MIB = 768
"""The same on `grpcio` where calls bring metadata: of each one 16 MiB come through."""
MIB_A_ROUND, MIB_A_ROUND_OF_METADATA = 8, 64
"""By how much it may grow from one attack to the next one of the same kind, on average, once there were some."""


# In `make soak` all of them; what is behind Envoy is the native transport.
THROUGH_ENVOY = ATTACKS if SOAK_SECONDS else ("idle", "slow-readers", "resets", "large-metadata")
CASES = [
    *(pytest.param(front, name) for front in ("native", "grpcio") for name in ATTACKS),
    *(pytest.param("envoy", name) for name in THROUGH_ENVOY),
]


@dataclass
class Front:
    """A port that is attacked, and the server behind it, with a user to call for."""

    name: str
    canuse: Canuse
    address: str
    tls: Tls | None
    user_id: str = ""
    feature_id: str = ""
    beside: "Front | None" = None
    """Another one on the same machine."""

    def client(self) -> Client:
        """Return a client with a connection of its own."""
        return Client(self.address, timeout_seconds=MAX_WAIT_SECONDS, tls=self.tls or False, options=OWN_CONNECTION)

    def mib(self) -> int:
        """Return how much memory the server has."""
        return self._memory_mib("VmRSS")

    def forget_peak(self) -> None:
        """Let `peak_mib` begin anew."""
        Path(f"/proc/{self.canuse.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> int:
        """Return how much memory the server has had at most since then."""
        return self._memory_mib("VmHWM")

    def _memory_mib(self, name: str) -> int:
        status = Path(f"/proc/{self.canuse.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) // 1024

    def files(self) -> int:
        """Return how many files the server has open."""
        return len(os.listdir(f"/proc/{self.canuse.pid}/fd"))

    def is_serving(self) -> bool:
        """Ask for the health of the server, on a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = (
            grpc.secure_channel(self.address, self.tls.credentials(), options)
            if self.tls
            else grpc.insecure_channel(self.address, options)
        )
        with channel:
            check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
            answer = health_pb2.HealthCheckResponse.FromString(check(b"", timeout=MAX_WAIT_SECONDS))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def few_files() -> Iterator[None]:
    """Have what is started in here begin with few files that it may open."""
    min_calls, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, min_calls), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min_calls, most))


@contextmanager
def serving(folder: Path, name: str) -> Iterator[Front]:
    """Serve, and have something to call for and large pages to ask for."""
    with ExitStack() as stack:
        transport = "grpcio" if name == "grpcio" else "native"
        # Where the server stands still for a while that is to be seen in how long calls take, not as a store's failure.
        env = {"CANUSE_STORE_TIMEOUT_SECONDS": "10"}
        with few_files():
            canuse = stack.enter_context(running(Canuse(folder, "--transport", transport, env=env)))
        front = Front(name, canuse, canuse.address, None)
        if name == "envoy":
            authority = Authority(folder / "authority")
            envoy = TlsEnvoy(folder, canuse.address, authority.server()).start()
            stack.callback(envoy.stop)
            front.address, front.tls = envoy.address, authority.trusted()
        with front.client() as client:
            front.user_id, front.feature_id = subscriber(client, None)
            for _ in range(FEATURES):
                client.create_feature(unique("feature"), type=v1.FEATURE_TYPE_BINARY, metadata={"words": "w" * WORDS})
        yield front


@pytest.fixture(scope="module")
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A server that is attacked."""
    name = str(request.param)
    with ExitStack() as stack:
        front = stack.enter_context(serving(tmp_path_factory.mktemp("hostile"), name))
        if SOAK_SECONDS:
            front.beside = stack.enter_context(serving(tmp_path_factory.mktemp("beside"), name))
        yield front


@dataclass
class Calls:
    """Calls of a good client: how long each took, and what came of those that failed."""

    milliseconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def make(self, client: Client, front: Front, is_enough: Callable[[], bool]) -> None:
        """Make calls until there are enough."""
        while not is_enough():
            start = time.perf_counter()
            try:
                if len(self.milliseconds) % 5:
                    assert client.use_feature(front.user_id, front.feature_id).access
                else:  # The native transport hands this one over.
                    assert client.get_user(front.user_id).id == front.user_id
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told at the end
                self.failures.append(repr(error))
            self.milliseconds.append((time.perf_counter() - start) * 1000)

    def p99(self) -> float | None:
        """Return how many milliseconds 99 of 100 calls did not pass; None where there were no calls."""
        ordered = sorted(self.milliseconds)
        return round(ordered[len(ordered) * 99 // 100], 1) if ordered else None


@contextmanager
def attacked(front: Front, name: str, seed: int) -> Iterator["subprocess.Popen[str]"]:
    """Attack while the block runs, or longer: it ends when the attack has."""
    paths = os.pathsep.join((str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    how = "tls" if front.tls else "plain"
    command = [sys.executable, "-m", "chaos.attacks", name, front.address, how, str(seed), str(ATTACK_SECONDS)]
    env = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
            assert process.wait(MAX_WAIT_SECONDS + ATTACK_SECONDS) == 0
        finally:
            process.kill()


def over(attack: "subprocess.Popen[str]", calls: Calls) -> Callable[[], bool]:
    """Return what says that an attack is over, and that there were some calls meanwhile."""
    min_calls = len(calls.milliseconds) + CALLS // 10
    return lambda: attack.poll() is not None and len(calls.milliseconds) >= min_calls


@pytest.mark.parametrize(("front", "name"), CASES, indirect=["front"])
def test_a_hostile_client_takes_nothing_from_the_others(
    front: Front, name: str, rounds: Rounds, report: Report
) -> None:
    before, beside, during, done, sizes = Calls(), Calls(), Calls(), dict[str, int](), [front.mib()]
    with front.client() as client:
        before.make(client, front, lambda: len(before.milliseconds) >= CALLS)
        front.forget_peak()
        files = front.files()
        for rng in rounds(SHORT, LONG):
            seed = rng.getrandbits(32)
            if front.beside:
                with attacked(front.beside, name, seed) as attack:
                    beside.make(client, front, over(attack, beside))
            with attacked(front, name, seed) as attack:
                assert front.is_serving()
                during.make(client, front, over(attack, during))
                assert attack.stdout is not None
                for what, number in json.loads(attack.stdout.read()).items():
                    done[what] = done.get(what, 0) + number
            assert front.is_serving()
            # A connection of a client beside it may come or go meanwhile.
            until(lambda: front.files() <= files + 2)
            sizes.append(front.mib())
        after = Calls()
        after.make(client, front, lambda: len(after.milliseconds) >= CALLS // 10)
    times = len(sizes) - 1
    report(
        "hostile", front=front.name, attack=name, times=times, **done, calls=len(during.milliseconds),
        failed=len(during.failures), p99_before_ms=before.p99(), p99_beside_ms=beside.p99(),
        p99_during_ms=during.p99(), longest_ms=round(max(during.milliseconds), 1), mib_before=sizes[0],
        mib_peak=front.peak_mib(), mib_after=sizes[-1],
    )  # fmt: skip
    assert (before.failures, beside.failures, during.failures, after.failures) == ([], [], [], [])
    assert front.canuse.process is not None
    assert front.canuse.process.poll() is None
    keeps_metadata = front.name == "grpcio" and name in ("large-metadata", "continuations")
    assert sizes[-1] - sizes[0] < (MAX_METADATA_MIB if keeps_metadata else MAX_MIB)
    assert sizes[-1] - sizes[(times + 1) // 2] <= (MIB_A_ROUND_OF_METADATA if keeps_metadata else MIB_A_ROUND) * times
