"""The code that protoc-gen-es generates from protos/."""

import json
import sysconfig
from pathlib import Path

import pytest
from tools.generate_protos import run_protoc

from support.npm import Npm, run
from support.tools import ROOT


@pytest.fixture(scope="session")
def generated(npm: Npm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated code, in TypeScript."""
    folder = tmp_path_factory.mktemp("generated")
    image = folder / "protos.binpb"
    run_protoc("--include_imports", f"--descriptor_set_out={image}")
    generator = str(npm.node_modules / ".bin" / "protoc-gen-es")
    plugin = {"local": [generator], "out": str(folder), "opt": ["target=ts"], "include_imports": True}
    template = json.dumps({"version": "v2", "plugins": [plugin]})
    run(Path(sysconfig.get_path("scripts"), "buf"), "generate", image, "--template", template, cwd=ROOT)
    return folder
