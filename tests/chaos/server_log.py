"""What the server logs in a test's own process."""

from io import StringIO

import structlog


class ServerLog:
    """The warnings and errors since the last `clear`, with their tracebacks."""

    def __init__(self) -> None:
        self._file = StringIO()
        structlog.configure(
            processors=[structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)],
            wrapper_class=structlog.make_filtering_bound_logger("warning"),
            logger_factory=structlog.WriteLoggerFactory(self._file),
        )

    def __str__(self) -> str:
        return self._file.getvalue()

    def clear(self) -> None:
        """Forget what was logged so far."""
        self._file.seek(0)
        self._file.truncate()
