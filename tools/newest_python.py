"""Print the path of the newest Python on this machine, for `make test-newest`.

    python -m tools.newest_python

It looks for `python3.12` and later on the PATH, and among the versions that pyenv and uv have installed, without
pre-releases and builds without the GIL. It prints nothing if none is newer than the Python that runs it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MINOR_VERSIONS: Final = range(12, 31)
PROGRAM: Final = """
import sys, sysconfig
if sys.version_info.releaselevel == "final" and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    print(*sys.version_info[:3])
"""


def candidates() -> Iterator[Path]:
    """Yield the programs that may be a Python."""
    home = Path.home()
    for minor in MINOR_VERSIONS:
        if found := shutil.which(f"python3.{minor}"):
            yield Path(found)
    folders = (
        Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions",
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local/share/uv/python")),
    )
    for folder in folders:
        yield from folder.glob("*3.*/bin/python3")


def version(python: Path) -> tuple[int, ...]:
    """Return the version of a Python; an empty one if it is none, or none to test with."""
    try:
        completed = subprocess.run(
            [python, "-I", "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(map(int, completed.stdout.split())) if completed.returncode == 0 else ()


def newest() -> Path | None:
    """Return the newest Python, if it is newer than this one."""
    found = max(((version(python), python) for python in candidates()), default=((), Path()))
    return found[1] if found[0][:2] > sys.version_info[:2] else None


def main() -> None:
    """Print it."""
    if (python := newest()) is not None:
        print(python)


if __name__ == "__main__":
    main()
