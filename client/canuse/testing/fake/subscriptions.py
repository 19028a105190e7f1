"""SubscriptionService in memory, and EnsureUser."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final
from uuid import uuid4

from canuse import v1
from canuse.testing.fake.checks import amount, check, page
from canuse.testing.fake.periods import as_timestamp, in_ms, period_at
from canuse.testing.fake.refusal import Refusal, exists, invalid, not_found
from canuse.testing.fake.sources import ENDED, Granted, Subscribed
from canuse.testing.fake.users import User, Users

_TRIALING: Final = v1.SUBSCRIPTION_STATUS_TRIALING
_MASK: Final = ("status", "trial_end", "cancel_at")


class Subscriptions(Users):
    """Subscriptions and grants."""

    def subscribe(self, request: v1.SubscribeRequest) -> v1.SubscribeResponse:
        """Subscribe."""
        check(request, ids=("user_id",))
        if not request.package_ids:
            raise invalid(("package_ids", "must be 1 to 32 packages; none was sent"))
        user = self.user(request.user_id)
        if (known := user.recall(request, v1.SubscribeResponse)) is not None:
            return known
        started = in_ms(request.started_at) if request.HasField("started_at") else self.now
        trial_end = in_ms(request.trial_end) if request.HasField("trial_end") else None
        status = request.status or (v1.SUBSCRIPTION_STATUS_ACTIVE if trial_end is None else _TRIALING)
        created = [self._subscribed(user, package_id, started, status, trial_end) for package_id in request.package_ids]
        for one in created:
            _check_trial(one)
        self._check_one_base(user, user.subscriptions, created)
        user.subscriptions += created
        user.update(self.now)
        views = [one.view(self.now) for one in created]
        return user.remember(request, v1.SubscribeResponse(subscriptions=views))

    def _subscribed(
        self,
        user: User,
        package_id: str,
        started: int,
        status: v1.SubscriptionStatus.ValueType = v1.SUBSCRIPTION_STATUS_ACTIVE,
        trial_end: int | None = None,
    ) -> Subscribed:
        package = self.published(package_id)
        message = v1.Subscription(
            id=f"sub_{uuid4().hex}",
            user_id=user.message.id,
            package_id=package_id,
            package_version=package.version,
            status=status,
            started_at=as_timestamp(started),
            trial_end=None if trial_end is None else as_timestamp(trial_end),
        )
        return Subscribed(message, package.type == v1.PACKAGE_TYPE_BASE, tuple(package.features))

    def _check_one_base(self, user: User, kept: Sequence[Subscribed], changed: Sequence[Subscribed]) -> None:
        """Refuse two base packages at the same time, now or later; name the subscription that is in the way."""
        bases = sorted(
            (one for one in (*kept, *changed) if one.base and one.status_at(self.now) not in ENDED),
            key=lambda one: one.started,
        )
        for one, other in pairwise(bases):
            end = one.end()
            if end is None or other.started < end:
                ids = {"user_id": user.message.id}
                if (existing := next((each for each in (one, other) if each not in changed), None)) is not None:
                    ids["subscription_id"] = existing.message.id
                raise Refusal("SECOND_BASE_PACKAGE", "a user can have one base package at a time", **ids)

    def get_subscription(self, request: v1.GetSubscriptionRequest) -> v1.GetSubscriptionResponse:
        """GetSubscription."""
        _, found = self._find(request.subscription_id)
        return v1.GetSubscriptionResponse(subscription=found.view(self.now))

    def list_subscriptions(self, request: v1.ListSubscriptionsRequest) -> v1.ListSubscriptionsResponse:
        """ListSubscriptions."""
        users = [self.user(request.user_id)] if request.user_id else list(self.users.values())
        if request.package_id:
            self.package(request.package_id)
        found = (
            one.view(self.now)
            for user in users
            for one in sorted(user.subscriptions, key=lambda one: (one.started, one.message.id))
            if request.package_id in ("", one.message.package_id)
            and request.status in (v1.SUBSCRIPTION_STATUS_UNSPECIFIED, one.status_at(self.now))
        )
        return page(
            request, found, lambda items, rest: v1.ListSubscriptionsResponse(subscriptions=items, next_page_token=rest)
        )

    def update_subscription(self, request: v1.UpdateSubscriptionRequest) -> v1.UpdateSubscriptionResponse:
        """UpdateSubscription."""
        user, found = self._find(request.subscription.id)
        given, paths = request.subscription, set(request.update_mask.paths)
        if unknown := paths - set(_MASK):
            raise invalid(("update_mask", f"must be of {', '.join(_MASK)}; {', '.join(sorted(unknown))} was sent"))
        status = given.status if "status" in paths else None
        has_come = "cancel_at" in paths and given.HasField("cancel_at") and in_ms(given.cancel_at) <= self.now
        new = Subscribed(v1.Subscription(), found.base, found.entries)
        new.message.CopyFrom(found.message)
        if found.status_at(self.now) in ENDED and (status is None or status in ENDED or has_come):
            # Dates do not reactivate an ended subscription; nor does a status with an end that has passed.
            new.message.status = status if status in ENDED else found.message.status
        else:
            self._change_subscription(new, given, paths, has_come=has_come)
            _check_trial(new)
        self._check_one_base(user, [one for one in user.subscriptions if one is not found], [new])
        found.message = new.message
        user.update(self.now)
        return v1.UpdateSubscriptionResponse(subscription=found.view(self.now))

    def _change_subscription(self, new: Subscribed, given: v1.Subscription, paths: set[str], *, has_come: bool) -> None:
        """Set the given fields; a status can set or remove the end."""
        message = new.message
        if "trial_end" in paths:
            message.ClearField("trial_end")
            if given.HasField("trial_end"):
                message.trial_end.CopyFrom(given.trial_end)
        if "cancel_at" in paths:
            message.ClearField("cancel_at")
            if given.HasField("cancel_at"):
                message.cancel_at.CopyFrom(as_timestamp(max(self.now, in_ms(given.cancel_at))))
        if "status" in paths:
            message.status = given.status
            gone = message.HasField("cancel_at") and in_ms(message.cancel_at) <= self.now
            if given.status in ENDED and not gone:
                message.cancel_at.CopyFrom(as_timestamp(self.now))
            if given.status not in ENDED and gone and not has_come:
                message.ClearField("cancel_at")

    def cancel_subscription(self, request: v1.CancelSubscriptionRequest) -> v1.CancelSubscriptionResponse:
        """CancelSubscription."""
        user, found = self._find(request.subscription_id)
        if found.status_at(self.now) not in ENDED:
            end = self._period_end(found) if request.at_period_end else self.now
            if found.message.HasField("cancel_at"):
                end = min(end, in_ms(found.message.cancel_at))
            found.message.cancel_at.CopyFrom(as_timestamp(end))
            user.update(self.now)
        return v1.CancelSubscriptionResponse(subscription=found.view(self.now))

    def _period_end(self, subscription: Subscribed) -> int:
        """Return the end of the trial, or of the longest period."""
        end = self._end_of_period(subscription)
        if end is None:
            name = subscription.message.id
            raise Refusal("NO_PERIOD_END", f"subscription {name!r} has no period that ends", subscription_id=name)
        return end

    def _end_of_period(self, subscription: Subscribed) -> int | None:
        if subscription.message.status == _TRIALING:
            return in_ms(subscription.message.trial_end)
        longest = max((entry.reset_period for entry in subscription.entries), default=v1.RESET_PERIOD_NEVER)
        return period_at(subscription.started, longest, self.now)[1]

    def change_package(self, request: v1.ChangePackageRequest) -> v1.ChangePackageResponse:
        """ChangePackage."""
        check(request, ids=("user_id", "package_id"))
        user = self.user(request.user_id)
        if (known := user.recall(request, v1.ChangePackageResponse)) is not None:
            return known
        wanted, replaced = self._change(user, request)
        changed = bool(replaced) or wanted not in user.subscriptions
        if wanted not in user.subscriptions:
            user.subscriptions.append(wanted)
        user.update(self.now)
        views = [one.view(self.now) for one in replaced]
        answer = v1.ChangePackageResponse(subscription=wanted.view(self.now), replaced=views, changed=changed)
        return user.remember(request, answer)

    def _change(self, user: User, request: v1.ChangePackageRequest) -> tuple[Subscribed, list[Subscribed]]:
        """Return the subscription that a user has after a change of the package, and those that it ends."""
        bases = sorted(
            (one for one in user.subscriptions if one.base and one.is_to_come(self.now)), key=lambda one: one.started
        )
        current = next((one for one in bases if one.started <= self.now), None)
        planned = [one for one in bases if one.started > self.now]
        at_period_end = request.timing == v1.CHANGE_TIMING_PERIOD_END
        if current is not None and current.message.package_id == request.package_id:
            if planned and current.message.cancel_at == planned[0].message.started_at:
                current.message.ClearField("cancel_at")
            return current, self._end(planned, self.now)
        start = self._start_of_change(current, planned) if at_period_end else self.now
        for one in planned if at_period_end else ():
            if one.message.package_id == request.package_id and one.started == start:
                return one, self._end([other for other in planned if other is not one], self.now)
        package = self.published(request.package_id)
        if package.type != v1.PACKAGE_TYPE_BASE:
            raise Refusal("PACKAGE_NOT_BASE", f"package {package.id!r} is an add-on", package_id=package.id)
        new = self._subscribed(user, package.id, start)
        if current is not None and not at_period_end:
            new.message.status = current.message.status
            if current.message.status == _TRIALING:
                new.message.trial_end.CopyFrom(current.message.trial_end)
        return new, [*self._end([] if current is None else [current], start), *self._end(planned, self.now)]

    def _end(self, subscriptions: list[Subscribed], end: int) -> list[Subscribed]:
        for one in subscriptions:
            one.message.cancel_at.CopyFrom(as_timestamp(end))
        return subscriptions

    def _start_of_change(self, current: Subscribed | None, planned: list[Subscribed]) -> int:
        """Return when a change at the end of the period takes effect."""
        if current is None:
            return planned[0].started if planned else self.now
        ends = [end for end in (current.end(), self._end_of_period(current)) if end is not None]
        if not ends:
            raise Refusal("NO_PERIOD_END", "there is no period that ends", subscription_id=current.message.id)
        return min(ends)

    def ensure_user(self, request: v1.EnsureUserRequest) -> v1.EnsureUserResponse:
        """EnsureUser."""
        check(request.user, "user.", ids=("id",))
        package = self.published(request.package_id) if request.package_id else None
        created = request.user.id not in self.users
        updated = False if created else self.changed_user(request)
        user = self.new_user(request.user) if created else self.user(request.user.id)
        answer = v1.EnsureUserResponse(user=user.message, created=created, updated=updated)
        if package is not None:
            base = package.type == v1.PACKAGE_TYPE_BASE
            alike = (
                one
                for one in sorted(user.subscriptions, key=lambda one: one.started)
                if one.base == base and (one.is_to_come(self.now) if base else one.status_at(self.now) not in ENDED)
            )
            found = next((one for one in alike if base or one.message.package_id == package.id), None)
            answer.subscribed = found is None
            if found is None:
                found = self._subscribed(user, package.id, self.now)
                user.subscriptions.append(found)
                user.update(self.now)
            answer.subscription.CopyFrom(found.view(self.now))
        return answer

    def create_grant(self, request: v1.CreateGrantRequest) -> v1.CreateGrantResponse:
        """CreateGrant."""
        grant = request.grant
        check(grant, "grant.", ids=("id", "user_id", "feature_id"))
        feature, user = self.feature(grant.feature_id), self.user(grant.user_id)
        if grant.HasField("amount"):
            amount("grant.amount", grant.amount)
            if feature.type == v1.FEATURE_TYPE_BINARY:
                raise invalid(("grant.amount", "must be absent for a binary feature"))
        known = user.grants.get(grant.id)
        if not grant.HasField("effective_at"):
            grant.effective_at.CopyFrom(as_timestamp(self.now) if known is None else known.message.effective_at)
        if known is not None:
            grant.created_at.CopyFrom(known.message.created_at)
            if grant != known.message:
                raise exists("grant", grant.id)
            return v1.CreateGrantResponse(grant=known.message)
        if feature.archived:
            raise Refusal("FEATURE_ARCHIVED", f"feature {feature.id!r} is archived", feature_id=feature.id)
        if grant.HasField("expires_at") and in_ms(grant.expires_at) <= in_ms(grant.effective_at):
            raise invalid(("grant.expires_at", "must be after effective_at"))
        grant.created_at.CopyFrom(as_timestamp(self.now))
        user.grants[grant.id] = made = Granted(grant, grant.amount if grant.HasField("amount") else None)
        account = user.account(grant.feature_id, self.now)
        account.grants = sorted([*account.grants, made], key=Granted.order)
        user.update(self.now)
        return v1.CreateGrantResponse(grant=grant)

    def list_grants(self, request: v1.ListGrantsRequest) -> v1.ListGrantsResponse:
        """ListGrants."""
        grants = self.user(request.user_id).grants
        found = (grants[name].message for name in sorted(grants))
        return page(request, found, lambda items, rest: v1.ListGrantsResponse(grants=items, next_page_token=rest))

    def revoke_grant(self, request: v1.RevokeGrantRequest) -> v1.RevokeGrantResponse:
        """RevokeGrant."""
        user = self.user(request.user_id)
        found = user.grants.get(request.grant_id)
        if found is None:
            raise not_found("grant", request.grant_id)
        if not found.message.HasField("revoked_at"):
            found.message.revoked_at.CopyFrom(as_timestamp(self.now))
            user.update(self.now)
        return v1.RevokeGrantResponse(grant=found.message)

    def _find(self, subscription_id: str) -> tuple[User, Subscribed]:
        for user in self.users.values():
            for one in user.subscriptions:
                if one.message.id == subscription_id:
                    return user, one
        raise not_found("subscription", subscription_id)


def _check_trial(subscription: Subscribed) -> None:
    message = subscription.message
    if message.status == _TRIALING and not message.HasField("trial_end"):
        raise invalid(("trial_end", "must be given with the status TRIALING"))
    if message.HasField("trial_end") and in_ms(message.trial_end) <= subscription.started:
        raise invalid(("trial_end", "must be after started_at"))
