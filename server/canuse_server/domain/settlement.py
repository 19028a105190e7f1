"""What becomes of the counts when a user's entitlements change."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from canuse_server.domain.decision import Counter
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.periods import FIXED_LENGTH_MS


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


def settle(
    old: Mapping[str, Entitlement],
    at: Callable[[int], Mapping[str, Entitlement]],
    new: Mapping[str, Entitlement],
    counted: Iterable[str],
    now_ms: int,
) -> list[Settlement]:
    """Say what becomes of the counts of the features `counted`, from the entitlements `old` to the `new` ones of now.

    `at` works out the entitlements of a moment in between. What takes effect at its moment has to move a count at that
    moment, into the period that was current then, no matter when somebody asks.
    """
    found: list[Settlement] = []
    for feature_id in counted:
        before = old.get(feature_id)
        over = False
        while before is not None and not over:
            moment_ms = before.valid_until_ms
            if moment_ms is None or moment_ms > now_ms:
                found += settle_one(feature_id, before, new.get(feature_id), now_ms)
                break
            after = at(moment_ms).get(feature_id)
            step = settle_one(feature_id, before, after, moment_ms)
            # A count that is put away can't be moved any more.
            over = any(settlement.new_start_ms is None for settlement in step)
            found += step
            before = after
    return found


def bring_back(
    entitlements: Mapping[str, Entitlement], counters: Mapping[str, Counter], now_ms: int
) -> list[Settlement]:
    """Say what becomes of counts of a later period than the next one, which a clock that ran ahead began.

    They go on in the next one, and are right once that has come: they have been reset for its start already.
    """
    found = []
    for feature_id, counter in counters.items():
        entitlement = entitlements.get(feature_id)
        end_ms = None if entitlement is None else entitlement.period_at(now_ms).end_ms
        if entitlement is not None and end_ms is not None and counter.period_start_ms > end_ms:
            found.append(Settlement(feature_id, end_ms, 0, entitlement.limit, end_ms))
    return found


def settle_one(feature_id: str, before: Entitlement, after: Entitlement | None, now_ms: int) -> list[Settlement]:
    """Say what becomes of a count as one entitlement takes the place of another; nothing: it stays as it is.

    It goes on while its period is open, under the new entitlement's rule.
    """
    if not before.consumable or before == after:
        return []
    period = before.period_at(now_ms)
    length_ms = 0 if period.end_ms is None else period.end_ms - period.start_ms
    over = period.end_ms is not None and period.end_ms <= now_ms
    goes_on_ms = None if over or after is None else after.period_at(now_ms).start_ms
    settlement = Settlement(feature_id, period.start_ms, length_ms, before.limit, goes_on_ms)
    if over or after is not None:
        return [settlement]
    # The entitlement is gone, and the period that is open ends with it.
    cut_short = settlement._replace(length_ms=max(0, now_ms - period.start_ms))
    if before.reset_period not in FIXED_LENGTH_MS:
        return [cut_short]
    # The count may be of an earlier period still, which had its whole length.
    return [settlement._replace(new_start_ms=period.start_ms), cut_short]
