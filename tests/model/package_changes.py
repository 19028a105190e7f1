"""The part of the model that changes several things of a user in one step."""

from dataclasses import replace

from canuse import v1
from model.observations import Ensured, PackageChanged, Refused
from model.periods import period_at
from model.sources import ENDED, Subscription, by_start
from model.subscribers import TRIALING, Subscribers
from model.user import Remembered, User


class PackageChanges(Subscribers):
    """ChangePackage and EnsureUser."""

    def ensure_user(self, user_id: str, disabled: bool | None, package_id: str, new_id: str) -> Ensured:
        """EnsureUser; `new_id` is the id of a new subscription."""
        created = user_id not in self.users
        user = User(user_id, self.now) if created else self.users[user_id]
        subscription, subscribed = self._in_place_of(user, package_id), False
        if package_id and subscription is None:
            package = self.published_package(package_id)
            base, entries = package.type == v1.PACKAGE_TYPE_BASE, package.published[package.current()]
            active = v1.SUBSCRIPTION_STATUS_ACTIVE
            subscription = Subscription(new_id, package_id, package.current(), base, entries, active, self.now)
            user.subscriptions.append(subscription)
            subscribed = True
        updated = not created and disabled not in (None, user.disabled)
        user.disabled = user.disabled if disabled is None else disabled
        self.users[user_id] = user
        user.update(self.now)
        view = None if subscription is None else self._view(user, subscription)
        return Ensured(created, updated, subscribed, user.disabled, view)

    def _in_place_of(self, user: User, package_id: str) -> Subscription | None:
        """Return what a user has in place of a new subscription to a package."""
        if not package_id:
            return None
        if self.package(package_id).type == v1.PACKAGE_TYPE_BASE:
            found = [one for one in user.subscriptions if one.base and self._is_to_come(one)]
        else:
            found = [
                one for one in user.subscriptions if one.package == package_id and one.status_at(self.now) not in ENDED
            ]
        return min(found, key=by_start, default=None)

    def change_package(
        self, user_id: str, package_id: str, at_period_end: bool, event_id: str, new_id: str
    ) -> PackageChanged:
        """ChangePackage; `new_id` is the id of a new subscription."""
        user, content = self.user(user_id), ("change_package", package_id, at_period_end)
        known: PackageChanged | None = user.recall(event_id, content)
        if known is not None:
            return known._replace(replayed=True)
        answer = self._change_package(user, package_id, at_period_end, new_id)._replace(event_id=event_id)
        if event_id:
            user.remembered[event_id] = Remembered(content, answer, self.now)
        return answer

    def _change_package(self, user: User, package_id: str, at_period_end: bool, new_id: str) -> PackageChanged:
        bases = [one for one in user.subscriptions if one.base and self._is_to_come(one)]
        current = next((one for one in bases if one.started <= self.now), None)
        planned = sorted((one for one in bases if one.started > self.now), key=by_start)
        withdrawn = [replace(one, cancel_at=self.now) for one in planned]
        if current is not None and current.package == package_id:
            kept = replace(current)
            if planned and current.cancel_at == planned[0].started:
                kept.cancel_at = None
            return self._apply(user, kept, withdrawn)
        start = self._start_of_change(current, planned) if at_period_end else self.now
        for one in planned if at_period_end else ():
            if one.package == package_id and one.started == start:
                return self._apply(user, one, [other for other in withdrawn if other.id != one.id])
        package = self.published_package(package_id)
        if package.type != v1.PACKAGE_TYPE_BASE:
            raise Refused("PACKAGE_NOT_BASE")
        entries, status = package.published[package.current()], v1.SUBSCRIPTION_STATUS_ACTIVE
        new = Subscription(new_id, package_id, package.current(), True, entries, status, start)
        if current is not None and not at_period_end:
            new.status = current.status
            new.trial_end = current.trial_end if current.status == TRIALING else None
        ended = [] if current is None else [replace(current, cancel_at=start)]
        return self._apply(user, new, ended + withdrawn)

    def _is_to_come(self, subscription: Subscription) -> bool:
        """Whether a subscription has not ended, and is active at some time."""
        end = subscription.end()
        return subscription.status_at(self.now) not in ENDED and (end is None or subscription.started < end)

    def _start_of_change(self, current: Subscription | None, planned: list[Subscription]) -> int:
        """Return when a change at the end of the period takes effect."""
        if current is None:
            return planned[0].started if planned else self.now
        longest = max((entry.reset for entry in current.entries), default=v1.RESET_PERIOD_NEVER)
        _, period_end = period_at(current.started, longest, self.now)
        if current.status == TRIALING:
            period_end = current.trial_end
        ends = [end for end in (current.end(), period_end) if end is not None]
        if not ends:
            raise Refused("NO_PERIOD_END")
        return min(ends)

    def _apply(self, user: User, wanted: Subscription, replaced: list[Subscription]) -> PackageChanged:
        """Put the subscriptions in the place of those with the same ids; one with a new id is added."""
        changed = bool(replaced) or all(one.id != wanted.id for one in user.subscriptions)
        if changed:
            new = {one.id: one for one in (wanted, *replaced)}
            user.subscriptions = [new.pop(one.id, one) for one in user.subscriptions] + list(new.values())
            user.update(self.now)
        views = [self._view(user, one) for one in (wanted, *replaced)]
        return PackageChanged(views[0], tuple(views[1:]), changed, "", replayed=False)
