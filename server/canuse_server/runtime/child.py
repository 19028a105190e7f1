"""Run a program that gets SIGTERM when its parent process dies, even by `kill -9` (Linux only).

    python child.py <pid of the parent> <program> [argument ...]

Run it by its path, not as a module, so that no package is imported before the exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; survives exec


def main(parent_pid: int, command: list[str]) -> None:
    """Request the signal and exec `command`. Exit with status 1 if that fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    # If the parent died before the prctl, there is no signal.
    if os.getppid() != parent_pid:
        sys.exit("the parent died before its child was ready")
    os.execv(command[0], command)  # noqa: S606 - without a shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
