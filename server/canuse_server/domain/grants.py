"""Balances of grants."""

from collections.abc import Iterable
from typing import NamedTuple

from canuse_server.domain.periods import Period


class GrantBalance(NamedTuple):
    """A grant as decisions use it. `left` None is unlimited; `drawn` is the amount that can be given back to it."""

    effective_at_ms: int
    end_ms: int | None
    left: int | None
    drawn: int

    def has_ended(self, now_ms: int) -> bool:
        """Whether it gives nothing now or later; a grant can be revoked before it starts."""
        return self.end_ms is not None and self.end_ms <= max(now_ms, self.effective_at_ms)

    def is_open(self, now_ms: int) -> bool:
        """Whether it can be drawn from at `now_ms`."""
        return self.effective_at_ms <= now_ms and not self.has_ended(now_ms)

    def never_opens(self) -> bool:
        """Whether it was revoked before its start."""
        return self.has_ended(self.effective_at_ms)


def coverage_at(grants: Iterable[GrantBalance], now_ms: int) -> Period:
    """Return the time span around `now_ms` in which at least one grant is open all the time, or in which none is.

    Use of a feature that only grants give is counted from the start of such a span to its end.
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
    """Return the sum of what is left in the open grants; None is unlimited."""
    amounts = [grant.left for grant in grants if grant.is_open(now_ms)]
    return None if None in amounts else sum(amount for amount in amounts if amount is not None)
