"""The package's types, as strict type checkers see them in the code of a caller."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.npm import Npm
from support.tools import ROOT

CALLER = ROOT / "tests" / "package" / "caller.py"
WRONG = """
import canuse

client = canuse.Client(unavailable={"api-calls": "perhaps"})
client.can_use(124, "api-calls")


@client.limited("api-calls", user="user_id")
def search(user_id: str) -> str:
    return user_id


search(5)
"""
"""Three mistakes, in lines 4, 5 and 13."""

pytestmark = pytest.mark.extended


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with the code of a caller, outside of this project and its settings."""
    shutil.copy(CALLER, tmp_path / "caller.py")
    (tmp_path / "wrong.py").write_text(WRONG)
    return tmp_path


def mypy(folder: Path, module: str) -> subprocess.CompletedProcess[str]:
    """Check a module."""
    options = ["--strict", "--config-file=", "--no-incremental", f"--cache-dir={folder}/cache"]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, module], capture_output=True, text=True, cwd=folder, check=False
    )


def test_mypy_accepts_the_code_of_a_caller_in_its_strict_mode(code: Path) -> None:
    checked = mypy(code, "caller.py")
    assert checked.returncode == 0, checked.stdout


def test_mypy_finds_what_is_wrong(code: Path) -> None:
    checked = mypy(code, "wrong.py")
    assert [line.split(":")[1] for line in checked.stdout.splitlines()[:-1]] == ["4", "5", "13"], checked.stdout


def test_pyright_accepts_the_code_of_a_caller_in_its_strict_mode(code: Path, npm: Npm) -> None:
    (code / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    npm.run("pyright", "--pythonpath", sys.executable, "caller.py", cwd=code)
