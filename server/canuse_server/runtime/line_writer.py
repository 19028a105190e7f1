"""Lines of JSON on standard error, written by a thread of their own: a slow reader of them delays no call."""

import json
import sys
import threading
from queue import SimpleQueue
from typing import Any, Final

MAX_WAITING: Final = 10_000
"""Maximum number of lines that wait to be written. Further ones are left out."""
CLOSE_SECONDS: Final = 2.0
"""Maximum time to write the lines that wait when the server ends."""


class LineWriter(threading.Thread):
    """Writes lines. `put` may be called from any thread. `contents` names what they are about, in the plural."""

    def __init__(self, contents: str) -> None:
        super().__init__(name=f"canuse-log-{contents}", daemon=True)
        self._contents = contents
        self._waiting: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._left_out = 0

    def put(self, line: dict[str, Any]) -> None:
        """Write a line soon, or leave it out if too many wait."""
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put(line)
            return
        with self._lock:
            self._left_out += 1

    def run(self) -> None:
        """Write lines until the writer is closed."""
        while (line := self._waiting.get()) is not None:
            sys.stderr.write(json.dumps(line) + "\n")
            if left_out := self._take_left_out():
                text = f"lines about {self._contents} were left out: standard error is too slow"
                sys.stderr.write(json.dumps({"event": text, "level": "warning", "count": left_out}) + "\n")

    def close(self) -> None:
        """Write what waits, as far as there is time."""
        self._waiting.put(None)
        self.join(CLOSE_SECONDS)

    def _take_left_out(self) -> int:
        with self._lock:
            left_out, self._left_out = self._left_out, 0
        return left_out
