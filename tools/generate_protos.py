"""Generate the Python code of protos/: messages, stubs and their types. That of the API goes into client/canuse, that
which the server alone needs into server/canuse_server; see OUTPUTS.

    python tools/generate_protos.py [--check | --image PATH]

With `--check` nothing is written: it fails if what is committed is not what the definitions give. With `--image` only
an image of the definitions and of all that they import is written, for buf: the imports come from Python packages,
where buf does not look.
"""

import argparse
import filecmp
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.rpc import status_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUTPUTS = {
    "canuse/storage/v1": ROOT / "server/canuse_server/store/codec",
    "canuse": ROOT / "client/canuse",
    "canuse_server": ROOT / "server/canuse_server",
}
"""Where the code of the definitions in each folder of protos/ goes: the first folder that holds a file says it."""


def run_protoc(*options: str) -> None:
    """Run protoc on all definitions."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    well_known, googleapis = Path(protoc.__file__).parent / "_proto", Path(status_pb2.__file__).parents[2]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", f"-I{googleapis}", *options, *sources]):
        sys.exit("protoc failed")


def generate(destination: Path) -> None:
    """Write the generated modules below `destination`."""
    # protoc looks for the plugins of mypy-protobuf on the path, where they are not unless the environment is active.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    run_protoc(*(f"--{kind}_out={destination}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")))
    for path in destination.rglob("*_pb2_grpc.py*"):
        if not path.with_name(path.name.replace("_pb2_grpc.py", "_pb2.py")).exists() or "Stub" not in path.read_text():
            path.unlink()


def modules(folder: Path) -> Iterator[Path]:
    """Yield the generated modules below a folder."""
    return (path for path in folder.rglob("*_pb2*.py*") if path.suffix in (".py", ".pyi"))


def target(name: Path) -> Path:
    """Return where a generated module goes, by its path among what is generated."""
    folder, output = next((Path(folder), output) for folder, output in OUTPUTS.items() if name.is_relative_to(folder))
    return output / name.relative_to(folder)


def differences(fresh: dict[Path, Path], committed: set[Path]) -> list[str]:
    """Return the paths where what is generated and what is committed differ, or one of the two is missing."""
    return [
        str(path.relative_to(ROOT))
        for path in sorted(fresh.keys() | committed)
        if path not in fresh or path not in committed or not filecmp.cmp(fresh[path], path, shallow=False)
    ]


def main() -> None:
    """Generate, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--image", metavar="PATH", help="write an image of the definitions instead")
    arguments = parser.parse_args()
    if arguments.image:
        run_protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={arguments.image}")
        return
    check = arguments.check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = {target(path.relative_to(folder)): path for path in modules(Path(folder))}
        committed = {path for output in OUTPUTS.values() for path in modules(output)}
        stale = differences(fresh, committed)
        if check:
            if stale:
                sys.exit("not what protos/ gives; run `make protos`:\n" + "\n".join(stale))
            return
        for path in committed:
            path.unlink()
        for destination, path in fresh.items():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, destination)


if __name__ == "__main__":
    main()
