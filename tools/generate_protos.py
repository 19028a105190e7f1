"""Generate the Python code of protos/ into client/canuse: messages, stubs and their types.

    python tools/generate_protos.py [--check]

With `--check` nothing is written: it fails if what is committed is not what the definitions give.
"""

import argparse
import filecmp
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUTPUT = ROOT / "client"


def generate(destination: Path) -> None:
    """Write the generated modules below `destination`."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    # protoc looks for the plugins of mypy-protobuf on the path, where they are not unless the environment is active.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    outputs = [f"--{kind}_out={destination}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{Path(protoc.__file__).parent / '_proto'}", *outputs, *sources]):
        sys.exit("protoc failed")
    for path in destination.rglob("*_pb2_grpc.py*"):
        if not path.with_name(path.name.replace("_pb2_grpc.py", "_pb2.py")).exists() or "Stub" not in path.read_text():
            path.unlink()


def generated(folder: Path) -> dict[str, Path]:
    """Return the generated modules below a folder by their path in it."""
    paths = (path for path in folder.rglob("*_pb2*.py*") if path.suffix in (".py", ".pyi"))
    return {str(path.relative_to(folder)): path for path in paths}


def differences(fresh: dict[str, Path], committed: dict[str, Path]) -> list[str]:
    """Return the paths that differ or stand on one side only."""
    return [
        name
        for name in sorted(fresh.keys() | committed.keys())
        if name not in fresh or name not in committed or not filecmp.cmp(fresh[name], committed[name], shallow=False)
    ]


def main() -> None:
    """Generate, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = generated(Path(folder)), generated(OUTPUT)
        stale = differences(fresh, committed)
        if check:
            if stale:
                sys.exit("not what protos/ gives; run `make protos`:\n" + "\n".join(stale))
            return
        for path in committed.values():
            path.unlink()
        for name, path in fresh.items():
            (OUTPUT / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, OUTPUT / name)


if __name__ == "__main__":
    main()
