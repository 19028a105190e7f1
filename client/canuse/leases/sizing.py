"""How many units to reserve ahead. No I/O."""

import math
from typing import Final

from canuse import v1
from canuse.enums import Reason
from canuse.leases.settings import Lease

WORTHWHILE_USES: Final = 4
"""A lease for fewer uses than this takes more calls than it saves."""
MIN_ELAPSED_SECONDS: Final = 0.1
"""Uses of a shorter time say nothing about the rate."""
UNMETERED: Final = frozenset({Reason.REASON_UNLIMITED, Reason.REASON_OVERAGE})
"""The reasons of a yes that does not depend on what is left."""


def available(reason: int, consumption: v1.Consumption) -> int | None:
    """Return the units that are left, by the last answer. None: there is no limit to them."""
    return consumption.remaining if consumption.HasField("remaining") and reason not in UNMETERED else None


def size(rate: float, lease: Lease, left: int | None) -> int:
    """Return how many units to hold at a rate of units per second, with so many `left` of the budget in all."""
    wanted = min(math.ceil(rate * lease.ahead_seconds), lease.max_units)
    return wanted if left is None else min(wanted, math.floor(left * lease.max_share))


class Candidate:
    """Uses of a user that the server decided: whether a lease would be worthwhile."""

    __slots__ = ("_since", "_units", "_uses")

    def __init__(self, now: float) -> None:
        """Begin to observe."""
        self._since = now
        self._uses = self._units = 0

    def size_after(self, delta: int, now: float, lease: Lease, left: int | None) -> int:
        """Note a use; return how many units to reserve, 0 for none."""
        if now - self._since > lease.ahead_seconds:
            self._since, self._uses, self._units = now, 0, 0
        self._uses += 1
        self._units += delta
        if self._uses < 2:
            return 0
        wanted = size(self._units / max(now - self._since, MIN_ELAPSED_SECONDS), lease, left)
        return wanted if wanted >= WORTHWHILE_USES * delta else 0


class Rate:
    """Units used per second, of late: it follows a rise at once, and a fall by half with each note."""

    __slots__ = ("_noted_at", "per_second")

    def __init__(self, now: float, per_second: float) -> None:
        """Begin with a first estimate."""
        self.per_second = per_second
        self._noted_at = now

    def note(self, units: int, now: float) -> bool:
        """Note the units used since the last note; return whether enough time has passed to do so."""
        elapsed = now - self._noted_at
        if elapsed < MIN_ELAPSED_SECONDS and units <= self.per_second * MIN_ELAPSED_SECONDS:
            return False
        measured = units / max(elapsed, MIN_ELAPSED_SECONDS)
        self.per_second = max(measured, (self.per_second + measured) / 2)
        self._noted_at = now
        return True
