"""The limit of open files of this process; each connection is one."""

import resource
from contextlib import suppress
from typing import Final

MAX_FILES: Final = 1 << 20


def raise_nofile_limit() -> None:
    """Raise the soft limit to the hard limit, or to MAX_FILES.

    The default of many systems is 1024, for old programs: then some hundred idle connections would block all others.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < target:
        # macOS has a lower limit than the one it reports.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
