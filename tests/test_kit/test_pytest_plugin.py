"""The fixtures for pytest, in a project of its own: the tests of docs/testing.md pass there."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.documented_code import code_blocks
from support.tools import ROOT

PLUGIN = "canuse_server.pytest_plugin"
IN_TWO_TESTS = """
import os, canuse

def test_the_first(canuse_server):
    canuse_server.user("124")
    with canuse.Client(os.environ["CANUSE_SERVER"]) as client:
        assert [user.id for user in client.list_users()] == ["124"]
    canuse_server.advance(days=400)
    canuse_server.set_store_available(False)

def test_the_second(canuse_server, canuse_client):
    from datetime import datetime, timedelta, UTC
    assert list(canuse_client.list_users()) == []
    assert canuse_server.now - datetime.now(UTC) < timedelta(minutes=5)
    canuse_client.close()

def test_the_third(canuse_client, canuse_server):
    assert list(canuse_client.list_users()) == []
    assert canuse_server.http_url
"""
FAILED_START = """
import pytest

@pytest.fixture(scope="session")
def canuse_settings():
    return {"ledger_max_age_seconds": 0}

def test_it(canuse_server):
    pass
"""


def run(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder with some modules, as a project without this one's settings does."""
    for name, code in files.items():
        (folder / f"{name}.py").write_text(code)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CANUSE_"))}
    # The plugin is given by name as well: the installed package may be older than its list of plugins.
    command = [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", "-p", "no:asyncio"]
    return subprocess.run(
        [*command, "--rootdir", str(folder), "-c", "/dev/null", *map(str, folder.glob("test_*.py"))],
        capture_output=True,
        text=True,
        cwd=folder,
        env=env,
        check=False,
    )


@pytest.mark.extended
def test_the_documented_tests_pass(tmp_path: Path) -> None:
    first, settings, fake = code_blocks("docs/testing.md", "python")
    completed = run(tmp_path, test_first=first, test_fake=fake, test_isolation=IN_TWO_TESTS, conftest=settings)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "7 passed" in completed.stdout


@pytest.mark.extended
def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    completed = run(tmp_path, test_one=FAILED_START)
    assert "ServerNotStarted" in completed.stdout
    assert "ledger_max_age_seconds" in completed.stdout


def test_the_plugin_is_registered_and_imports_nothing_by_itself() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
    code = (
        f"import sys, {PLUGIN}; sys.exit(str([name for name in ('canuse', 'grpc', 'pydantic') if name in sys.modules]))"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert completed.stderr == "[]\n"
