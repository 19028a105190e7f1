"""Ctrl-C ends a command at any moment, with exit status 130 and without a traceback.

While a command runs, Ctrl-C raises KeyboardInterrupt, so that it cleans up. Before and after, it ends the process at
once: raised in the middle of an import or while Python ends, the exception may become another one, or get lost.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

EXIT_INTERRUPTED: Final = 130


def end_at_once() -> None:
    """Let Ctrl-C end the process at once."""
    _set(_end)


def raise_exception() -> None:
    """Let Ctrl-C raise KeyboardInterrupt."""
    _set(signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


def _set(handler: Callable[[int, FrameType | None], Any]) -> None:
    # A background job of a shell ignores Ctrl-C, and goes on to do so.
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end):
        signal.signal(signal.SIGINT, handler)
