"""Become another program that gets SIGTERM when the process that started it dies, even by `kill -9` (Linux only).

    python _child.py <pid of the parent> <program> [argument ...]

Run by its path, not as a module: that way no package `__init__` is imported on the way to the exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; kept over exec


def main(parent_pid: int, command: list[str]) -> None:
    """Ask the kernel for the signal, then exec `command`; it does not return. Ends with exit code 1 if it can't."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    # A parent that died before the prctl sends nothing any more.
    if os.getppid() != parent_pid:
        sys.exit("the parent died before its child was ready")
    os.execv(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
