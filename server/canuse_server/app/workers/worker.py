"""A worker process: `python -m canuse_server.app.workers.worker`, with the settings as JSON on stdin.

It prints the name of its transport when it is ready.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path

from canuse_server.app.ready import Ready
from canuse_server.app.run import START_ERRORS, run_until_signal
from canuse_server.app.wiring import serve_in_process
from canuse_server.app.workers.reports import WorkerReports
from canuse_server.app.workers.supervisor import KEYS_SEEN, METRICS, REPORTS
from canuse_server.runtime import logs, standard_error
from canuse_server.runtime.standard_output import print_line
from canuse_server.settings import Settings


def main() -> None:
    """Serve until SIGTERM."""
    standard_error.install()
    settings = Settings.model_validate_json(sys.stdin.read())
    logs.configure(settings.log_level, share_stderr=True)

    def on_ready(ready: Ready) -> None:
        print_line(ready.transport)  # The parent process reads it.

    try:
        keys_seen = KEYS_SEEN in sys.argv
        reports = None
        if REPORTS in sys.argv:
            at = sys.argv.index(REPORTS)
            own, supervisor = map(Path, sys.argv[at + 1 : at + 3])
            reports = WorkerReports(own, supervisor, with_metrics=METRICS in sys.argv)
        serving = partial(serve_in_process, settings, share_port=True, keys_seen=keys_seen, reports=reports)
        asyncio.run(run_until_signal(serving, on_ready))
    except START_ERRORS as error:
        sys.exit(f"canuse: {error}")


if __name__ == "__main__":
    main()
