"""The part of the model that is about users and their subscriptions."""

from dataclasses import replace

from canuse import v1
from model.catalog import Catalog
from model.observations import Refused, SubscriptionView
from model.periods import period_at
from model.sources import ENDED, Subscription, by_start
from model.user import User

TRIALING = v1.SUBSCRIPTION_STATUS_TRIALING


class Subscribers(Catalog):
    """Users and subscriptions."""

    now: int
    users: dict[str, User]

    def user(self, user_id: str) -> User:
        """Return a user, who must exist."""
        if user_id not in self.users:
            raise Refused("USER_NOT_FOUND")
        return self.users[user_id]

    def create_user(self, user_id: str) -> None:
        """CreateUser."""
        if user_id in self.users:
            raise Refused("USER_EXISTS")
        self.users[user_id] = User(user_id, self.now)

    def disable_user(self, user_id: str, disabled: bool) -> None:
        """UpdateUser of the field `disabled`."""
        self.user(user_id).disabled = disabled

    def delete_user(self, user_id: str) -> None:
        """DeleteUser."""
        self.user(user_id)
        del self.users[user_id]

    def subscribe(
        self,
        user_id: str,
        packages: tuple[str, ...],
        started: int | None,
        trial_end: int | None,
        status: int | None,
        ids: tuple[str, ...],
    ) -> list[SubscriptionView]:
        """Subscribe; `ids` are the ids of the new subscriptions."""
        status = status or (v1.SUBSCRIPTION_STATUS_ACTIVE if trial_end is None else TRIALING)
        if status == TRIALING and trial_end is None:
            raise Refused("INVALID_FIELD")
        if trial_end is not None and started is not None and trial_end <= started:
            raise Refused("INVALID_FIELD")
        chosen = [self.published_package(package) for package in packages]
        user, start = self.user(user_id), self.now if started is None else started
        if trial_end is not None and trial_end <= start:
            raise Refused("INVALID_FIELD")
        created = [
            Subscription(
                id=subscription_id,
                package=package.id,
                version=package.current(),
                base=package.type == v1.PACKAGE_TYPE_BASE,
                entries=package.published[package.current()],
                status=status,
                started=start,
                trial_end=trial_end,
            )
            for package, subscription_id in zip(chosen, ids, strict=False)
        ]
        self._check_one_base([*user.subscriptions, *created])
        user.subscriptions += created
        user.update(self.now)
        return [self._view(user, subscription) for subscription in created]

    def update_subscription(self, subscription_id: str, changes: dict[str, int | None]) -> SubscriptionView:
        """UpdateSubscription of the given fields: `status`, `trial_end` and `cancel_at`."""
        user, old = self._subscription(subscription_id)
        new = replace(old)
        status, end = changes.get("status"), changes.get("cancel_at")
        has_come = end is not None and end <= self.now
        if old.status_at(self.now) in ENDED and (status in (None, *ENDED) or has_come):
            # Dates do not reactivate an ended subscription; nor does a status with an end that has passed.
            return self._replace(user, old, replace(old, status=status if status in ENDED else old.status))
        new.trial_end = changes.get("trial_end", old.trial_end)
        if "cancel_at" in changes:
            new.cancel_at = None if end is None else max(self.now, end)
        if status is not None:
            new.status = status
            gone = new.cancel_at is not None and new.cancel_at <= self.now
            if status in ENDED and not gone:
                new.cancel_at = self.now
            if status not in ENDED and gone and not has_come:
                new.cancel_at = None
        if new.status == TRIALING and new.trial_end is None:
            raise Refused("INVALID_FIELD")
        if new.trial_end is not None and new.trial_end <= new.started:
            raise Refused("INVALID_FIELD")
        return self._replace(user, old, new)

    def cancel_subscription(self, subscription_id: str, at_period_end: bool) -> SubscriptionView:
        """CancelSubscription."""
        user, old = self._subscription(subscription_id)
        if old.status_at(self.now) in ENDED:
            return self._view(user, old)
        end: int | None = self.now
        if at_period_end:
            longest = max((entry.reset for entry in old.entries), default=v1.RESET_PERIOD_NEVER)
            end = period_at(old.started, longest, self.now)[1]
            if old.status == TRIALING:
                end = old.trial_end
            if end is None:
                raise Refused("NO_PERIOD_END")
        if old.cancel_at is not None and end is not None:
            end = min(old.cancel_at, end)
        return self._replace(user, old, replace(old, cancel_at=end))

    def list_subscriptions(self, user_id: str) -> list[SubscriptionView]:
        """ListSubscriptions."""
        user = self.user(user_id)
        listed = sorted(user.subscriptions, key=by_start)
        return [self._view(user, subscription) for subscription in listed]

    def search_subscriptions(self, package: str, status: int) -> list[SubscriptionView]:
        """ListSubscriptions of all users, with a package and a status, 0 for any."""
        found = [view for user_id in sorted(self.users) for view in self.list_subscriptions(user_id)]
        return [view for view in found if view.package == package and status in (0, view.status)]

    def _subscription(self, subscription_id: str) -> tuple[User, Subscription]:
        for user in self.users.values():
            for subscription in user.subscriptions:
                if subscription.id == subscription_id:
                    return user, subscription
        raise Refused("SUBSCRIPTION_NOT_FOUND")

    def _replace(self, user: User, old: Subscription, new: Subscription) -> SubscriptionView:
        changed = [new if subscription is old else subscription for subscription in user.subscriptions]
        self._check_one_base(changed)
        user.subscriptions = changed
        user.update(self.now)
        return self._view(user, new)

    def _check_one_base(self, subscriptions: list[Subscription]) -> None:
        """Refuse two base packages that overlap now or later."""
        bases = [
            subscription
            for subscription in subscriptions
            if subscription.base and subscription.status_at(self.now) not in ENDED
        ]
        for one in bases:
            for other in bases:
                if one is not other and overlap(one, other):
                    raise Refused("SECOND_BASE_PACKAGE")

    def _view(self, user: User, subscription: Subscription) -> SubscriptionView:
        return SubscriptionView(
            subscription.id,
            user.id,
            subscription.package,
            subscription.version,
            subscription.status_at(self.now),
            subscription.started,
            subscription.trial_end,
            subscription.cancel_at,
        )


def overlap(one: Subscription, other: Subscription) -> bool:
    """Whether there is a moment at which both apply."""
    end_times = [end for end in (one.end(), other.end()) if end is not None]
    start = max(one.started, other.started)
    return not end_times or start < min(end_times)
