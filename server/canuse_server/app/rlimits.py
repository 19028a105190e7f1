"""How many files this process may have open: each connection is one."""

import resource
from contextlib import suppress
from typing import Final

MAX_FILES: Final = 1 << 20


def raise_nofile_limit() -> None:
    """Raise the limit to what the system lets this process have.

    Many systems give 1024 at first, for the sake of old programs: some hundred idle connections would then keep
    everybody else out.
    """
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if most == resource.RLIM_INFINITY else min(most, MAX_FILES)
    if least != resource.RLIM_INFINITY and least < wanted:
        # macOS has a lower limit than the one it names.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
