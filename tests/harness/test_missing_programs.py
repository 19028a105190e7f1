"""Where programs are missing, the tests that need them are skipped and listed, and nothing fails.

One test needed redis-server without the mark that says so, and `make test` ended with an error on a fresh machine.
"""

import os
import re
import subprocess
import sys
from typing import Final

import pytest

from support.tools import ROOT

pytestmark = pytest.mark.extended

SEED_FLOW: Final = (
    "tests/conformance/test_user_journey.py::test_user_is_allowed_until_the_budget_is_used_up_and_again_after_the_reset"
)
ONE_OF_EACH: Final = {
    "redis-server is not installed": (
        "tests/faults/test_store_recovers.py::test_after_the_scripts_are_forgotten_the_next_call_works[redis-native]",
        f"{SEED_FLOW}[grpcio-redis]",
        f"{SEED_FLOW}[native-acl]",
        "tests/store/test_manual_clock.py",
    ),
    "curl is not installed": ("tests/docs/test_readme_story.py::test_the_call_with_curl_in_the_readme_is_answered",),
    "grpcurl is not installed": ("tests/docs/test_readme_story.py::test_the_session_in_the_readme_happens_as_it_says",),
    "envoy is not installed": ("tests/gateway/test_envoy_definitions.py", "tests/gateway/test_envoy_tls.py"),
    "go is not installed": ("tests/go/test_go_package.py::test_the_package_compiles_with_the_versions_that_it_names",),
    "node is not installed": ("tests/web/test_grpc_js.py",),
    "chromium is not installed": ("tests/web/test_connect_clients.py::test_a_page_of_another_origin_cannot_call",),
    "ruby is not installed": ("tests/kana/test_ruby_script.py",),
    "promtool is not installed": ("tests/ops/test_prometheus.py",),
    "atheris is not installed": ("tests/chaos/test_fuzzing.py",),
    "disks can't be mounted here": ("tests/chaos/test_full_disk.py", "tests/chaos/test_power_cut.py"),
    "networks can't be made here": ("tests/chaos/test_partitions.py",),
}
NEED_NOTHING: Final = (
    f"{SEED_FLOW}[native-valkey]",
    "tests/store/test_schema.py",
)


def pytest_without_programs(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest with an empty PATH, and as if no program were installed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CANUSE_", "PYTEST_", "TESTS_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**env, "PATH": "", "TESTS_HIDE_TOOLS": "1"},
        timeout=600,
        check=False,
    )


def test_all_tests_are_collected_without_any_program() -> None:
    completed = pytest_without_programs("--collect-only")
    assert completed.returncode == 0, completed.stdout[-4000:]
    assert int(re.findall(r"(\d+)(?:/\d+)? tests collected", completed.stdout)[0]) > 10_000


def test_tests_whose_program_is_missing_are_listed_as_left_out_and_the_others_pass() -> None:
    completed = pytest_without_programs(*(test for tests in ONE_OF_EACH.values() for test in tests), *NEED_NOTHING)
    assert completed.returncode == 0, completed.stdout[-8000:]
    listed = re.findall(r"^left out: (.*): (\d+) tests$", completed.stdout, re.MULTILINE)
    counts = {reason: int(count) for reason, count in listed}
    assert set(counts) == set(ONE_OF_EACH)
    assert all(counts[reason] >= len(tests) for reason, tests in ONE_OF_EACH.items())
    assert re.search(r"\d+ passed", completed.stdout)
