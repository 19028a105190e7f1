"""`python -m bench.migrate`: a small run of everything. Speed is not asserted."""

import subprocess
import sys

from support.tools import ROOT


def test_a_run_moves_all_there_and_back_and_prints_how_checks_did() -> None:
    small = ("--users", "40", "--rounds", "2", "--seconds", "0.1", "--in-flight", "4")
    command = [sys.executable, "-m", "bench.migrate", *small]
    completed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert completed.returncode == 0, completed.stderr
    head, *rows = [line.split() for line in completed.stdout.splitlines()]
    assert head[:3] == ["transport", "checks", "req/s"]
    assert [row[:2] for row in rows[:6]] == [
        [transport, when] for transport in ("native", "grpcio") for when in ("before", "during", "after")
    ]
    assert all(float(figure.replace(",", "")) > 0 for row in rows[:6] for figure in row[2:])
    assert [row[:4] for row in rows[6:]] == [
        [f"{transport}:", "40", "subscriptions", "moved"] for transport in ("native", "grpcio")
    ]
