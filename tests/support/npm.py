"""Packages from npm, programs that run in Node.js, and bundles of modules for a browser.

`tests/web/package.json` names the packages, with exact versions. They are installed once for each version of its lock
file, outside the source tree.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from support.tools import ROOT, tool

PACKAGES: Final = ROOT / "tests" / "web"
_CACHE: Final = ROOT / ".tools" / "npm"
_INPUTS: Final = ("package.json", "package-lock.json", ".npmrc")
TIMEOUT_SECONDS: Final = 300


class Npm:
    """The installed packages of `tests/web`, in `node_modules`."""

    def __init__(self, folder: Path) -> None:
        self.node_modules = folder / "node_modules"

    def run(
        self, program: str, *arguments: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of a package; it has to succeed."""
        return run(self.node_modules / ".bin" / program, *arguments, cwd=cwd, env=self._env(env))

    def node(
        self, script: Path, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script in Node.js; it has to succeed."""
        return run(tool("node"), script, *arguments, cwd=script.parent, env=self._env(env))

    def pack(self, package: Path, folder: Path) -> None:
        """Pack a package as for a registry, and unpack it in a folder."""
        packed = run(tool("npm"), "pack", "--silent", cwd=package).stdout.strip()
        with tarfile.open(package / packed) as archive:
            archive.extractall(folder, filter="data")
        (folder / "package").rename(folder / json.loads((package / "package.json").read_text())["name"])

    def bundle(self, entry: Path, output: Path, *options: str, platform: str = "browser") -> Path:
        """Bundle a module in JavaScript or TypeScript, and all that it imports, into one file; return that.

        `platform` is where it runs, `browser` or `node`; `options` go to esbuild.
        """
        # What runs in Node.js may still require modules of Node.js by that name.
        banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"
        node = [f"--banner:js={banner}"] if platform == "node" else ['--define:process.env.NODE_ENV="production"']
        arguments = ["--bundle", "--format=esm", "--jsx=automatic", "--log-level=warning", f"--platform={platform}"]
        self.run("esbuild", entry, f"--outfile={output}", *arguments, *node, *options)
        return output

    def _env(self, changes: dict[str, str] | None) -> dict[str, str]:
        # esbuild looks there for what it does not find beside the module that imports it.
        return {**os.environ, "NODE_PATH": str(self.node_modules), **(changes or {})}


@pytest.fixture(scope="session")
def npm() -> Npm:
    """The packages of `tests/web`, installed."""
    tool("node")
    return Npm(_installed(tool("npm")))


def _installed(npm: str) -> Path:
    """Return the folder with the packages; install them if no other process has."""
    inputs = b"".join((PACKAGES / name).read_bytes() for name in _INPUTS)
    folder = _CACHE / hashlib.sha256(inputs).hexdigest()[:16]
    with _locked(folder.with_suffix(".lock")):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            for name in _INPUTS:
                shutil.copy(PACKAGES / name, unfinished)
            run(npm, "ci", "--ignore-scripts", cwd=unfinished)
            unfinished.rename(folder)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(
    program: str | Path, *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program; it has to succeed."""
    completed = subprocess.run(
        [program, *arguments], capture_output=True, text=True, cwd=cwd, env=env, timeout=TIMEOUT_SECONDS, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed
