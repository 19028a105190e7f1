"""`python -m bench`: a small run of everything. Speed is not asserted."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from support.processes import Canuse, RedisServer
from support.tools import ROOT

CANUSE = "{python} -m canuse_server serve --transport grpcio --listen {{address}} --redis-url {{redis_url}}"
SMALL = ("--rounds", "1", "--seconds", "0.05")


def bench(*options: str) -> "subprocess.CompletedProcess[str]":
    """Run the bench."""
    command = [sys.executable, "-m", "bench", *SMALL, *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def test_a_run_prints_a_table_and_ratios_and_writes_json_and_a_picture(tmp_path: Path) -> None:
    other = CANUSE.format(python=sys.executable)
    scale = ("--users", "30", "--in-flight", "1", "40", "--methods", "CanUse", "UseFeature", "BatchCanUse")
    names = ("native", "plain", "other")
    which = ("--built-in", *names[:2], "--candidate", f"other={other}", "--baseline", "plain")
    completed = bench(*which, *scale, "--out", str(tmp_path))
    assert completed.returncode == 0, completed.stderr
    report = json.loads((tmp_path / "bench.json").read_text())
    measured = {(row["users"], row["method"], row["in_flight"], row["candidate"]) for row in report["rows"]}
    calls = {"CanUse", "UseFeature"}
    assert {(30, m, n, c) for m in calls for n in (1, 40) for c in names} <= measured
    for row in report["rows"]:
        assert row["calls_per_second"] > 0
        assert row["p50_us"] <= row["p99_us"] <= row["p999_us"]
        assert row["server_bytes"] > 0
        assert row["store_cpu_us"] > 0
        [one] = row["rounds"]
        assert one["checked"]
    assert any("plain, 30 users: has no BatchCanUse" in note for note in report["notes"])
    table, costs, ratios = completed.stdout.split("\n\n")
    assert len(table.splitlines()) == 1 + len(report["rows"])
    assert "BatchCanUse" in costs
    assert "times plain" in ratios
    texts = {element.text for element in ET.parse(tmp_path / "bench.svg").iter()}
    assert {*names, "CanUse, 30 users: items/s", "UseFeature, 30 users: latency"} <= texts


def test_a_server_elsewhere_is_measured_and_checked_where_its_store_is_known(
    redis: RedisServer, tmp_path: Path
) -> None:
    server = Canuse(tmp_path, "--redis-url", redis.url).start()
    known = ("--address", f"there={server.address},{redis.url}", "--methods", "UseFeature", "--in-flight", "8")
    unknown = ("--address", f"there={server.address}", "--methods", "UseFeature", "--in-flight", "8")
    try:
        for options, checked in ((known, True), (unknown, False)):
            completed = bench("--built-in", *options, "--users", "3", "5", "--out", str(tmp_path))
            assert completed.returncode == 0, completed.stderr
            report = json.loads((tmp_path / "bench.json").read_text())
            assert [row["rounds"][0]["checked"] for row in report["rows"]] == [checked, checked]
            assert all(row["server_cpu_us"] is None for row in report["rows"])
            assert ("no counter in a store: there" in completed.stderr) is not checked
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ("it=no-such-program", "it: no-such-program: No such file"),
        (f"it={sys.executable} -c 'raise SystemExit(\"out of order\")'", "it: it did not start:\nout of order"),
        ("it={nothing}", "braces"),
        ("nothing", "NAME="),
    ],
)
def test_a_candidate_that_can_not_be_measured_is_named_in_words(candidate: str, words: str) -> None:
    completed = bench("--built-in", "--candidate", candidate)
    assert completed.returncode == 1
    assert words in completed.stderr
    assert "Traceback" not in completed.stderr


def test_a_peer_whose_answers_are_no_yes_ends_the_run(tmp_path: Path) -> None:
    # This canuse does not know the users: each call ends with NOT_FOUND.
    server = Canuse(tmp_path).start()
    try:
        completed = bench("--built-in", "--address", f"empty={server.address}", "--methods", "CanUse")
    finally:
        server.stop()
    assert completed.returncode == 1
    assert "empty: CanUse: grpc-status 5" in completed.stderr
