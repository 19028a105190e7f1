"""A program that uses a feature by a lease until it is ended, and counts in a file what it was allowed to use.

    using.py ADDRESS USER FEATURE FILE MODE [sync|async]

MODE: `loop` goes on for ever, `exit` ends after 500 uses without closing its client, `handler` has a handler of its own
for SIGTERM that raises SystemExit(7), `ignore` one that only prints, `off` does not handle SIGTERM.
"""

import asyncio
import signal
import struct
import sys
import time
from mmap import mmap
from typing import Any

import canuse

address, user_id, feature_id, path, mode, kind = sys.argv[1:]
lease = canuse.Lease(max_share=0.5, ttl_seconds=8, report_seconds=1, settle_on_sigterm=mode != "off")


def exit_with_7(*_: object) -> None:
    raise SystemExit(7)


def only_print(*_: object) -> None:
    sys.stdout.write("told to end\n")
    sys.stdout.flush()


class Counted:
    """Units that were allowed, in a file that survives the process."""

    def __init__(self) -> None:
        self.file = open(path, "r+b")  # noqa: SIM115
        self.map = mmap(self.file.fileno(), 8)
        self.yes = 0
        self.told = False

    def note(self, answer: canuse.UseFeatureAnswer) -> bool:
        """Count an answer; return whether to go on."""
        self.yes += bool(answer)
        struct.pack_into("<q", self.map, 0, self.yes)
        if answer.local and not self.told:
            self.told = True
            sys.stdout.write("local\n")
            sys.stdout.flush()
        return mode != "exit" or self.yes < 500


def main() -> None:
    counted = Counted()
    client = canuse.Client(address, timeout_seconds=30, leases={feature_id: lease})
    while counted.note(client.use_feature(user_id, feature_id)):
        time.sleep(0.0005)


async def main_async() -> None:
    counted = Counted()
    client: Any = canuse.AsyncClient(address, timeout_seconds=30, leases={feature_id: lease})
    while counted.note(await client.use_feature(user_id, feature_id)):
        await asyncio.sleep(0.0005)


if mode == "handler":
    signal.signal(signal.SIGTERM, exit_with_7)
elif mode == "ignore":
    signal.signal(signal.SIGTERM, only_print)
if kind == "async":
    asyncio.run(main_async())
else:
    main()
