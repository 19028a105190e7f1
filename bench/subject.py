"""The server that is measured: started for the purpose, on a data directory of its own, and checked by its counter."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from canuse import Client, v1

FEATURE = "api-calls"
USER = "bench"
SERVICE = "/canuse.v1.EntitlementService/"
REQUESTS = {
    "CanUse": v1.CanUseRequest(user_id=USER, feature_id=FEATURE),
    "CreateUsageEvent": v1.CreateUsageEventRequest(user_id=USER, feature_id=FEATURE),
    "UseFeature": v1.UseFeatureRequest(user_id=USER, feature_id=FEATURE),
}
COUNTED = ("CreateUsageEvent", "UseFeature")
"""The methods that count one for each call."""


@contextmanager
def canuse(transport: str, core: int | None, **settings: str) -> Iterator[str]:
    """Run a canuse server, with settings by their names in the environment, and yield its address."""
    folder = Path(tempfile.mkdtemp(prefix="canuse-bench-"))
    command = [sys.executable, "-m", "canuse_server", "serve", "--transport", transport]
    if core is not None and (taskset := shutil.which("taskset")):
        command = [taskset, "--cpu-list", str(core), *command]
    own = {"CANUSE_LISTEN": "127.0.0.1:0", "CANUSE_DATA_DIR": str(folder / "data")}
    env = {**os.environ, **own, **settings}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
    try:
        assert process.stdout is not None
        found = re.match(r"canuse ready on (\S+) ", process.stdout.readline())
        if not found:
            raise RuntimeError((folder / "log").read_text())
        _prepare(found[1])
        yield found[1]
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _prepare(address: str) -> None:
    """Make one user with a budget that is never used up."""
    with Client(address) as client:
        client.create_feature(FEATURE, type=v1.FEATURE_TYPE_CONSUMABLE)
        entry = v1.PackageFeature(feature_id=FEATURE, limit=10**12, reset_period=v1.RESET_PERIOD_MONTH)
        client.create_package("bench", [entry])
        client.publish_package("bench")
        client.create_user(USER)
        client.subscribe(USER, ["bench"])


def used(address: str) -> int:
    """Return what the counter shows, through a call that has to be answered with a yes."""
    with Client(address) as client:
        answer = client.can_use(USER, FEATURE)
        if not answer.access:
            raise RuntimeError(f"the server refuses what it is measured with: {answer}")
        return answer.consumption.used
