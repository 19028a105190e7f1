"""Pauses of a thread that computes for long, while others are called.

A thread that needs Python's global interpreter lock waits for the switch interval, and the batch lane and the event
loop need it several times for a call. While the thread that computes sleeps, they get it at once.
"""

import math
import threading
import time
from typing import Final

WORK_SECONDS: Final = 0.0001
"""Approximate time of work between pauses."""
PAUSE_SECONDS: Final = 0.0002
"""Length of a pause; the system adds some 50 us. Long work takes three times as long for it."""
QUIET_SECONDS: Final = 0.01
"""Time without a call after which there are no pauses."""


class _Calls:
    last_at = -math.inf
    """Time of the latest call, by `time.monotonic`."""


class _Thread(threading.local):
    next_at = math.inf
    """Time of the next pause, by `time.monotonic`."""


CALLS: Final = _Calls()
"""The calls of this process: of the lane, and those of the dispatcher whose answers are small."""
_THREAD: Final = _Thread()


def enable() -> None:
    """Let this thread pause from now on."""
    _THREAD.next_at = 0.0


def pause_if_due() -> None:
    """Pause if this thread has pauses and the next one is due. Long work calls this every few microseconds."""
    now = time.monotonic()
    if now < _THREAD.next_at:
        return
    if now < CALLS.last_at + QUIET_SECONDS:
        time.sleep(PAUSE_SECONDS)
        now = time.monotonic()
    _THREAD.next_at = now + WORK_SECONDS
