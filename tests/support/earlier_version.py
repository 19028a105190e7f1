"""An earlier version of canuse, with the code that git has of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, cast

import pytest

from support.processes import Canuse
from support.tools import ROOT, tool

RELEASE: Final = "79a2cc1a7f5efc210abe1cd5724520fa268c3e3d"
"""The commit of the last release, 0.2.0: a clone may lack its tag."""


def extract(folder: Path) -> str:
    """Write the code of the last release into a folder; return its name. Skips the test where git does not have it."""
    tags = _git("tag", "--list", "v*", "--sort=-v:refname", "--merged", "HEAD").split()
    version = next(iter(tags), RELEASE)
    archive = folder / "code.tar"
    _git("archive", "--output", str(archive), version, "client", "server")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    archive.unlink()
    return version


def _git(*arguments: str) -> str:
    done = subprocess.run([tool("git"), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("git does not have the code of the last release")
    return done.stdout


class EarlierCanuse(Canuse):
    """A server of the version in `code`, with the packages that are installed for this one."""

    def __init__(self, code: Path, folder: Path, *options: str) -> None:
        super().__init__(folder, *options)
        self.env["PYTHONPATH"] = os.pathsep.join(str(code / part) for part in ("client", "server"))

    def launch(self) -> Canuse:
        """See Canuse."""
        command = [sys.executable, "-m", "canuse_server", "serve", *self.options]
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                command, env=os.environ | self.env, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True
            )
        # It has the part of the interface that is used.
        self.process = cast("Any", process)
        return self

    def module(self) -> str:
        """Return the file that the server's code is in."""
        command = [sys.executable, "-c", "import canuse_server; print(canuse_server.__file__)"]
        return subprocess.run(command, env=os.environ | self.env, capture_output=True, text=True, check=True).stdout
