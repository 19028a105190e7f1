"""Hostile clients on the public port of both transports, and of Envoy in front of the native one.

While `attacks.py` runs, a well-behaved client continues to call: each of its calls must succeed, health must answer,
nothing may crash, and no memory and no connection may be retained. Latency and memory are reported; only what must
never happen is asserted. In `make soak` each attack is also made on a second server on the same machine: its effect on
the client is what the attack costs the machine, whichever server it is made on.

Guards, with what fails without them:
- `MAX_STREAMS` in `transport/limits.py`: calls of the client are CANCELLED while others reset theirs.
- `raise_nofile_limit` in `app/rlimits.py`: with the low limit of open files that many systems start with, idle
  connections keep everybody out.
- `connection_pool_per_downstream_connection` in `deploy/envoy/tls.yaml`: calls are UNAVAILABLE then.
- `GC_THRESHOLDS_GRPCIO` in `app/interpreter.py`, by the figures: the metadata of thousands of calls stays in memory.
- `PageScheduler` in `runtime/fairness.py`, by the figures: calls wait for the pages of clients that request many.
- `BURST_BYTES` in `transport/reflection.py`: the front buffers hundreds of MiB for clients that do not read.
- `_refuse` there, in a long soak: with `abort` Python keeps 20 MiB of each such attack until a full collection.
- `large` in `api/methods.py`, by the figures: delegated calls wait until the clients that read nothing are gone.
- On the native transport the limits are those of `pygrpc_native`: 1024 calls a connection, 16 KiB of metadata, windows.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
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
"""Minimum number of calls from which the client's latency is computed."""
FILES = 256
"""Soft limit of open files that the server starts with."""
FEATURES, WORDS = 200, 250
"""Number of features, and length of their descriptions: a page of them is a large answer."""
MAX_MIB = 256
"""Memory that an attack may leave behind: what allocators keep for later use."""
MAX_METADATA_MIB = 768
"""The same on `grpcio` where calls bring metadata: 16 MiB of each get through."""
MIB_A_ROUND, MIB_A_ROUND_OF_METADATA = 8, 64
"""Average growth allowed from one attack to the next of its kind, once there were some."""


# In `make soak` all of them; behind Envoy is the native transport.
THROUGH_ENVOY = ATTACKS if SOAK_SECONDS else ("idle", "slow-readers", "resets", "large-metadata")
CASES = [
    *(pytest.param(front, name) for front in ("native", "grpcio") for name in ATTACKS),
    *(pytest.param("envoy", name) for name in THROUGH_ENVOY),
]


@dataclass
class Front:
    """A port under attack, the server behind it, and a user to call for."""

    name: str
    canuse: Canuse
    address: str
    tls: Tls | None
    user_id: str = ""
    feature_id: str = ""
    beside: "Front | None" = None
    """A second server on the same machine."""

    @property
    def security(self) -> str:
        """How an attack connects."""
        return "tls" if self.tls else "plain"

    def client(self) -> Client:
        """Return a client with a connection of its own."""
        return Client(self.address, timeout_seconds=MAX_WAIT_SECONDS, tls=self.tls or False, options=OWN_CONNECTION)

    def mib(self) -> int:
        """Return the server's resident memory."""
        return self._memory_mib("VmRSS")

    def forget_peak(self) -> None:
        """Reset `peak_mib`."""
        Path(f"/proc/{self.canuse.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> int:
        """Return the peak of the server's memory since then."""
        return self._memory_mib("VmHWM")

    def _memory_mib(self, name: str) -> int:
        status = Path(f"/proc/{self.canuse.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) // 1024

    def files(self) -> int:
        """Return the number of files the server has open."""
        return len(os.listdir(f"/proc/{self.canuse.pid}/fd"))

    def is_serving(self) -> bool:
        """Return whether the health service says SERVING, on a new connection."""
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
    """Start processes with a low soft limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def serving(folder: Path, name: str, more: Mapping[str, str] | None = None) -> Iterator[Front]:
    """Run a server with a user to call for and a catalog of large pages. `more`: of its environment."""
    with ExitStack() as stack:
        transport = "grpcio" if name == "grpcio" else "native"
        # A server that stalls for a while must show in the latency, not as a failure of the store.
        env = {"CANUSE_STORE_TIMEOUT_SECONDS": "10", **(more or {})}
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
    """A server under attack."""
    name = str(request.param)
    with ExitStack() as stack:
        front = stack.enter_context(serving(tmp_path_factory.mktemp("hostile"), name))
        if SOAK_SECONDS:
            front.beside = stack.enter_context(serving(tmp_path_factory.mktemp("beside"), name))
        yield front


@dataclass
class Calls:
    """The calls of the well-behaved client: their latency and their failures."""

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
        """Return the 99th percentile of the latency in milliseconds; None without calls."""
        ordered = sorted(self.milliseconds)
        return round(ordered[len(ordered) * 99 // 100], 1) if ordered else None


@contextmanager
def attacked(
    address: str, name: str, seed: int, security: str = "plain", module: str = "chaos.attacks"
) -> Iterator["subprocess.Popen[str]"]:
    """Run an attack at least while the block runs: it ends when the attack is over."""
    paths = os.pathsep.join((str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    command = [sys.executable, "-m", module, name, address, security, str(seed), str(ATTACK_SECONDS)]
    env = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
            assert process.wait(MAX_WAIT_SECONDS + ATTACK_SECONDS) == 0
        finally:
            process.kill()


def over(attack: "subprocess.Popen[str]", calls: Calls) -> Callable[[], bool]:
    """Return a condition: the attack is over, and there were some calls in the meantime."""
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
                with attacked(front.beside.address, name, seed, front.security) as attack:
                    beside.make(client, front, over(attack, beside))
            with attacked(front.address, name, seed, front.security) as attack:
                assert front.is_serving()
                during.make(client, front, over(attack, during))
                assert attack.stdout is not None
                for what, number in json.loads(attack.stdout.read()).items():
                    done[what] = done.get(what, 0) + number
            assert front.is_serving()
            # A connection of another client may open or close in the meantime.
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
