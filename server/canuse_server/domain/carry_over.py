"""CarryOver of the counters when the entitlements of a user change."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from canuse_server.domain.decision import Counter
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.periods import FIXED_LENGTH_MS


class CarryOver(NamedTuple):
    """An instruction for one counter.

    A count of the period that started at `period_start_ms` continues in the period that starts at `new_start_ms`. If
    that is None, the period is closed; the period of an older count is closed in any case. A closed period is archived
    with its length and budget (None: unlimited).
    """

    feature_id: str
    period_start_ms: int
    length_ms: int
    budget: int | None
    new_start_ms: int | None


def carry_over(
    old: Mapping[str, Entitlement],
    at: Callable[[int], Mapping[str, Entitlement]],
    new: Mapping[str, Entitlement],
    counted: Iterable[str],
    now_ms: int,
) -> list[CarryOver]:
    """Return the carry-overs of the `counted` features for the change from `old` entitlements to `new` ones.

    `at` returns the entitlements at a moment in between. A change at a date moves a count at that date, into the period
    that was current then, however late it is applied.
    """
    carry_overs: list[CarryOver] = []
    for feature_id in counted:
        before = old.get(feature_id)
        over = False
        while before is not None and not over:
            moment_ms = before.valid_until_ms
            if moment_ms is None or moment_ms > now_ms:
                carry_overs += carry_over_one(feature_id, before, new.get(feature_id), now_ms)
                break
            after = at(moment_ms).get(feature_id)
            step = carry_over_one(feature_id, before, after, moment_ms)
            # A count whose period is closed cannot move any more.
            over = any(item.new_start_ms is None for item in step)
            carry_overs += step
            before = after
    return carry_overs


def carry_over_ahead(
    entitlements: Mapping[str, Entitlement], counters: Mapping[str, Counter], now_ms: int
) -> list[CarryOver]:
    """Return the carry-overs of counts that a clock too far ahead put into a period later than the next one.

    They continue in the next period. They are correct once it starts, since they are already reset for it.
    """
    carry_overs = []
    for feature_id, counter in counters.items():
        entitlement = entitlements.get(feature_id)
        end_ms = None if entitlement is None else entitlement.period_at(now_ms).end_ms
        if entitlement is not None and end_ms is not None and counter.period_start_ms > end_ms:
            carry_overs.append(CarryOver(feature_id, end_ms, 0, entitlement.limit, end_ms))
    return carry_overs


def carry_over_one(feature_id: str, before: Entitlement, after: Entitlement | None, now_ms: int) -> list[CarryOver]:
    """Return the carry-over of a count when one entitlement replaces another; empty if the count does not change.

    While its period is open, the count continues under the new entitlement.
    """
    if not before.consumable or before == after:
        return []
    period = before.period_at(now_ms)
    length_ms = 0 if period.end_ms is None else period.end_ms - period.start_ms
    over = period.end_ms is not None and period.end_ms <= now_ms
    new_start_ms = None if over or after is None else after.period_at(now_ms).start_ms
    kept = CarryOver(feature_id, period.start_ms, length_ms, before.limit, new_start_ms)
    if over or after is not None:
        return [kept]
    # The entitlement is removed, and its open period ends now.
    cut_short = kept._replace(length_ms=max(0, now_ms - period.start_ms))
    if before.reset_period not in FIXED_LENGTH_MS:
        return [cut_short]
    # The count can still belong to an earlier period, which had its full length.
    return [kept._replace(new_start_ms=period.start_ms), cut_short]
