"""The part of the model that moves subscriptions to another version of their package."""

from copy import deepcopy

from model.catalog import Package
from model.grants import Grants
from model.observations import MAX, Migrated, Refused
from model.sources import ENDED
from model.user import User


class Migration(Grants):
    """MigrateSubscriptions."""

    def migrate_subscriptions(self, package_id: str, from_version: int, to_version: int, dry_run: bool) -> Migrated:
        """MigrateSubscriptions, with all its messages."""
        package = self.package(package_id)
        to_version = to_version or package.current()
        require_published(package, to_version)
        if from_version:
            require_published(package, from_version)
        if from_version == to_version:
            raise Refused("INVALID_FIELD")
        migrated, shrinking = 0, []
        for user in self.users.values():
            after = deepcopy(user) if dry_run else user
            before = self._allowances(user)
            moved = self._migrate_user(after, package, from_version, to_version)
            migrated += moved
            if moved and any(
                is_less(self._allowances(after).get(feature), allowances) for feature, allowances in before.items()
            ):
                shrinking.append(user.id)
        return Migrated(len(self.users), migrated, len(shrinking), tuple(sorted(shrinking)))

    def _migrate_user(self, user: User, package: Package, from_version: int, to_version: int) -> int:
        """Move the subscriptions of a user that have not ended; return how many moved."""
        moved = [
            subscription
            for subscription in user.subscriptions
            if subscription.package == package.id
            and subscription.version != to_version
            and from_version in (0, subscription.version)
            and subscription.status_at(self.now) not in ENDED
        ]
        for subscription in moved:
            subscription.version, subscription.entries = to_version, package.published[to_version]
        user.update(self.now)
        return len(moved)

    def _allowances(self, user: User) -> dict[str, tuple[int, bool]]:
        """Return the limit and whether overage is allowed, by feature, from packages alone."""
        allowances = {}
        for feature, account in user.accounts.items():
            terms = account.terms
            if terms is None or not terms.active or (terms.granted and not self.features[feature].binary):
                allowances[feature] = (0, False)
            elif self.features[feature].binary or terms.limit is None:
                allowances[feature] = (MAX + 1, True)
            else:
                allowances[feature] = (terms.limit, terms.overage)
        return allowances


def is_less(after: tuple[int, bool] | None, before: tuple[int, bool]) -> bool:
    """Whether the limit is lower, or overage is no longer allowed."""
    limit, overage = after or (0, False)
    return limit < before[0] or (before[1] and not overage)


def require_published(package: Package, version: int) -> None:
    """Refuse a version that is not published."""
    if version not in package.published:
        raise Refused("PACKAGE_NOT_FOUND" if version > package.version else "PACKAGE_NOT_PUBLISHED")
