"""The part of the model that explains an answer."""

from canuse import v1
from model.account import Account
from model.catalog import Feature
from model.migration import Moves
from model.observations import Check, Step
from model.sources import ENDED, best, held_by
from model.user import Person

BINARY = v1.FEATURE_TYPE_BINARY
CONSUMABLE = v1.FEATURE_TYPE_CONSUMABLE


class Stories(Moves):
    """What an answer was based on."""

    def steps(self, person: Person, known: Feature, check: Check, delta: int) -> tuple[Step, ...]:
        """Return the steps that lead to an answer, each with the name of its kind."""
        account = person.account(known.id)
        found: list[Step] = [("user", person.disabled)]
        found.append(("feature", BINARY if known.binary else CONSUMABLE, known.archived))
        found += self._subscriptions(person, known.id)
        for grant in account.grants:
            is_open = grant.is_open(self.now)
            left = grant.left if is_open else 0
            found.append(("grant", grant.id, grant.amount, left, is_open, grant.effective, grant.end()))
        if not known.binary:
            found += self._counter(account)
        found.append(("decision", delta, check.access, check.reason))
        return tuple(found)

    def _subscriptions(self, person: Person, feature: str) -> list[Step]:
        found: list[Step] = []
        pairs = [(held, entry) for held in person.subscriptions for entry in held.entries if entry.feature == feature]
        holding, kept = best(pairs, self.now), held_by(pairs, self.now)
        for held in sorted(person.subscriptions, key=lambda held: (held.started, held.id)):
            if held.status_at(self.now) in ENDED and not (kept and kept[0] is held):
                continue
            entries = [entry for entry in held.entries if entry.feature == feature]
            status, counts = held.status_at(self.now), held.counts(self.now)
            found.append(("subscription", held.id, held.package, held.version, status, counts, bool(entries)))
            for entry in entries:
                holds = holding is not None and holding[0] is held
                found.append(("package_entry", held.id, entry.limit, entry.reset, entry.overage, holds))
        return found

    def _counter(self, account: Account) -> list[Step]:
        if account.terms is None:
            return []
        terms, budget = account.terms, account.budget(self.now)
        return [("counter", terms.start, terms.end, account.used, account.drawn(), budget, account.reserved(self.now))]
