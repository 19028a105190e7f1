"""The part of the model that applies a catalogue as one document."""

from collections import Counter
from copy import deepcopy

from canuse import v1
from model.catalog import ARCHIVED, DRAFT, PUBLISHED, Package
from model.migration import Migration, is_less
from model.observations import Applied, Entry, Refused

Contents = tuple[Entry, ...]
Said = tuple[str, Contents | None, Contents | None]
"""What a document says about a package: the id, the entries of the published version, and those of the draft."""
Step = tuple[str, int, int]
"""A change: the id, the kind, the version."""


class Documents(Migration):
    """ApplyCatalog, of packages that exist."""

    def apply_catalog(self, archive: tuple[str, ...], said: tuple[Said, ...], dry_run: bool) -> Applied:
        """ApplyCatalog, with all calls of a dry run."""
        steps: list[Step] = []
        archived = [feature for feature in archive if not self.feature(feature).archived]
        steps += [(feature, v1.CATALOG_ACTION_ARCHIVE, 0) for feature in archived]
        planned = []
        for package_id, published, draft in said:
            package = deepcopy(self.packages[package_id])
            if package.status == ARCHIVED:
                raise Refused("PACKAGE_ARCHIVED")
            for contents in (published, draft):
                if contents is not None:
                    self._check_contents(package, contents, archived)
            changes = make(package, published, draft)
            steps += [(package_id, *change) for change in changes]
            planned.append(package)
        if not dry_run:
            for feature in archived:
                self.features[feature].archived = True
            for package in planned:
                self.packages[package.id] = package
            return Applied(tuple(steps), 0, ())
        moved = [package for package in planned if package.current() != self.packages[package.id].current()]
        if not moved and not archived:
            return Applied(tuple(steps), 0, ())
        return Applied(tuple(steps), len(self.users), self._losses(moved, archived))

    def _check_contents(self, package: Package, contents: Contents, archived: list[str]) -> None:
        """Refuse archived features in a version that is neither the latest nor the published one."""
        stored = [package.entries, package.published.get(package.current())]
        if any(version is not None and same(version, contents) for version in stored):
            return
        for entry in contents:
            if entry.feature in archived or self.feature(entry.feature).archived:
                raise Refused("FEATURE_ARCHIVED")

    def _losses(self, moved: list[Package], archived: list[str]) -> tuple[tuple[str, str, int], ...]:
        """Return how many users lose access, by package and feature; an archived feature has no package."""
        losses: Counter[tuple[str, str]] = Counter()
        for user in self.users.values():
            active = [name for name, account in user.accounts.items() if account.terms and account.terms.active]
            losses.update(("", feature) for feature in archived if feature in active)
            before = self._allowances(user)
            for package in moved:
                after = deepcopy(user)
                if self._migrate_user(after, package, 0, package.current()):
                    allowances = self._allowances(after)
                    lost = [name for name, allowance in before.items() if is_less(allowances.get(name), allowance)]
                    losses.update((package.id, feature) for feature in lost)
        return tuple(sorted((package, feature, users) for (package, feature), users in losses.items()))


def make(package: Package, published: Contents | None, draft: Contents | None) -> list[tuple[int, int]]:
    """Make a package what a document says; return the changes."""
    changes: list[tuple[int, int]] = []
    current = package.published.get(package.current())
    old_draft = package.entries if package.status == DRAFT else None
    old_version = package.version
    discards = old_draft is not None
    if published is not None and (current is None or not same(published, current)):
        version = package.current() + 1
        edited = old_draft if old_draft is not None and draft is None else current
        if edited is None or not same(edited, published):
            changes.append((v1.CATALOG_ACTION_UPDATE, version))
        changes.append((v1.CATALOG_ACTION_PUBLISH, version))
        package.published[version] = published
        discards = False
    if draft is None:
        package.status, package.version = PUBLISHED, package.current()
        package.entries = package.published[package.version]
        if discards:
            changes.append((v1.CATALOG_ACTION_DISCARD_DRAFT, old_version))
        return changes
    if published is None and old_draft is None and current is not None and same(draft, current):
        return changes
    version = package.current() + 1
    if old_draft is None or not same(old_draft, draft) or version != old_version:
        changes.append((v1.CATALOG_ACTION_UPDATE, version))
        package.entries = draft
    package.status, package.version = DRAFT, version
    return changes


def same(one: Contents, other: Contents) -> bool:
    """Whether two versions have the same entries, in whatever order."""
    return set(one) == set(other)
