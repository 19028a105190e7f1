"""Every bench completes a small run. Speed is not asserted.

`python -m bench.size` had failed since packages have versions: the packages that it created were not published.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from bench.options import BUILT_IN

from support.tools import ROOT

SHORT: Final = ("--rounds", "1", "--seconds", "0.05")
CATALOG: Final = ("--features", "60", "--packages", "3")
USES: Final = ("UseFeature", "UseFeature+id", "BatchCreateUsageEvents+id", "ShouldRateLimit")
BENCHES: Final = {
    "bench": (*SHORT, "--built-in", *BUILT_IN, "--users", "3", "--in-flight", "2", "--methods", *USES),
    "bench.batching": ("--seconds", "0.1", "--callers", "1", "8"),
    "bench.beside": (*SHORT, "--users", "5", "--in-flight", "2"),
    "bench.growth": (*SHORT, "--users", "5", "--fill-seconds", "0.05"),
    "bench.leases": ("--seconds", "0.2"),
    "bench.migrate": (*SHORT, "--users", "5", "--in-flight", "2", "--transports", "native"),
    "bench.scaling": ("--workers", "1", "2", "--shards", "1"),
    "bench.servicer": (*SHORT, "--in-flight", "4"),
    "bench.size": (*CATALOG, "--users", "60", "--events", "200", "--events-per-user", "100"),
}
"""How to run each small."""
CANDIDATES: Final = {"bare_lane", "plain"}
TELLS: Final = {
    "bench": ("UseFeature+id", "BatchCreateUsageEvents+id", "bare-lane"),
    "bench.batching": ("AsyncClient(batching=True)", "us a call"),
    "bench.beside": ("HTTP", "gRPC"),
    "bench.growth": ("one user, after filling the ledger",),
    "bench.leases": ("Client(leases=…)", "AsyncClient(leases=…)"),
    "bench.migrate": ("native: 5 subscriptions moved",),
    "bench.scaling": ("decisions/s",),
    "bench.servicer": ("times redis-py",),
    "bench.size": ("a page of users, later ones", "with 100 events a user", "the event id, besides"),
}
"""A text in the output of each."""


LONGER: Final = ("bench", "bench.beside", "bench.growth", "bench.migrate")


@pytest.mark.parametrize(
    "module", [pytest.param(name, marks=pytest.mark.extended if name in LONGER else ()) for name in BENCHES]
)
def test_each_bench_runs_to_its_end(module: str, tmp_path: Path) -> None:
    options = [*BENCHES[module], *(("--out", str(tmp_path)) if module == "bench" else ())]
    command = [sys.executable, "-m", module, *options]
    completed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert completed.returncode == 0, completed.stderr
    for words in TELLS[module]:
        assert words in completed.stdout


def test_there_is_no_other_bench() -> None:
    files = (ROOT / "bench").glob("*.py")
    programs = {file.stem for file in files if '__name__ == "__main__"' in file.read_text(encoding="utf-8")}
    assert programs > CANDIDATES, "the servers that `python -m bench --built-in plain bare-lane` starts"
    benches = programs - CANDIDATES
    assert {"bench" if name == "__main__" else f"bench.{name}" for name in benches} == set(BENCHES)
