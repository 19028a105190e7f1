"""Builds the page: installs its packages from npm, and bundles its modules with esbuild."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent / "web"
PACKAGES: Final = Path(__file__).parent.parent.parent / ".tools" / "example-page"
"""Where the packages are installed: nothing is built among the sources."""
STATIC: Final = ("index.html", "style.css")
MANIFESTS: Final = ("package.json", "package-lock.json", ".npmrc")


def build_page(folder: Path) -> None:
    """Write the page into a folder."""
    modules = _install()
    folder.mkdir()
    for name in STATIC:
        shutil.copy(SOURCES / name, folder)
    _run(
        str(modules / ".bin" / "esbuild"),
        str(SOURCES / "main.tsx"),
        f"--outfile={folder / 'page.js'}",
        "--bundle",
        "--minify",
        "--format=esm",
        "--jsx=automatic",
        "--log-level=warning",
        '--define:process.env.NODE_ENV="production"',
        # It looks there for what is not beside the sources.
        env={**os.environ, "NODE_PATH": str(modules)},
    )


def _install() -> Path:
    """Return the folder with the packages; install them unless those of this lock file are there."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("the example needs Node.js with npm")
    modules, installed = PACKAGES / "node_modules", PACKAGES / "installed.json"
    lock = (SOURCES / "package-lock.json").read_bytes()
    if not installed.exists() or installed.read_bytes() != lock:
        PACKAGES.mkdir(parents=True, exist_ok=True)
        for name in MANIFESTS:
            shutil.copy(SOURCES / name, PACKAGES)
        _run(npm, "ci", "--ignore-scripts", "--silent", cwd=PACKAGES)
        installed.write_bytes(lock)
    return modules


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    if subprocess.run(command, cwd=cwd, env=env, stdout=sys.stderr, check=False).returncode:
        sys.exit(f"{Path(command[0]).name} failed")
