"""Requests that a fuzzer makes up, to every method that answers once, Envoy's among them.

Whatever the bytes: the answer is never INTERNAL, also not for one item of a batch; where it is INVALID_ARGUMENT, every
byte in the store is as it was; and what the batch lane reads out of the bytes before it goes to the store is refused
there exactly as on the other path. `make soak` gives each method up to five minutes.

Guards, with what is red without them: `parse` in `api/hotpath/method.py`, which makes bad input of bytes that are no
message, or the answer is INTERNAL; and that all is checked before the first write, as in `api/services/users.py`, or a
refused request has left something in the store.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from canuse.v1 import (
    api_key_service_pb2,
    catalog_service_pb2,
    entitlement_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from canuse_server.envoy import rate_limit_service_pb2
from support.chaos import SEED, Report
from support.processes import RedisServer
from support.tools import ROOT, VALKEY_SERVER, require_atheris

pytestmark = pytest.mark.chaos

RUNS = 6_000
MAX_SECONDS = 300
MIN_SECONDS = 5
"""With less time for each method all of them are called in turn, as in `make test-all`: to begin takes seconds, too."""
MODULES = (
    api_key_service_pb2,
    catalog_service_pb2,
    entitlement_service_pb2,
    rate_limit_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
PATHS = [
    f"/{service.full_name}/{method.name}"
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.server_streaming
]


def fuzz(url: str, runs: int, seconds: int, *methods: str) -> int:
    """Run the fuzzer, which must not find anything; return how many calls it has made."""
    paths = os.pathsep.join((str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    command = [sys.executable, "-m", "chaos.fuzz", url, str(SEED), str(runs), str(seconds), *methods]
    env = {**os.environ, "PYTHONPATH": paths}
    completed = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=env, timeout=seconds + 120, check=False
    )
    done = re.search(r"number_of_executed_units: (\d+)", completed.stderr)
    assert completed.returncode == 0, f"{completed.stdout[-2000:]}\n{completed.stderr[-4000:]}"
    assert done, completed.stderr[-4000:]
    return int(done[1])


def test_no_request_is_a_fault_of_the_server_or_writes_what_it_refuses(
    tmp_path: Path, soak_seconds: float, report: Report
) -> None:
    require_atheris()
    settings = ("--enable-debug-command", "yes", "--appendonly", "no")
    store = RedisServer(VALKEY_SERVER, tmp_path / "store", settings).start()
    try:
        seconds = min(MAX_SECONDS, int(soak_seconds / len(PATHS)))
        if seconds < MIN_SECONDS:
            report("fuzzing", methods=len(PATHS), calls=fuzz(store.url, RUNS, MAX_SECONDS, "all"))
            return
        for path in PATHS:
            report("fuzzing", method=path, seconds=seconds, calls=fuzz(store.url, -1, seconds, path))
    finally:
        store.stop()
