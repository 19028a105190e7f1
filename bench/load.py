"""Load from h2load (Debian: nghttp2-client), which costs little itself. It counts HTTP 200 only: see `subject.py` for
how answers are checked."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

STREAMS = 32
"""Calls in flight on one connection at most."""
TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class LoadError(RuntimeError):
    """The load could not be made."""


@dataclass(frozen=True)
class Load:
    """What h2load measured. `mean_seconds` is the mean time of a request, `microseconds` those of all if asked for."""

    requests_per_second: float
    mean_seconds: float
    succeeded: int
    microseconds: tuple[int, ...] = ()


def run(
    address: str, path: str, payload: bytes, requests: int, in_flight: int, core: int | None, *, each: bool = False
) -> Load:
    """Send a call many times and return how fast the answers came; with `each`, also how long each of them took.

    Raises:
        LoadError: h2load is not there, or a request failed.
    """
    program = shutil.which("h2load")
    if program is None:
        raise LoadError("h2load is not installed; Debian's package is nghttp2-client")
    connections = max(1, in_flight // STREAMS)
    with tempfile.NamedTemporaryFile() as body, tempfile.NamedTemporaryFile("r") as log:
        body.write(b"\x00" + len(payload).to_bytes(4, "big") + payload)
        body.flush()
        command = [program, f"--requests={requests}", f"--clients={connections}"]
        command += [f"--max-concurrent-streams={in_flight // connections}", f"--data={body.name}"]
        command += ["--header=content-type: application/grpc", "--header=te: trailers", f"http://{address}{path}"]
        if each:
            command.insert(1, f"--log-file={log.name}")
        if core is not None and (taskset := shutil.which("taskset")):
            command = [taskset, "--cpu-list", str(core), *command]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        # A line a request: its start, its HTTP status, its time.
        microseconds = tuple(int(line.split("\t")[2]) for line in log)
    return replace(_read(output, Path(program).name), microseconds=microseconds)


def _read(output: str, program: str) -> Load:
    rate = re.search(r"([\d.]+) req/s", output)
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", output)
    time = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", output)
    if not (rate and done and time):
        raise LoadError(f"{program} printed something else than expected:\n{output}")
    if done[2] != "0" or done[3] != "0":
        raise LoadError(f"requests failed:\n{output}")
    return Load(float(rate[1]), float(time[1]) * TIMES[time[2]], int(done[1]))
