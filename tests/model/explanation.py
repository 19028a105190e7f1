"""The part of the model that explains an answer."""

from canuse import v1
from model.account import Account
from model.catalog import Feature
from model.documents import Documents
from model.observations import Check, Step
from model.sources import ENDED, best_active, by_start, entries_of, period_source
from model.user import User

BINARY = v1.FEATURE_TYPE_BINARY
CONSUMABLE = v1.FEATURE_TYPE_CONSUMABLE


class Explanation(Documents):
    """The steps that led to an answer."""

    def steps(self, user: User, known: Feature, check: Check, delta: int) -> tuple[Step, ...]:
        """Return the steps of an explanation, each with the name of its kind."""
        account = user.account(known.id)
        found: list[Step] = [("user", user.disabled)]
        found.append(("feature", BINARY if known.binary else CONSUMABLE, known.archived))
        found += self._subscriptions(user, known.id)
        for grant in account.grants:
            is_open = grant.is_open(self.now)
            left = grant.left if is_open else 0
            found.append(("grant", grant.id, grant.amount, left, is_open, grant.effective, grant.end()))
        if not known.binary:
            found += self._counter(account)
        found.append(("decision", delta, check.access, check.reason, check.retry))
        return tuple(found)

    def _subscriptions(self, user: User, feature: str) -> list[Step]:
        found: list[Step] = []
        pairs = entries_of(user.subscriptions, feature)
        source, kept = best_active(pairs, self.now), period_source(pairs, self.now)
        for subscription in sorted(user.subscriptions, key=by_start):
            if subscription.status_at(self.now) in ENDED and not (kept and kept[0] is subscription):
                continue
            entries = [entry for entry in subscription.entries if entry.feature == feature]
            status, counts = subscription.status_at(self.now), subscription.counts(self.now)
            package = (subscription.package, subscription.version)
            found.append(("subscription", subscription.id, *package, status, counts, bool(entries)))
            for entry in entries:
                holds = source is not None and source[0] is subscription
                found.append(("package_entry", subscription.id, entry.limit, entry.reset, entry.overage, holds))
        return found

    def _counter(self, account: Account) -> list[Step]:
        if account.terms is None:
            return []
        terms, budget = account.terms, account.budget(self.now)
        return [("counter", terms.start, terms.end, account.used, account.drawn(), budget, account.reserved(self.now))]
