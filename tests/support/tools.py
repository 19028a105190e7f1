"""Programs the tests use that do not come with Python: without one its tests are left out, and CI insists on all."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
INSIST = os.environ.get("CANUSE_REQUIRE_TOOLS") == "1"


def find(name: str) -> str | None:
    """Return the path of a program, from `.tools/bin` or the PATH.

    Raises:
        RuntimeError: it is not there, and CANUSE_REQUIRE_TOOLS=1 insists on it.
    """
    path = shutil.which(name, path=f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None and INSIST:
        raise RuntimeError(f"{name} is not installed, and CANUSE_REQUIRE_TOOLS=1 insists on it")
    return path


REDIS_SERVER = find("redis-server")
GRPCURL = find("grpcurl")
