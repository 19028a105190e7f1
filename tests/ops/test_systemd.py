"""The unit for systemd, and the sample of all settings that it starts with."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from support.load import running
from support.message_clients import Client
from support.processes import Canuse
from support.tools import ROOT, tool

pytestmark = pytest.mark.extended
UNIT: Final = ROOT / "deploy/systemd/canuse.service"
MAX_EXPOSURE: Final = 20
"""In tenths, of 100: systemd calls it OK."""


def test_systemd_accepts_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    systemd_analyze = tool("systemd-analyze")
    unit = tmp_path / "canuse.service"
    # It looks whether the program is there.
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    verified = subprocess.run([systemd_analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    command = [systemd_analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(unit)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_server_starts_as_the_unit_says(tmp_path: Path) -> None:
    [line] = re.findall(r"(?m)^ExecStart=/opt/canuse/bin/canuse serve (.*)$", UNIT.read_text())
    assert line == "--config /etc/canuse/canuse.toml"
    canuse = Canuse(tmp_path, "--config", str(ROOT / "deploy/canuse.toml"))
    with running(canuse), Client(canuse.address) as client:
        assert list(client.list_users()) == []
    assert canuse.process is not None
    assert canuse.process.returncode == 0
