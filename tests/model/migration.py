"""The part of the model that is about moving subscriptions to another version of their package."""

from copy import deepcopy

from model.catalog import Package
from model.grants import Gifts
from model.observations import MAX, Migrated, Refused
from model.sources import ENDED
from model.user import Person


class Moves(Gifts):
    """Migrations."""

    def migrate_subscriptions(self, package_id: str, from_version: int, to_version: int, dry_run: bool) -> Migrated:
        """MigrateSubscriptions, to its end."""
        package = self.package(package_id)
        to_version = to_version or package.current()
        require(package, to_version)
        if from_version:
            require(package, from_version)
        if from_version == to_version:
            raise Refused("INVALID_FIELD")
        migrated, shrinking = 0, []
        for person in self.people.values():
            after = deepcopy(person) if dry_run else person
            before = self._gives(person)
            moved = self._move(after, package, from_version, to_version)
            migrated += moved
            if moved and any(less(self._gives(after).get(feature), given) for feature, given in before.items()):
                shrinking.append(person.id)
        return Migrated(len(self.people), migrated, len(shrinking), tuple(sorted(shrinking)))

    def _move(self, person: Person, package: Package, from_version: int, to_version: int) -> int:
        """Move one user's subscriptions and return how many. Those that have ended stay where they are."""
        moved = [
            held
            for held in person.subscriptions
            if held.package == package.id
            and held.version != to_version
            and from_version in (0, held.version)
            and held.status_at(self.now) not in ENDED
        ]
        for held in moved:
            held.version, held.entries = to_version, package.published[to_version]
        person.look(self.now)
        return len(moved)

    def _gives(self, person: Person) -> dict[str, tuple[int, bool]]:
        """Return, by feature, the limit and whether more is allowed, of packages alone."""
        given = {}
        for feature, account in person.accounts.items():
            terms = account.terms
            if terms is None or not terms.active or (terms.granted and not self.features[feature].binary):
                given[feature] = (0, False)
            elif self.features[feature].binary or terms.limit is None:
                given[feature] = (MAX + 1, True)
            else:
                given[feature] = (terms.limit, terms.overage)
        return given


def less(after: tuple[int, bool] | None, before: tuple[int, bool]) -> bool:
    """Whether a limit is lower, or more than it was allowed and is no more."""
    limit, overage = after or (0, False)
    return limit < before[0] or (before[1] and not overage)


def require(package: Package, version: int) -> None:
    """Refuse a version that was not published."""
    if version not in package.published:
        raise Refused("PACKAGE_NOT_FOUND" if version > package.version else "PACKAGE_NOT_PUBLISHED")
