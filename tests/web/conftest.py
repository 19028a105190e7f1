"""The package for TypeScript, built and installed as npm would, and programs that use it."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from support.npm import PACKAGES, Npm
from support.tools import ROOT

PACKAGE: Final = ROOT / "client" / "typescript"


@pytest.fixture(scope="session")
def package(npm: Npm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built package, installed in its `node_modules`, beside the other packages from npm."""
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "node_modules").symlink_to(npm.node_modules)
    source, installed = folder / "source", folder / "programs" / "node_modules"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
    npm.run("tsc", "--project", source)
    installed.mkdir(parents=True)
    npm.pack(source, installed)
    return folder / "programs"


@pytest.fixture(scope="session")
def programs(npm: Npm, package: Path) -> Path:
    """A folder with the programs of `tests/web/programs`, compiled with strict types."""
    shutil.copytree(PACKAGES / "programs", package, dirs_exist_ok=True)
    npm.run("tsc", "--project", package)
    return package
