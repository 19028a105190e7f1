"""Generate the code of the packages for TypeScript and Go from protos/, as protos/buf.gen.yaml says.

    python -m tools.generate_clients [--check]

With `--check` nothing is written: it fails if the committed code differs from the generated code. It needs Node.js and
Go, which download the generators.
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

from tools.formatting import ROOT

GENERATED: Final = ("client/typescript/src/gen/**/*_pb.ts", "client/go/**/*.pb.go")
"""The paths of generated files."""


def files(folder: Path) -> set[Path]:
    """Return the generated files below a folder, relative to it."""
    return {path.relative_to(folder) for pattern in GENERATED for path in folder.glob(pattern)}


def generate(folder: Path) -> None:
    """Write the generated files below a folder."""
    buf = Path(sysconfig.get_path("scripts"), "buf")
    subprocess.run([buf, "generate", "--template", "protos/buf.gen.yaml", "--output", folder], check=True, cwd=ROOT)


def main() -> None:
    """Generate the code, and write or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder)
        fresh, committed = files(folder), files(ROOT)
        if check:
            same = {path for path in fresh & committed if filecmp.cmp(folder / path, ROOT / path, shallow=False)}
            if stale := sorted(map(str, (fresh | committed) - same)):
                sys.exit("differs from protos/; run `make protos`:\n" + "\n".join(stale))
            return
        for path in committed:
            (ROOT / path).unlink()
        for path in fresh:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / path, ROOT / path)


if __name__ == "__main__":
    main()
