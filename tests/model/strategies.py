"""The Hypothesis strategies of the state machine.

They choose among few objects, so that calls interact, and prefer amounts near limits and moments near boundaries.
"""

from typing import Final, NamedTuple

from hypothesis import strategies as st

from canuse import v1
from model.account import Account
from model.observations import MAX, Entry
from model.periods import DAY, HOUR, WEEK

CONSUMABLES: Final = 3
"""Number of consumable features; there is one binary one besides."""
EVENT_IDS: Final = 4

users = st.sampled_from([0, 0, 0, 0, 1])
features = st.sampled_from([0, 0, 0, 1, 2])
any_features = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 2, 3])
numbers = st.integers(0, 7)
"""Index into a list of existing objects."""
event_numbers = st.none() | st.integers(0, EVENT_IDS - 1)
rarely = st.sampled_from([False] * 5 + [True])
very_rarely = st.sampled_from([False] * 11 + [True])
sometimes = st.sampled_from([False, False, True])
often = st.sampled_from([True, True, True, False])
packages = st.sampled_from([0, 0, 1, 2])
versions = st.sampled_from([0, 0, 0, 1, 2, 3])
grant_numbers = st.none() | st.none() | st.none() | numbers
"""None, mostly: a new one."""
metadata = st.sampled_from([(), (), (("by", "x"),)])
resets = st.sampled_from(
    [
        v1.RESET_PERIOD_NEVER,
        v1.RESET_PERIOD_HOUR,
        v1.RESET_PERIOD_DAY,
        v1.RESET_PERIOD_WEEK,
        v1.RESET_PERIOD_MONTH,
        v1.RESET_PERIOD_MONTH,
        v1.RESET_PERIOD_YEAR,
    ]
)
limits = st.sampled_from([0, 1, 1, 3, 3, 5, 5, 10, None, MAX])
kinds = st.sampled_from([v1.PACKAGE_TYPE_BASE, v1.PACKAGE_TYPE_ADD_ON])
statuses = st.sampled_from(list(v1.SubscriptionStatus.values())[1:])
starts = st.sampled_from([0, 31, 59, 60, 90, 180, 365, 425, 789, 1096, 1400]).flatmap(
    lambda days: st.sampled_from([0, 1, 43_200_000, DAY - 1]).map(lambda part: days * DAY - part if days else part)
)
"""Moments of four years from the start of a leap year, most of them at the end of a month."""


class Amount(NamedTuple):
    """An amount relative to the counts of an account."""

    basis: str
    more: int

    def of(self, account: Account, now: int) -> int:
        """Return the amount, which is at least 1."""
        counts = account.counts(now)
        bases = {"none": 0, "most": MAX, "used": account.used, "left": 0, "budget": 0}
        if counts is not None:
            bases |= {"left": counts.remaining or 0, "budget": counts.budget or 0}
        return min(MAX, max(1, bases[self.basis] + self.more))


small_numbers = st.integers(1, 4)
amounts = st.builds(Amount, st.just("none"), small_numbers) | st.builds(
    Amount, st.sampled_from(["left", "left", "used", "budget"]), st.integers(-1, 1)
)
any_amounts = st.one_of(*[amounts] * 7, st.builds(Amount, st.just("most"), st.integers(-1, 0)))
entries = st.builds(Entry, st.just(""), limits, resets, st.sampled_from([False, False, True]))


@st.composite
def entry_lists(draw: st.DrawFn) -> tuple[Entry, ...]:
    """Entries of a package, with numbers in place of feature ids."""
    listed = draw(st.lists(st.sampled_from(range(CONSUMABLES + 1)), unique=True, min_size=3, max_size=4))
    binary = Entry("", None, v1.RESET_PERIOD_NEVER, overage=False)
    return tuple(
        (draw(entries) if number < CONSUMABLES else binary)._replace(feature=str(number)) for number in sorted(listed)
    )


published_contents = st.sampled_from(["none", "stored", "stored"]) | entry_lists()
draft_contents = st.sampled_from(["none", "none", "stored"]) | entry_lists()
"""What a document says about a version of a package: nothing, what is stored, or other entries."""
document_packages = st.lists(
    st.tuples(packages, published_contents, draft_contents), unique_by=lambda said: said[0], min_size=1, max_size=2
)
package_contents = st.tuples(entry_lists(), entry_lists(), entry_lists())

distances = st.sampled_from([0, 1, HOUR, DAY, WEEK, 31 * DAY, -1, -HOUR, -DAY, -31 * DAY, -400 * DAY])
"""Distances from now, in milliseconds."""
future_distances = st.sampled_from([1, HOUR, DAY, WEEK, 31 * DAY])
waiting_times = st.sampled_from([1, HOUR - 1, HOUR, DAY, WEEK, 31 * DAY, 365 * DAY])
none = st.none()
booleans = st.booleans()
use_methods = st.sampled_from(["check", "use", "record"])
priorities = st.integers(0, 1)
offsets = st.sampled_from([-1, 0, 0, 1])
disruptions = st.sampled_from(["feature", "package", "user", "disable", "disable", "enable", "enable"])
some_statuses = st.none() | st.none() | statuses
trials = st.none() | st.none() | distances
package_numbers = st.lists(st.integers(0, 2), unique=True, min_size=1, max_size=2)
grant_amounts = st.sampled_from([None, 1, 2, 5, 5, MAX])
charges = st.lists(st.tuples(any_features, amounts), unique_by=lambda charge: charge[0], min_size=1, max_size=3).map(
    tuple
)
dates = st.none() | distances | distances
changes = st.one_of(
    st.fixed_dictionaries({"status": statuses}),
    st.fixed_dictionaries({"status": statuses}, optional={"trial_end": dates, "cancel_at": dates}),
    st.fixed_dictionaries({"trial_end": dates}, optional={"cancel_at": dates}),
    st.fixed_dictionaries({"cancel_at": dates}),
)
base_contents = st.lists(entry_lists(), min_size=2, max_size=2)
"""The entries of further base packages."""
package_changes = st.lists(st.tuples(st.integers(0, 2), st.booleans(), event_numbers), min_size=1, max_size=3)
initial_grants = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([1, 2, 2, 5, 5, None]),
        st.none() | st.none() | future_distances,
        priorities,
    ),
    max_size=4,
)
"""Grants that a user has from the start: feature, amount, expiry and priority."""
range_offsets = st.none() | st.none() | offsets
batches = st.lists(st.tuples(users, any_features, amounts, event_numbers), min_size=1, max_size=5)
repeat_changes = st.sampled_from(["", "", "metadata", "amount"])
"""What is changed in a repeated call."""

lease_keys = st.sampled_from([None, None, None, None, 0, 1])
ttls = st.sampled_from([1000, HOUR, DAY, DAY, WEEK, WEEK, None, None])
"""Lifetimes of leases; None stands for the end of the period."""
minimums = st.sampled_from(["one", "one", "all", "less"])
"""The smallest amount accepted, relative to the amount."""
reserve_amounts = st.builds(Amount, st.just("none"), small_numbers) | st.builds(
    Amount, st.just("left"), st.integers(-1, 0)
)
"""Amounts to reserve, which mostly fit the budget."""
settled_parts = st.sampled_from(
    [("none", 0), ("none", 1), ("all", -1), ("all", 0), ("all", 0), ("all", 1), ("all", 5)] * 2 + [("most", 0)]
)
"""Amounts to settle, relative to what was granted."""
lease_moments = st.sampled_from(["expiry", "expiry", "period", "period", "period", "forgotten"])
"""The moment in the life of a lease to wait for."""
lease_actions = st.sampled_from(["settle", "settle", "settle", "look", "list", "use", "reserve"])
"""The call to make at that moment."""
