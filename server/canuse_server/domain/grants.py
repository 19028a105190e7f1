"""What grants still give."""

from collections.abc import Iterable
from typing import NamedTuple

from canuse_server.domain.periods import Period


class GrantBalance(NamedTuple):
    """One grant as decisions see it. `left` None is unlimited; `drawn` is what can still be given back to it."""

    effective_at_ms: int
    end_ms: int | None
    left: int | None
    drawn: int

    def has_ended(self, now_ms: int) -> bool:
        """Whether it gives nothing any more, not even later: one may be revoked before it begins."""
        return self.end_ms is not None and self.end_ms <= max(now_ms, self.effective_at_ms)

    def is_open(self, now_ms: int) -> bool:
        """Whether it can be drawn from at a moment."""
        return self.effective_at_ms <= now_ms and not self.has_ended(now_ms)

    def never_opens(self) -> bool:
        """Whether it was revoked before it could be used."""
        return self.has_ended(self.effective_at_ms)


def coverage_at(grants: Iterable[GrantBalance], now_ms: int) -> Period:
    """Return the stretch of time around a moment in which one grant or another is open throughout, or none ever is.

    What is used of a feature that grants alone give is counted from the start of a stretch to its end.
    """
    start_ms = end_ms = 0
    for grant in sorted(grants, key=lambda grant: grant.effective_at_ms):
        if grant.never_opens():
            continue
        if grant.effective_at_ms > end_ms:
            if now_ms < end_ms:
                break
            if now_ms < grant.effective_at_ms:
                return Period(end_ms, grant.effective_at_ms)
            start_ms = grant.effective_at_ms
        if grant.end_ms is None:
            return Period(start_ms, None)
        end_ms = max(end_ms, grant.end_ms)
    return Period(start_ms, end_ms) if now_ms < end_ms else Period(end_ms, None)


def left_in_all(grants: Iterable[GrantBalance], now_ms: int) -> int | None:
    """Return what the grants that are open give together; None is unlimited."""
    amounts = [grant.left for grant in grants if grant.is_open(now_ms)]
    return None if None in amounts else sum(amount for amount in amounts if amount is not None)
