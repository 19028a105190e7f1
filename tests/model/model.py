"""The reference model: all of canuse as one plain object that answers calls made one after the other.

It was written from the documented rules, not from the server. It computes nothing in advance and postpones nothing: as
time passes, it processes every moment at which something changes.
"""

from typing import Any

from canuse import v1
from model.leases import Leases
from model.observations import (
    MAX,
    Check,
    Entitled,
    Event,
    Recorded,
    Refusal,
    Refused,
    Step,
    Total,
    Usage,
    Used,
    outcome,
)
from model.retry import retry_after
from model.user import ChargeResult, Remembered, User, UseResult, grants_access

Charges = tuple[tuple[str, int], ...]
Metadata = tuple[tuple[str, str], ...]
Batch = tuple[tuple[Any, ...], ...]
"""The arguments of many calls of one kind."""
USE = 0
"""The action of a call that is checked first and recorded only if it is allowed."""


class Model(Leases):
    """Everything. Each method is a call of the API; a call that fails raises Refused."""

    def __init__(self, now: int) -> None:
        super().__init__()
        self.now = now
        self.users: dict[str, User] = {}

    def set_clock(self, now: int) -> None:
        """Move the clock, processing every change in between."""
        for user in self.users.values():
            user.pass_time(self.now, now)
        self.now = now

    def can_use(self, user_id: str, feature: str, delta: int) -> Check:
        """CanUse."""
        known, user = self.feature(feature), self.user(user_id)
        account = user.account(feature)
        reason, counts = user.refusal(account, known.archived), None
        if known.binary:
            reason = reason or v1.REASON_INCLUDED
        else:
            counts, total = account.counts(self.now), account.used + delta
            reason = reason or account.reason_for(total, self.now)
            if grants_access(reason) and total + account.reserved(self.now) > MAX:
                raise Refused("TOTAL_OUT_OF_RANGE")
        retry = None if grants_access(reason) else retry_after(user, (self.wanted(feature, delta),), self.now)
        return Check(grants_access(reason), reason, counts, retry)

    def create_usage_event(
        self, user_id: str, feature: str, delta: int, action: int, event_id: str, metadata: Metadata
    ) -> Recorded:
        """CreateUsageEvent."""
        result, replayed = self._record_use(user_id, action, ((feature, delta),), event_id, metadata)
        (charge,) = result.charge_results
        counts = charge.counts
        return Recorded(charge.recorded, charge.reason, counts, charge.applied, result.event_id, replayed)

    def explain(self, user_id: str, feature: str, delta: int) -> tuple[Check, tuple[Step, ...]]:
        """CanUse with `explain`."""
        check = self.can_use(user_id, feature, delta)
        return check, self.steps(self.user(user_id), self.feature(feature), check, delta)

    def batch_can_use(self, requests: Batch) -> list[Check | Refusal]:
        """BatchCanUse."""
        return [outcome(self.can_use, *request) for request in requests]

    def batch_create_usage_events(self, requests: Batch) -> list[Recorded | Refusal]:
        """BatchCreateUsageEvents."""
        return [outcome(self.create_usage_event, *request) for request in requests]

    def batch_use_feature(self, requests: Batch) -> list[Used | Refusal]:
        """BatchUseFeature."""
        return [outcome(self.use_feature, *request) for request in requests]

    def use_feature(self, user_id: str, feature: str, delta: int, event_id: str, metadata: Metadata) -> Used:
        """UseFeature: the same as UseFeatures with one charge."""
        return self.use_features(user_id, ((feature, delta),), event_id, metadata)._replace(blocking="")

    def use_features(self, user_id: str, charges: Charges, event_id: str, metadata: Metadata) -> Used:
        """UseFeatures."""
        result, replayed = self._record_use(user_id, USE, charges, event_id, metadata)
        names = [feature for feature, _ in charges]
        deciding = result.charge_results[names.index(result.blocking) if result.blocking else 0]
        counts = tuple(charge.counts for charge in result.charge_results)
        used = Used(not result.blocking, deciding.reason, result.blocking, counts, result.event_id, replayed)
        return used._replace(retry=result.retry)

    def list_entitlements(self, user_id: str) -> list[Entitled]:
        """ListEntitlements."""
        user, features = self.user(user_id), self.features
        found = [user.entitled(name, self.now, features[name].binary, features[name].archived) for name in features]
        return sorted(entitled for entitled in found if entitled is not None)

    def show_usage(self, user_id: str, feature: str) -> Usage:
        """ShowUsage."""
        self.consumable(feature)
        return self.user(user_id).usage(feature, self.now)

    def list_usage_events(self, user_id: str, feature: str, start: int | None, end: int | None) -> list[Event]:
        """ListUsageEvents, all pages; an empty feature means all features."""
        user = self.user(user_id)
        if feature:
            self.feature(feature)
        if start is not None and end is not None and start > end:
            raise Refused("INVALID_FIELD")
        return [
            event
            for event in reversed(user.events)
            if feature in ("", event.feature)
            if (start is None or event.time >= start) and (end is None or event.time < end)
        ]

    def list_usage_totals(self, feature: str, start: int | None, end: int | None) -> list[Total]:
        """ListUsageTotals, all pages; an empty feature means all features."""
        if start is not None and end is not None and start > end:
            raise Refused("INVALID_FIELD")
        if feature:
            self.consumable(feature)
        features = [feature] if feature else sorted(name for name in self.features if not self.features[name].binary)
        return [
            total
            for user_id in sorted(self.users)
            for total in self.users[user_id].totals(features, self.now)
            if (start is None or total.start >= start) and (end is None or total.start < end)
        ]

    def _record_use(
        self, user_id: str, action: int, charges: Charges, event_id: str, metadata: Metadata
    ) -> tuple[UseResult, bool]:
        """Record charges, all or none; return the result, and whether it is that of an earlier call."""
        for feature, _ in charges:
            self.feature(feature)
        for feature, _ in charges:
            self.consumable(feature)
        user, content = self.user(user_id), (action, charges, metadata)
        known = user.recall(event_id, content)
        if known is not None:
            return known, True
        evaluated = [self._evaluate(user, action, feature, delta) for feature, delta in charges]
        refused = [feature for (feature, _), (_, _, recorded) in zip(charges, evaluated, strict=True) if not recorded]
        blocking = refused[0] if refused and action == USE else ""
        if not blocking:
            for (feature, _), (total, _, recorded) in zip(charges, evaluated, strict=True):
                if recorded and total + user.account(feature).reserved(self.now) > MAX:
                    raise Refused("TOTAL_OUT_OF_RANGE")
        charge_results = []
        for (feature, delta), (total, reason, counted) in zip(charges, evaluated, strict=True):
            account, applied, recorded = user.account(feature), 0, counted and not blocking
            if recorded:
                applied = account.set_total(total, self.now)
                done = (action or v1.USAGE_ACTION_ADD, event_id, metadata, reason, total, account.budget(self.now))
                user.events.append(Event(self.now, feature, delta, applied, *done))
            charge_results.append(ChargeResult(reason, account.counts(self.now), applied, recorded))
        event_name = event_id or (f"@{self.now}" if charge_results[0].recorded else "")
        wanted = [self.wanted(feature, delta) for feature, delta in charges]
        retry = retry_after(user, wanted, self.now) if blocking else None
        result = UseResult(blocking, tuple(charge_results), event_name, retry)
        # A fact that was not recorded can be sent again; the answer to a checked use is kept, allowed or refused.
        if event_id and (action == USE or any(charge.recorded for charge in charge_results)):
            user.remembered[event_id] = Remembered(content, result, self.now)
        return result, False

    def _evaluate(self, user: User, action: int, feature: str, delta: int) -> tuple[int, int, bool]:
        """Return the total after a charge, its reason, and whether it is recorded."""
        account = user.account(feature)
        total = max(0, delta if action == v1.USAGE_ACTION_SET else account.used + delta)
        if account.terms is None and action != USE:
            return total, v1.REASON_NOT_ENTITLED, False
        reason = user.refusal(account, self.feature(feature).archived)
        reason = reason or account.reason_for(total, self.now)
        return total, reason, action != USE or grants_access(reason)
