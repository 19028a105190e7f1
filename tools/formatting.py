"""Formatting of generated code with Ruff."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


def formatted(code: str, path: Path) -> str:
    """Return formatted code with sorted imports and `__all__`; `path` is relative to the root."""
    ruff = Path(sysconfig.get_path("scripts"), "ruff")
    for command in (("check", "--quiet", "--fix-only", "--select", "I,RUF022"), ("format", "--quiet")):
        arguments = [ruff, *command, "--stdin-filename", path, "-"]
        code = subprocess.run(arguments, input=code, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    return code
