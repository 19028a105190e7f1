"""Checks that come in batches again and again, with the response to the last reply of the store.

The store is still asked each time. This saves parsing the same check again and computing the same response from the
same reply, as the lane's cache of repeated requests does for single calls. Only the event loop uses it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from canuse_server.api.hotpath.method import Plan

MAX_CHECKS: Final = 8192
"""Maximum number of checks, and of hashes of those that came once. If there are more, all are dropped."""
MAX_PAYLOAD_BYTES: Final = 256
"""Maximum size of a check. With delta, and ids of 100 bytes, it is smaller."""
MAX_ANSWER_BYTES: Final = 1024
"""Maximum total size of a reply and its response."""


@dataclass(slots=True)
class RepeatedCheck:
    """A planned check.

    `response` is the response to `reply` from `from_ms` to before `until_ms`, by the store's clock.
    """

    plan: "Plan"
    reply: object = None
    response: bytes = b""
    from_ms: int = 0
    until_ms: int = 0


class RepeatedChecks:
    """The checks of one environment, by their bytes: at most 4 KiB each."""

    def __init__(self) -> None:
        self._checks: dict[bytes, RepeatedCheck] = {}
        self._seen: set[int] = set()

    def __len__(self) -> int:
        """Return the number of checks."""
        return len(self._checks)

    def find(self, payload: bytes) -> RepeatedCheck | None:
        """Return a check that was noted, or None."""
        return self._checks.get(payload)

    def note(self, payload: bytes, plan: "Plan") -> RepeatedCheck | None:
        """Note a planned check; return it if it has come before."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            return None
        key = hash(payload)
        if key not in self._seen:
            if len(self._seen) >= MAX_CHECKS:
                self._seen.clear()
            self._seen.add(key)
            return None
        if len(self._checks) >= MAX_CHECKS:
            self._checks.clear()
        check = self._checks[payload] = RepeatedCheck(plan)
        return check
