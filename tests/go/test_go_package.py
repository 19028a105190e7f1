"""The package for Go, in programs that a user of it could write."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.documented_code import documented_program
from support.load import running
from support.migrations import of, publish
from support.processes import Canuse
from support.refusing_server import RETRIES, Retries, refusing_server, write_service_config
from support.resources import consumable, package, unique
from support.tools import ROOT, tool

PROGRAMS: Final = ROOT / "tests" / "go"
TIMEOUT_SECONDS: Final = 600
"""The first time everything is downloaded and compiled."""


def go(*arguments: str, cwd: Path = PROGRAMS) -> str:
    """Run a command of Go, which has to succeed; return what it prints."""
    command = [tool("go"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that requires keys."""
    with authenticated_server(Canuse(tmp_path_factory.mktemp("go"))) as server:
        yield server


def test_a_program_calls_a_server_and_reads_a_stream_and_the_details_of_errors(
    server: AuthenticatedServer, tmp_path: Path
) -> None:
    with server.client() as client:
        feature, user = consumable(client), client.create_user(unique("user")).id
        package_id = package(client, [of(feature, 5)])
        client.subscribe(user, [package_id])
        publish(client, package_id, of(feature, 6))
    config = write_service_config(tmp_path)
    arguments = (server.canuse.address, server.admin, str(config), user, feature, package_id)
    assert json.loads(go("run", "./calls", *arguments)) == {
        "Recorded": True,
        "Access": True,
        "Reason": "REASON_WITHIN_BUDGET",
        "Used": 3,
        "Code": "InvalidArgument",
        "Reasons": ["INVALID_FIELD"],
        "Fields": ["user_id"],
        "Migrated": 1,
        "Messages": 1,
        "LateError": "DeadlineExceeded",
    }


@pytest.mark.parametrize("retries", RETRIES)
def test_a_program_retries_what_the_service_config_says(tmp_path: Path, retries: Retries) -> None:
    config = write_service_config(tmp_path, *retries.options)
    with refusing_server() as (address, calls):
        assert json.loads(go("run", "./retries", address, str(config))) == retries.statuses
        assert calls == retries.calls


def test_the_package_compiles_with_the_versions_that_it_names() -> None:
    go("vet", "-mod=readonly", "./...", cwd=ROOT / "client" / "go")


def test_the_generated_code_of_the_packages_is_that_of_the_definitions() -> None:
    """Of both packages: one run of buf generates them."""
    tool("npm")
    tool("go")
    command = [sys.executable, "-m", "tools.generate_clients", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_in_the_docs_reads_an_answer_and_an_error(tmp_path: Path) -> None:
    write_service_config(tmp_path)
    with running(Canuse(tmp_path, "--demo")) as demo:
        changes = {"127.0.0.1:50051": demo.address, "service-config.json": str(tmp_path / "service_config.json")}
        (tmp_path / "main.go").write_text(documented_program("docs/languages.md", "go", changes), encoding="utf-8")
        output = go("run", str(tmp_path / "main.go"))
    assert output == "true REASON_WITHIN_BUDGET 5\nNotFound FEATURE_NOT_FOUND\n"
