"""EntitlementService in memory: checks, uses and batches."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from canuse import v1
from canuse.testing.fake.account import Account
from canuse.testing.fake.checks import amount, check, page
from canuse.testing.fake.periods import as_timestamp
from canuse.testing.fake.refusal import Refusal, invalid
from canuse.testing.fake.subscriptions import Subscriptions
from canuse.testing.fake.users import User

GRANTS_ACCESS: Final = (v1.REASON_INCLUDED, v1.REASON_WITHIN_BUDGET, v1.REASON_UNLIMITED, v1.REASON_OVERAGE)
_ADD: Final = v1.USAGE_ACTION_ADD
_SET: Final = v1.USAGE_ACTION_SET
_MAX_BATCH: Final = 1000
_Request = TypeVar("_Request", bound=Message)


class Entitlements(Subscriptions):
    """Checks and uses."""

    def __init__(self, now: int) -> None:
        """Start with an available store."""
        super().__init__(now)
        self.available = True
        self._checked: set[tuple[str, str]] = set()
        """The users and features that were checked: their counts are the last known while the store is unavailable."""

    def reason(self, user: User, feature: v1.Feature, account: Account, delta: int) -> v1.Reason.ValueType:
        """Return the reason of a check."""
        if user.message.disabled:
            return v1.REASON_USER_DISABLED
        if feature.archived:
            return v1.REASON_FEATURE_ARCHIVED
        if account.terms is None:
            return v1.REASON_NOT_ENTITLED
        if not account.terms.active:
            return v1.REASON_SUBSCRIPTION_INACTIVE
        if feature.type == v1.FEATURE_TYPE_BINARY:
            return v1.REASON_INCLUDED
        return account.reason_for(account.used + delta)

    def retry_after(self, reason: v1.Reason.ValueType, account: Account, delta: int, response: Any) -> None:
        """Set `retry_after` of a no that the end of the period turns into a yes."""
        if (wait_ms := self._wait_ms(reason, account, delta)) is not None:
            response.retry_after.FromMilliseconds(wait_ms)

    def _wait_ms(self, reason: v1.Reason.ValueType, account: Account, delta: int) -> int | None:
        """Return after what time a no is a yes; None if that is not known."""
        terms = account.terms
        fits = terms is not None and (terms.limit is None or delta <= terms.limit)
        if reason == v1.REASON_BUDGET_EXCEEDED and terms is not None and terms.end is not None and fits:
            return terms.end - self.now
        return None

    def can_use(self, request: v1.CanUseRequest) -> v1.CanUseResponse:
        """CanUse."""
        check(request, ids=("user_id", "feature_id"))
        delta = amount("delta", request.delta) if request.HasField("delta") else 1
        if request.explain:
            raise Refusal("UNIMPLEMENTED", "FakeClient does not explain answers: use the fixture canuse_server")
        feature = self.feature(request.feature_id)
        if not self.available:
            return self._fallback(request, feature, delta)
        user = self.user(request.user_id)
        self._checked.add((request.user_id, request.feature_id))
        return self._checked_response(user, feature, delta)

    def _checked_response(self, user: User, feature: v1.Feature, delta: int) -> v1.CanUseResponse:
        account = user.account(feature.id, self.now)
        reason = self.reason(user, feature, account, delta)
        response = v1.CanUseResponse(access=reason in GRANTS_ACCESS, reason=reason, source=v1.SOURCE_STORE)
        if feature.type == v1.FEATURE_TYPE_CONSUMABLE and (counts := account.consumption()) is not None:
            response.consumption.CopyFrom(counts)
        if feature.on_unavailable != v1.ON_UNAVAILABLE_DENY:
            response.on_unavailable = feature.on_unavailable
        self.retry_after(reason, account, delta, response)
        return response

    def _fallback(self, request: v1.CanUseRequest, feature: v1.Feature, delta: int) -> v1.CanUseResponse:
        """Answer while the store is unavailable."""
        setting, user = feature.on_unavailable, self.users.get(request.user_id)
        known = (request.user_id, request.feature_id) in self._checked
        if setting == v1.ON_UNAVAILABLE_LAST_KNOWN and known and user is not None:
            response = self._checked_response(user, feature, delta)
            response.source = v1.SOURCE_LAST_KNOWN
            return response
        access = setting == v1.ON_UNAVAILABLE_ALLOW and not feature.archived
        response = v1.CanUseResponse(access=access, reason=v1.REASON_STORE_UNAVAILABLE, source=v1.SOURCE_FALLBACK)
        if setting != v1.ON_UNAVAILABLE_DENY:
            response.on_unavailable = setting
        return response

    def create_usage_event(self, request: v1.CreateUsageEventRequest) -> v1.CreateUsageEventResponse:
        """CreateUsageEvent."""
        check(request, ids=("user_id", "feature_id"))
        is_set = request.action == _SET
        if is_set and not request.HasField("delta"):
            raise invalid(("delta", "must be given with USAGE_ACTION_SET"))
        delta = request.delta if request.HasField("delta") else 1
        amount("delta", delta, 0 if is_set else -(2**53 - 1))
        feature, user = self.consumable(request.feature_id), self.user(request.user_id)
        if (known := user.recall(request, v1.CreateUsageEventResponse)) is not None:
            return known
        account = user.account(feature.id, self.now)
        if account.terms is None:
            reason = v1.REASON_USER_DISABLED if user.message.disabled else v1.REASON_NOT_ENTITLED
            return v1.CreateUsageEventResponse(reason=reason, event_id=request.event_id)
        total = max(0, delta if is_set else account.used + delta)
        reason = self.reason(user, feature, account, total - account.used)
        applied = account.set_total(total)
        event_id = self.record(user, account, delta, applied, reason, request, action=request.action or _ADD)
        response = v1.CreateUsageEventResponse(
            recorded=True,
            reason=reason,
            consumption=account.consumption(),
            applied_delta=applied,
            event_id=event_id,
        )
        return user.remember(request, response)

    def record(
        self,
        user: User,
        account: Account,
        delta: int,
        applied: int,
        reason: v1.Reason.ValueType,
        request: Any,
        *,
        action: v1.UsageAction.ValueType = _ADD,
    ) -> str:
        """Note an event, and return its id: that of the request, or its own."""
        counts = account.consumption() or v1.Consumption()
        event = v1.UsageEvent(
            id=f"{self.now}-{len(user.events)}",
            time=as_timestamp(self.now),
            feature_id=account.feature_id,
            delta=delta,
            applied_delta=applied,
            action=action,
            event_id=request.event_id,
            metadata=request.metadata,
            reason=reason,
            used=counts.used,
            budget=counts.budget if counts.HasField("budget") else None,
            remaining=counts.remaining if counts.HasField("remaining") else None,
        )
        user.events.insert(0, event)
        return event.event_id or event.id

    def use_feature(self, request: v1.UseFeatureRequest) -> v1.UseFeatureResponse:
        """UseFeature."""
        check(request, ids=("user_id", "feature_id"))
        delta = amount("delta", request.delta) if request.HasField("delta") else 1
        feature, user = self.consumable(request.feature_id), self.user(request.user_id)
        if (known := user.recall(request, v1.UseFeatureResponse)) is not None:
            return known
        [(reason, account)], blocking, event_id = self._use(user, [(feature, delta)], request)
        response = v1.UseFeatureResponse(
            access=blocking is None, reason=reason, consumption=account.consumption(), event_id=event_id
        )
        if blocking is not None:
            self.retry_after(reason, account, delta, response)
        return user.remember(request, response)

    def use_features(self, request: v1.UseFeaturesRequest) -> v1.UseFeaturesResponse:
        """UseFeatures."""
        check(request, ids=("user_id",))
        if not 1 <= len(request.charges) <= 32:
            raise invalid(("charges", f"must be 1 to 32; {len(request.charges)} were sent"))
        deltas = [
            amount(f"charges[{number}].delta", each.delta) if each.HasField("delta") else 1
            for number, each in enumerate(request.charges)
        ]
        features, user = [self.consumable(each.feature_id) for each in request.charges], self.user(request.user_id)
        if (known := user.recall(request, v1.UseFeaturesResponse)) is not None:
            return known
        results, blocking, event_id = self._use(user, list(zip(features, deltas, strict=True)), request)
        response = v1.UseFeaturesResponse(
            access=blocking is None,
            reason=results[blocking or 0][0],
            blocking_feature_id="" if blocking is None else features[blocking].id,
            consumptions=[account.consumption() or v1.Consumption() for _, account in results],
            event_id=event_id,
        )
        refused = [
            (reason, account, delta)
            for (reason, account), delta in zip(results, deltas, strict=True)
            if reason not in GRANTS_ACCESS
        ]
        waits = [self._wait_ms(*each) for each in refused]
        if waits and None not in waits:
            response.retry_after.FromMilliseconds(max(wait for wait in waits if wait is not None))
        return user.remember(request, response)

    def _use(
        self, user: User, charges: Sequence[tuple[v1.Feature, int]], request: Any
    ) -> tuple[list[tuple[v1.Reason.ValueType, Account]], int | None, str]:
        """Check charges, and record all if none is refused.

        Returns:
            The reason and the account of each, the place of the first refused one, and the id of the first event.
        """
        accounts = [user.account(feature.id, self.now) for feature, _ in charges]
        reasons = [
            self.reason(user, feature, account, delta)
            for (feature, delta), account in zip(charges, accounts, strict=True)
        ]
        results = list(zip(reasons, accounts, strict=True))
        blocking = next((place for place, reason in enumerate(reasons) if reason not in GRANTS_ACCESS), None)
        if blocking is not None:
            return results, blocking, request.event_id
        ids = []
        for (_, delta), (reason, account) in zip(charges, results, strict=True):
            applied = account.set_total(account.used + delta)
            ids.append(self.record(user, account, delta, applied, reason, request))
        return results, None, ids[0]

    def batch_can_use(self, request: v1.BatchCanUseRequest) -> v1.BatchCanUseResponse:
        """BatchCanUse."""
        return v1.BatchCanUseResponse(results=_each(request.requests, self.can_use, v1.BatchCanUseResult))

    def batch_create_usage_events(self, request: v1.BatchCreateUsageEventsRequest) -> v1.BatchCreateUsageEventsResponse:
        """BatchCreateUsageEvents."""
        results = _each(request.requests, self.create_usage_event, v1.BatchCreateUsageEventsResult)
        return v1.BatchCreateUsageEventsResponse(results=results)

    def batch_use_feature(self, request: v1.BatchUseFeatureRequest) -> v1.BatchUseFeatureResponse:
        """BatchUseFeature."""
        results = _each(request.requests, self.use_feature, v1.BatchUseFeatureResult)
        return v1.BatchUseFeatureResponse(results=results)

    def list_entitlements(self, request: v1.ListEntitlementsRequest) -> v1.ListEntitlementsResponse:
        """ListEntitlements."""
        user = self.user(request.user_id)
        found = (self._entitlement(user, name, request.include_locked) for name in sorted(self.features))
        listed = [entitlement for entitlement in found if entitlement is not None]
        return page(
            request, listed, lambda items, rest: v1.ListEntitlementsResponse(entitlements=items, next_page_token=rest)
        )

    def _entitlement(self, user: User, feature_id: str, include_locked: bool) -> v1.Entitlement | None:
        feature, account = self.features[feature_id], user.account(feature_id, self.now)
        reason = self.reason(user, feature, account, 1)
        shown = v1.Entitlement(feature_id=feature_id, access=reason in GRANTS_ACCESS, reason=reason)
        if account.terms is None:
            if not include_locked or feature.archived:
                return None
            shown.package_ids.extend(self._packages_with(feature_id))
            return shown
        if include_locked and reason == v1.REASON_SUBSCRIPTION_INACTIVE:
            shown.package_ids.extend(self._packages_with(feature_id))
        shown.subscription_ids.extend(subscription.message.id for subscription, _ in account.entries())
        shown.grant_ids.extend(grant.message.id for grant in account.grants)
        if feature.type == v1.FEATURE_TYPE_CONSUMABLE and (counts := account.consumption()) is not None:
            shown.consumption.CopyFrom(counts)
        self.retry_after(reason, account, 1, shown)
        return shown

    def _packages_with(self, feature_id: str) -> Iterable[str]:
        for name in sorted(self.packages):
            try:
                package = self.published(name)
            except Refusal:
                continue
            if any(entry.feature_id == feature_id for entry in package.features):
                yield name


def _each(requests: Sequence[_Request], call: Callable[[_Request], Any], result: Callable[..., Any]) -> list[Any]:
    """Return the results of the items of a batch: responses, and the statuses of those that fail."""
    if not 1 <= len(requests) <= _MAX_BATCH:
        raise invalid(("requests", f"must be 1 to {_MAX_BATCH}; {len(requests)} were sent"))
    results = []
    for request in requests:
        try:
            results.append(result(response=call(request)))
        except Refusal as refusal:
            results.append(result(status=refusal.status))
    return results
