"""The versions that `make test-lowest` and `make test-newest` run with are the ones that they are named after."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from tools import newest_python

from support.tools import ROOT

pytestmark = pytest.mark.extended

NOT_LOCKED = {"dev", "testing"}
"""Extras of which `make test-lowest` needs nothing, or nothing more."""


def project() -> dict[str, Any]:
    """Return the description of the package."""
    described: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return described


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    # googleapis-common-protos>=1.70 allowed versions that do not go with the protobuf that canuse needs.
    locked = dict(
        re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements-lowest.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    extras = project()["optional-dependencies"]
    lines = [*project()["dependencies"], *(line for name in extras.keys() - NOT_LOCKED for line in extras[name])]
    bounds = {
        canonicalize_name(requirement.name): Version(limit.version)
        for requirement in map(Requirement, lines)
        for limit in requirement.specifier
        if limit.operator in (">=", "==")
    }
    assert len(bounds) > 30
    assert bounds == {name: Version(locked[name]) for name in bounds}


def test_the_newest_python_is_found_and_no_prerelease_or_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    assert newest_python.newest() is None
    for place, says in {
        "python3.27": "3 27 0",
        "python3.28": "",
        "pyenv/versions/3.29.1/bin/python3": "3 29 1",
        "uv/cpython-3.9.2-linux/bin/python3": "3 9 2",
    }.items():
        program = tmp_path / place
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {says}\n")
        program.chmod(0o755)
    (tmp_path / "python3.30").write_text("not a program")
    assert newest_python.newest() == tmp_path / "pyenv/versions/3.29.1/bin/python3"


def test_a_python_says_its_version() -> None:
    found = subprocess.run([sys.executable, "-c", newest_python.PROGRAM], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(number) for number in sys.version_info[:3]]
