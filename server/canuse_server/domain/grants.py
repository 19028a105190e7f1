"""What grants still give."""

from collections.abc import Iterable
from math import inf
from typing import NamedTuple


class GrantBalance(NamedTuple):
    """One grant as decisions see it. `left` None is unlimited; `drawn` is what can still be given back to it."""

    effective_at_ms: int
    end_ms: int | None
    left: int | None
    drawn: int

    def has_ended(self, now_ms: int) -> bool:
        """Whether it gives nothing any more."""
        return self.end_ms is not None and self.end_ms <= now_ms

    def is_open(self, now_ms: int) -> bool:
        """Whether it can be drawn from at a moment."""
        return self.effective_at_ms <= now_ms and not self.has_ended(now_ms)

    def next_change_ms(self, now_ms: int) -> int | None:
        """Return the next moment at which it opens or ends."""
        dates = (self.effective_at_ms, self.end_ms)
        return min((moment for moment in dates if moment is not None and moment > now_ms), default=None)


def granted_since_ms(grants: Iterable[GrantBalance], now_ms: int) -> int:
    """Return since when there has been a grant that has not ended; where there is none now, when the next one opens.

    There must be one that has not ended.
    """
    since_ms, until_ms = -1, -1.0
    for grant in sorted(grants, key=lambda grant: grant.effective_at_ms):
        if grant.has_ended(grant.effective_at_ms):
            continue  # It was revoked before it opened.
        if grant.effective_at_ms > until_ms:
            if until_ms > now_ms:
                break
            since_ms = until_ms = grant.effective_at_ms
        until_ms = max(until_ms, inf if grant.end_ms is None else grant.end_ms)
    return since_ms


def left_in_all(grants: Iterable[GrantBalance], now_ms: int) -> int | None:
    """Return what the grants that are open give together; None is unlimited."""
    amounts = [grant.left for grant in grants if grant.is_open(now_ms)]
    return None if None in amounts else sum(amount for amount in amounts if amount is not None)
