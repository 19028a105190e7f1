"""Hostile callers of the HTTP port, beside a well-behaved client of the native gRPC port of the same server.

Each call of the client must succeed, and what the callers hold must be released. Latency and memory are reported: each
attack is also made on an unrelated HTTP server on the same machine, whose effect on the client is what the attack costs
the machine.

Guards, with what the figures show without them:
- `_has_more_values` in `transport/http/json_object.py` and the one thread in `calls.py`: reading bodies takes Python's
  lock for a third of a second.
- `pause_if_due` in `runtime/thread_pauses.py` and `SWITCH_SECONDS` in `app/interpreter.py`: calls wait for that thread,
  several times each.
- `YieldBudget` in `kana/calls.py`: all fields of a query are answered without a break.
- `Connections` in `transport/http/connection.py`: slow bodies keep others out.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from chaos.attacks import IDLE_CONNECTIONS
from chaos.http_attacks import ATTACKS
from chaos.test_hostile_clients import CALLS, LONG, MAX_MIB, SHORT, Calls, Front, attacked, over, serving
from support.chaos import Report, Rounds
from support.load import MAX_WAIT_SECONDS, until
from support.tools import ROOT

pytestmark = pytest.mark.chaos

TARGETS = "chaos.http_attacks"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A server under attack."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
    with serving(tmp_path_factory.mktemp("hostile"), "native", env) as front:
        yield front


@pytest.fixture(scope="module")
def unrelated() -> Iterator[str]:
    """The address of an unrelated server."""
    command = [sys.executable, "-m", "chaos.unrelated_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT / "tests") as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_caller_over_http_takes_nothing_from_the_others(
    front: Front, unrelated: str, name: str, rounds: Rounds, report: Report
) -> None:
    before, beside, during, done, sizes = Calls(), Calls(), Calls(), dict[str, int](), [front.mib()]
    address = front.canuse.http_url.removeprefix("http://")
    with front.client() as client:
        before.make(client, front, lambda: len(before.milliseconds) >= CALLS)
        front.forget_peak()
        files = front.files()
        for rng in rounds(SHORT, LONG):
            seed = rng.getrandbits(32)
            with attacked(unrelated, name, seed, module=TARGETS) as attack:
                beside.make(client, front, over(attack, beside))
            with attacked(address, name, seed, module=TARGETS) as attack:
                assert httpx.get(f"{front.canuse.http_url}/docs", timeout=MAX_WAIT_SECONDS).status_code == 200
                during.make(client, front, over(attack, during))
                assert attack.stdout is not None
                for what, number in json.loads(attack.stdout.read()).items():
                    done[what] = done.get(what, 0) + number
            until(lambda: front.files() <= files + 4)
            sizes.append(front.mib())
    report(
        "hostile-http", attack=name, times=len(sizes) - 1, **done, calls=len(during.milliseconds),
        failed=len(during.failures), p99_before_ms=before.p99(), p99_beside_ms=beside.p99(),
        p99_during_ms=during.p99(), longest_ms=round(max(during.milliseconds), 1), mib_before=sizes[0],
        mib_peak=front.peak_mib(), mib_after=sizes[-1],
    )  # fmt: skip
    assert (before.failures, beside.failures, during.failures) == ([], [], [])
    assert done["connections"] >= (IDLE_CONNECTIONS if name == "idle" else 2)
    assert sizes[-1] - sizes[0] < MAX_MIB
