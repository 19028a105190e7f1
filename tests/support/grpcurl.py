"""The real grpcurl."""

import subprocess

from support.tools import tool


def grpcurl(address: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run grpcurl against an address; `options` come before it."""
    command = [tool("grpcurl"), *options, address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
