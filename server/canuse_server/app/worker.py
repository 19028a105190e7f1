"""One of several processes that serve: `python -m canuse_server.worker`, with the settings as JSON on stdin.

It prints the name of its transport when it answers.
"""

import asyncio
import sys
from functools import partial

from canuse_server.app.run import START_ERRORS, until_ended
from canuse_server.app.supervisor import KEYS_SEEN
from canuse_server.app.wiring import Ready, serve_here
from canuse_server.runtime import logs, standard_error
from canuse_server.settings import Settings


def main() -> None:
    """Serve until SIGTERM."""
    standard_error.install()
    settings = Settings.model_validate_json(sys.stdin.read())
    logs.configure(settings.log_level)

    def ready(how: Ready) -> None:
        print(how.transport, flush=True)  # noqa: T201 - the process that keeps the workers waits for it

    try:
        keys_seen = KEYS_SEEN in sys.argv
        asyncio.run(until_ended(partial(serve_here, settings, share_port=True, keys_seen=keys_seen), ready))
    except START_ERRORS as error:
        sys.exit(f"canuse: {error}")


if __name__ == "__main__":
    main()
