"""The effect of package changes within a period on a count: the table in docs/periods.md, row by row.

Each row is tried with each of the ways in which a change can be made.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final

import pytest
from dateutil.relativedelta import relativedelta

from canuse import v1
from support.message_clients import Client
from support.migrations import migrate, publish
from support.resources import Clock, binary, consumable, package, unique
from support.tools import ROOT

PERIODS: Final = {
    "an hour": (v1.RESET_PERIOD_HOUR, relativedelta(hours=1)),
    "a day": (v1.RESET_PERIOD_DAY, relativedelta(days=1)),
    "a week": (v1.RESET_PERIOD_WEEK, relativedelta(weeks=1)),
    "a month": (v1.RESET_PERIOD_MONTH, relativedelta(months=1)),
    "a year": (v1.RESET_PERIOD_YEAR, relativedelta(years=1)),
    "for good": (v1.RESET_PERIOD_NEVER, None),
}
USE_AFTER: Final = timedelta(days=10, minutes=5)
GAP_AFTER: Final = timedelta(days=10, minutes=20)
CHANGE_AFTER: Final = timedelta(days=10, minutes=40)
"""From the start of the old subscription: less than one hour, so that a period of any length is still open."""


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    old: str
    new: str
    used_before: str
    reason: str
    used: str
    budget: str
    resets: str

    def __str__(self) -> str:
        """Return the test id."""
        return f"{self.old} -> {self.new}"

    @property
    def is_counted(self) -> bool:
        """Whether the feature has a count."""
        return bool(self.used)


def rows() -> list[Row]:
    """Read the table."""
    page = (ROOT / "docs" / "periods.md").read_text(encoding="utf-8")
    name = "base-package-changes"
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", page, re.DOTALL)
    assert found
    lines = found[1].splitlines()[2:]
    return [Row(*(cell.strip().strip("`") for cell in line.strip("|").split("|"))) for line in lines]


def entries(words: str, feature_id: str) -> list[v1.PackageFeature]:
    """Return a package entry, from the words of the table."""
    if words == "not in it":
        return []
    if words == "on":
        return [v1.PackageFeature(feature_id=feature_id)]
    found = re.fullmatch(r"(\d+|unlimited) (.*?)(, overage)?", words)
    assert found, words
    limit = None if found[1] == "unlimited" else int(found[1])
    period = PERIODS[found[2]][0]
    return [v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=period, overage_enabled=bool(found[3]))]


def ending(start: datetime, words: str) -> datetime | None:
    """Return when a period ends that starts at a time, None if never."""
    length = PERIODS[words][1]
    return None if length is None else start + length


class Change:
    """A user on the old package, about to change to the new one."""

    def __init__(self, client: Client, clock: Clock, packages: tuple[str, str], *, trial: bool = False) -> None:
        self.client = client
        self.clock = clock
        self.start = clock.now()
        self.moment = self.start + CHANGE_AFTER
        self.old, self.new = packages
        self.user_id = client.create_user(unique("user")).id
        trial_end = self.moment if trial else None
        [self.subscription] = client.subscribe(self.user_id, [self.old], trial_end=trial_end)

    def use(self, feature_id: str, amount: int) -> None:
        """Use the feature shortly before the change."""
        self.clock.set(self.start + USE_AFTER)
        if amount:
            assert self.client.create_usage_event(self.user_id, feature_id, amount).recorded


def at_once(change: Change, use: Callable[[], None]) -> None:
    """Cancel, and subscribe at once."""
    use()
    change.clock.set(change.moment)
    change.client.cancel_subscription(change.subscription.id)
    change.client.subscribe(change.user_id, [change.new])


def in_one_step(change: Change, use: Callable[[], None]) -> None:
    """Change the package in one call."""
    use()
    change.clock.set(change.moment)
    change.client.change_package(change.user_id, change.new)


def with_a_gap(change: Change, use: Callable[[], None]) -> None:
    """Cancel, and subscribe a while later."""
    use()
    change.clock.set(change.start + GAP_AFTER)
    change.client.cancel_subscription(change.subscription.id)
    change.clock.set(change.moment)
    change.client.subscribe(change.user_id, [change.new])


def by_dates(change: Change, use: Callable[[], None]) -> None:
    """Set the end of the old one and the start of the new one in advance; no call is made at that moment."""
    change.client.update_subscription(change.subscription.id, cancel_at=change.moment)
    change.client.subscribe(change.user_id, [change.new], started_at=change.moment)
    use()
    change.clock.set(change.moment)


def by_a_trial(change: Change, use: Callable[[], None]) -> None:
    """Start the new one when the old one's trial ends; no call is made at that moment."""
    change.client.subscribe(change.user_id, [change.new], started_at=change.moment)
    use()
    change.clock.set(change.moment)


def at_the_end_of_a_trial(change: Change, use: Callable[[], None]) -> None:
    """Plan the change for the end of the old one's trial; no call is made at that moment."""
    change.client.change_package(change.user_id, change.new, at_period_end=True)
    use()
    change.clock.set(change.moment)


WAYS: Final = {
    "in one step": in_one_step,
    "at the end of a trial": at_the_end_of_a_trial,
    "at once": at_once,
    "with a gap": with_a_gap,
    "by dates": by_dates,
    "by a trial": by_a_trial,
}
every_way = pytest.mark.parametrize("way", WAYS)


def changed(client: Client, clock: Clock, packages: tuple[str, str], way: str, feature_id: str, used: int) -> Change:
    """Apply a change in one of the ways."""
    change = Change(client, clock, packages, trial="trial" in way)
    WAYS[way](change, lambda: change.use(feature_id, used))
    return change


@every_way
@pytest.mark.parametrize("row", rows(), ids=str)
def test_a_change_of_the_base_package_in_the_middle_of_a_period(
    clocked: Client, clock: Clock, row: Row, way: str
) -> None:
    feature_id = consumable(clocked) if row.is_counted else binary(clocked)
    packages = (package(clocked, entries(row.old, feature_id)), package(clocked, entries(row.new, feature_id)))
    change = changed(clocked, clock, packages, way, feature_id, int(row.used_before or 0))

    answer = clocked.can_use(change.user_id, feature_id)
    assert v1.Reason.Name(answer.reason) == f"REASON_{row.reason}"
    assert answer.HasField("consumption") == row.is_counted
    if not row.is_counted:
        return
    counts = answer.consumption
    budget = str(counts.budget) if counts.HasField("budget") else "unlimited"
    assert (str(counts.used), budget) == (row.used, row.budget)
    assert not clocked.show_usage(change.user_id, feature_id).past

    length, _, since = row.resets.partition(" after the ")
    start = change.start if since == "old start" else change.moment
    end = ending(start, "for good" if row.resets == "never" else length)
    assert counts.period_start.ToDatetime(UTC) == start
    assert (counts.resets_at.ToDatetime(UTC) if counts.HasField("resets_at") else None) == end
    if end is None:
        return
    clock.set(end)
    usage = clocked.show_usage(change.user_id, feature_id)
    assert usage.current.used == 0
    assert [str(past.used) for past in usage.past] == [row.used] * (row.used != "0")


@pytest.mark.parametrize(("old", "new"), list(product(PERIODS, PERIODS)), ids=lambda words: words.replace(" ", "-"))
def test_every_pair_of_periods_carries_over(clocked: Client, clock: Clock, old: str, new: str) -> None:
    feature_id = consumable(clocked)
    packages = tuple(package(clocked, entries(f"5 {words}", feature_id)) for words in (old, new))
    change = changed(clocked, clock, (packages[0], packages[1]), "at once", feature_id, 4)
    counts = clocked.use_feature(change.user_id, feature_id).consumption
    assert (counts.used, counts.period_start.ToDatetime(UTC)) == (5, change.moment)
    assert (counts.resets_at.ToDatetime(UTC) if counts.HasField("resets_at") else None) == ending(change.moment, new)
    assert not clocked.use_feature(change.user_id, feature_id).access


@every_way
def test_what_is_used_after_the_change_counts_on(clocked: Client, clock: Clock, way: str) -> None:
    feature_id = consumable(clocked)
    packages = (
        package(clocked, entries("5 a month", feature_id)),
        package(clocked, entries("7 a day", feature_id)),
    )
    change = changed(clocked, clock, packages, way, feature_id, 4)
    assert clocked.use_feature(change.user_id, feature_id, 3).consumption.used == 7
    assert not clocked.use_feature(change.user_id, feature_id).access


def test_what_is_recorded_in_the_gap_counts_on(clocked: Client, clock: Clock) -> None:
    feature_id = consumable(clocked)
    packages = [package(clocked, entries(words, feature_id)) for words in ("5 a month", "9 a month")]
    change = Change(clocked, clock, (packages[0], packages[1]))
    change.use(feature_id, 4)
    clocked.cancel_subscription(change.subscription.id)
    assert clocked.can_use(change.user_id, feature_id).reason == v1.REASON_SUBSCRIPTION_INACTIVE
    assert clocked.create_usage_event(change.user_id, feature_id, 2).reason == v1.REASON_SUBSCRIPTION_INACTIVE
    clock.set(change.moment)
    clocked.subscribe(change.user_id, [change.new])
    assert clocked.can_use(change.user_id, feature_id).consumption.used == 6


@pytest.mark.parametrize("old", [words for words in PERIODS if words != "for good"])
def test_past_the_old_period_s_end_the_count_starts_at_zero(clocked: Client, clock: Clock, old: str) -> None:
    feature_id = consumable(clocked)
    packages = [package(clocked, entries(words, feature_id)) for words in (f"5 {old}", "9 a month")]
    change = Change(clocked, clock, (packages[0], packages[1]))
    clocked.create_usage_event(change.user_id, feature_id, 4)
    clocked.cancel_subscription(change.subscription.id)
    end = ending(change.start, old)
    assert end is not None
    clock.set(end)
    clocked.subscribe(change.user_id, [change.new])
    usage = clocked.show_usage(change.user_id, feature_id)
    assert (usage.current.used, usage.current.budget) == (0, 9)
    [past] = usage.past
    assert (past.used, past.budget, past.period_end.ToDatetime(UTC)) == (4, 5, end)


def test_with_a_change_at_the_period_s_end_there_is_nothing_to_carry_over(clocked: Client, clock: Clock) -> None:
    feature_id = consumable(clocked)
    packages = [package(clocked, entries(words, feature_id)) for words in ("5 a month", "9 a day")]
    change = Change(clocked, clock, (packages[0], packages[1]))
    change.use(feature_id, 5)
    end = clocked.cancel_subscription(change.subscription.id, at_period_end=True).cancel_at.ToDatetime(UTC)
    clocked.subscribe(change.user_id, [change.new], started_at=end)
    clock.set(end)
    usage = clocked.show_usage(change.user_id, feature_id)
    assert (usage.current.used, usage.current.budget) == (0, 9)
    assert [past.used for past in usage.past] == [5]


def period_of(start: datetime, words: str, moment: datetime) -> tuple[datetime, datetime | None]:
    """Return the period that contains a moment, counted from a start."""
    length = PERIODS[words][1]
    if length is None:
        return start, None
    number = next(number for number in range(1000) if start + length * (number + 1) > moment)
    return start + length * number, start + length * (number + 1)


@pytest.mark.parametrize("row", rows(), ids=str)
def test_the_same_change_by_another_version_of_the_package(clocked: Client, clock: Clock, row: Row) -> None:
    feature_id = consumable(clocked) if row.is_counted else binary(clocked)
    package_id = package(clocked, entries(row.old, feature_id))
    change = Change(clocked, clock, (package_id, package_id))
    change.use(feature_id, int(row.used_before or 0))
    clock.set(change.moment)
    publish(clocked, package_id, *entries(row.new, feature_id))
    assert migrate(clocked, package_id).migrated >= 1

    answer = clocked.can_use(change.user_id, feature_id)
    if row.new == "not in it":
        assert answer.reason == v1.REASON_NOT_ENTITLED
        if row.is_counted:
            [past] = clocked.show_usage(change.user_id, feature_id).past
            assert (str(past.used), past.period_end.ToDatetime(UTC)) == (row.used, change.moment)
        return
    assert v1.Reason.Name(answer.reason) == f"REASON_{row.reason}"
    if not row.is_counted:
        return
    counts = answer.consumption
    budget = str(counts.budget) if counts.HasField("budget") else "unlimited"
    assert (str(counts.used), budget) == (row.used, row.budget)
    words = next(words for words in PERIODS if words in row.new)
    start, end = period_of(change.start, words, change.moment)
    assert counts.period_start.ToDatetime(UTC) == start
    assert (counts.resets_at.ToDatetime(UTC) if counts.HasField("resets_at") else None) == end
    assert not clocked.show_usage(change.user_id, feature_id).past
