"""What becomes of the counts when a user's entitlements change."""

from collections.abc import Mapping
from typing import NamedTuple

from canuse_server.domain.entitlements import Entitlement


class Settlement(NamedTuple):
    """What to do with one counter.

    A count of the period that started at `period_start_ms` goes on in the one that starts at `new_start_ms`, or is over
    where that is None; an older count is over in any case. A period that is over is kept with its length and budget
    (None: unlimited).
    """

    feature_id: str
    period_start_ms: int
    length_ms: int
    budget: int | None
    new_start_ms: int | None


def settle(old: Mapping[str, Entitlement], new: Mapping[str, Entitlement], now_ms: int) -> list[Settlement]:
    """Say what becomes of each count: it goes on while its period is open, under the new entitlement's rule."""
    settlements = []
    for feature_id, before in old.items():
        after = new.get(feature_id)
        if not before.consumable or before == after:
            continue
        period = before.period_at(now_ms)
        over = after is None or (period.end_ms is not None and period.end_ms <= now_ms)
        settlements.append(
            Settlement(
                feature_id=feature_id,
                period_start_ms=period.start_ms,
                length_ms=0 if period.end_ms is None else period.end_ms - period.start_ms,
                budget=before.limit,
                new_start_ms=None if over or after is None else after.period_at(now_ms).start_ms,
            )
        )
    return settlements
