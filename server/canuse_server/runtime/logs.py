"""Logs to stderr, one line per event: plain text on a terminal, otherwise JSON."""

import json
import logging
import sys
from typing import Any, Final

import structlog

MAX_LINE_BYTES: Final = 4096
"""Maximum size of a line that several processes may write to one pipe without mixing theirs: PIPE_BUF of Linux."""

_JSON: Final = structlog.processors.JSONRenderer()
_CUT: Final = " … "
_CUT_IN_JSON: Final = json.dumps(_CUT)


def configure(level: str, *, share_stderr: bool = False) -> None:
    """Configure logging; `level` is the lowest level that is logged.

    `share_stderr`: other processes write to it, too. Texts are then shortened so that a line fits in one write.
    """
    renderer: structlog.typing.Processor = _JSON
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    elif share_stderr:
        renderer = _render_one_write
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def _render_one_write(logger: Any, name: str, event: structlog.typing.EventDict) -> str:
    """Return an event as JSON that fits in one write, with the end of the line: long texts lose their middle."""
    texts = {key: value if isinstance(value, str) else str(value) for key, value in event.items()}
    while (excess := len(line := str(_JSON(logger, name, event))) + 1 - MAX_LINE_BYTES) > 0:
        longest = max(texts, key=lambda key: len(texts[key]))
        if not texts[longest]:
            break
        event[longest] = texts[longest] = _without_middle(texts[longest], excess)
    return line


def _without_middle(text: str, excess: int) -> str:
    """Return a text that is shorter by about so many bytes of JSON, or an empty one."""
    bytes_in_json = len(json.dumps(text))
    kept = len(text) * (bytes_in_json - excess - len(_CUT_IN_JSON)) // bytes_in_json
    half = min(kept, len(text) - len(_CUT) - 1) // 2
    return f"{text[:half]}{_CUT}{text[-half:]}" if half > 0 else ""
