"""UsageService in memory, and leases."""

from typing import Final
from uuid import uuid4

from canuse import v1
from canuse.testing.fake.account import Account, Lease
from canuse.testing.fake.checks import MAX_AMOUNT, amount, check, page
from canuse.testing.fake.entitlements import GRANTS_ACCESS, Entitlements
from canuse.testing.fake.periods import as_timestamp, in_ms
from canuse.testing.fake.refusal import Refusal, invalid, not_found
from canuse.testing.fake.sources import best_active
from canuse.testing.fake.users import User

_DEFAULT_TTL_MS: Final = 60_000
_MAX_TTL_MS: Final = 7 * 24 * 3_600_000
_KEPT_MS: Final = 24 * 3_600_000
"""How long an expired lease can still be settled."""


class Usage(Entitlements):
    """Leases, totals of periods, and events."""

    def reserve(self, request: v1.ReserveRequest) -> v1.ReserveResponse:
        """Reserve."""
        check(request, ids=("user_id", "feature_id"))
        wanted = amount("amount", request.amount)
        least = amount("min_amount", request.min_amount) if request.HasField("min_amount") else 1
        ttl = _ttl(request)
        feature, user = self.consumable(request.feature_id), self.user(request.user_id)
        if (known := user.recall(request, v1.ReserveResponse)) is not None:
            return known
        account = user.account(feature.id, self.now)
        reason, granted = self.reason(user, feature, account, wanted), wanted
        if reason == v1.REASON_BUDGET_EXCEEDED:
            counts = account.consumption()
            granted = counts.remaining if counts is not None else 0
            reason = v1.REASON_WITHIN_BUDGET if granted >= least else reason
        if reason not in GRANTS_ACCESS or account.terms is None:
            response = v1.ReserveResponse(reason=reason, consumption=account.consumption(), event_id=request.event_id)
            self.retry_after(reason, account, least, response)
            return user.remember(request, response)
        lease = Lease(f"lease_{uuid4().hex}", granted, self.now + ttl, account.period)
        account.leases.append(lease)
        response = v1.ReserveResponse(
            granted=granted,
            lease_id=lease.id,
            expires_at=as_timestamp(lease.expires),
            reason=reason,
            consumption=account.consumption(),
        )
        return user.remember(request, response)

    def settle(self, request: v1.SettleRequest) -> v1.SettleResponse:
        """Settle."""
        check(request)
        if not request.HasField("used"):
            raise invalid(("used", "must be 0 to 2^53 - 1; nothing was sent"))
        used = amount("used", request.used, 0)
        final = request.final if request.HasField("final") else True
        for user in self.users.values():
            if (known := user.recall(request, v1.SettleResponse)) is not None:
                return known
        user, account, lease = self._lease(request.lease_id)
        if lease.settled or self.now >= lease.expires + _KEPT_MS:
            raise not_found("lease", request.lease_id)
        feature, late = self.feature(account.feature_id), self.now >= lease.expires
        lease.settled = final
        lease.amount -= lease.amount if final else min(used, lease.amount)
        past = account.past.get(lease.period)
        if used and lease.period == account.period:
            account.set_total(account.used + used)
        elif used and past is not None:
            account.add_to_past(past, used)
        reason = self.reason(user, feature, account, 0)
        event_id = self.record(user, account, used, used, reason, request) if used else request.event_id
        response = v1.SettleResponse(
            recorded=used > 0, reason=reason, consumption=account.consumption(), late=late, event_id=event_id
        )
        return user.remember(request, response)

    def extend_lease(self, request: v1.ExtendLeaseRequest) -> v1.ExtendLeaseResponse:
        """ExtendLease."""
        check(request)
        more = amount("amount", request.amount) if request.HasField("amount") else 0
        for user in self.users.values():
            if (known := user.recall(request, v1.ExtendLeaseResponse)) is not None:
                return known
        user, account, lease = self._lease(request.lease_id)
        if not lease.is_open(self.now):
            raise not_found("lease", request.lease_id)
        reason = self.reason(user, self.feature(account.feature_id), account, more)
        extended = not more or reason in GRANTS_ACCESS
        if extended and more and lease.period != account.period:
            text = f"the period of lease {lease.id!r} has ended, so that no units can be added to it"
            raise Refusal("LEASE_PERIOD_ENDED", text, lease_id=lease.id)
        if extended:
            lease.amount += more
            lease.expires = max(lease.expires, self.now + (_ttl(request) if request.HasField("ttl") else 0))
        response = v1.ExtendLeaseResponse(
            extended=extended,
            granted=lease.amount,
            expires_at=as_timestamp(lease.expires),
            reason=reason,
            consumption=account.consumption(),
        )
        return user.remember(request, response)

    def _lease(self, lease_id: str) -> tuple[User, Account, Lease]:
        for user in self.users.values():
            for account in user.accounts.values():
                for lease in account.leases:
                    if lease.id == lease_id:
                        return user, account, lease
        raise not_found("lease", lease_id)

    def show_usage(self, request: v1.ShowUsageRequest) -> v1.ShowUsageResponse:
        """ShowUsage."""
        self.consumable(request.feature_id)
        account = self.user(request.user_id).account(request.feature_id, self.now)
        past = reversed(account.kept_past())
        response = v1.ShowUsageResponse(current=account.consumption(), past=past)
        active = best_active(account.entries(), self.now)
        if active is not None and account.terms is not None:
            limit, from_package = account.terms.limit, max(0, account.used - account.drawn())
            left = None if limit is None else max(0, limit - from_package)
            response.sources.add(subscription_id=active.message.id, amount=limit, left=left)
        for grant in account.grants:
            total = grant.message.amount if grant.message.HasField("amount") else None
            response.sources.add(
                grant_id=grant.message.id, amount=total, left=grant.left if grant.is_open(self.now) else 0
            )
        return response

    def list_leases(self, request: v1.ListLeasesRequest) -> v1.ListLeasesResponse:
        """ListLeases."""
        if request.feature_id:
            self.feature(request.feature_id)
        found = [
            (lease.expires, v1.Lease(id=lease.id, feature_id=name, amount=lease.amount))
            for name, account in self.user(request.user_id).accounts.items()
            if request.feature_id in ("", name)
            for lease in account.leases
            if lease.is_open(self.now)
        ]
        for expires, lease in found:
            lease.expires_at.CopyFrom(as_timestamp(expires))
        ordered = [lease for _, lease in sorted(found, key=lambda each: (each[0], each[1].id))]
        return page(request, ordered, lambda items, rest: v1.ListLeasesResponse(leases=items, next_page_token=rest))

    def list_usage_events(self, request: v1.ListUsageEventsRequest) -> v1.ListUsageEventsResponse:
        """ListUsageEvents."""
        if request.feature_id:
            self.feature(request.feature_id)
        start = in_ms(request.start_time) if request.HasField("start_time") else 0
        end = in_ms(request.end_time) if request.HasField("end_time") else MAX_AMOUNT
        found = [
            event
            for event in self.user(request.user_id).events
            if request.feature_id in ("", event.feature_id) and start <= in_ms(event.time) < end
        ]
        return page(request, found, lambda items, rest: v1.ListUsageEventsResponse(events=items, next_page_token=rest))

    def list_usage_totals(self, request: v1.ListUsageTotalsRequest) -> v1.ListUsageTotalsResponse:
        """ListUsageTotals."""
        names = [self.consumable(request.feature_id).id] if request.feature_id else sorted(self.features)
        start = in_ms(request.start_time) if request.HasField("start_time") else 0
        end = in_ms(request.end_time) if request.HasField("end_time") else MAX_AMOUNT
        found = [
            total
            for user_id in sorted(self.users)
            for name in names
            for total in self._totals(user_id, name)
            if start <= in_ms(total.period_start) < end
        ]
        return page(request, found, lambda items, rest: v1.ListUsageTotalsResponse(totals=items, next_page_token=rest))

    def _totals(self, user_id: str, feature_id: str) -> list[v1.UsageTotal]:
        account = self.users[user_id].account(feature_id, self.now)
        totals = []
        for past in account.kept_past():
            total = v1.UsageTotal(user_id=user_id, feature_id=feature_id, used=past.used, complete=True)
            total.period_start.CopyFrom(past.period_start)
            total.period_end.CopyFrom(past.period_end)
            total.drawn_from_grants, total.overage = past.drawn_from_grants, past.overage
            if past.HasField("budget"):
                total.budget = past.budget
            totals.append(total)
        if account.used and account.terms is not None:
            terms = account.terms
            overage = 0 if terms.limit is None else max(0, account.used - terms.limit - account.drawn())
            current = v1.UsageTotal(
                user_id=user_id,
                feature_id=feature_id,
                period_start=as_timestamp(terms.start),
                period_end=None if terms.end is None else as_timestamp(terms.end),
                used=account.used,
                budget=terms.limit,
                drawn_from_grants=account.drawn(),
                overage=overage,
            )
            totals.append(current)
        return totals


def _ttl(request: v1.ReserveRequest | v1.ExtendLeaseRequest) -> int:
    if not request.HasField("ttl"):
        return _DEFAULT_TTL_MS
    ttl = request.ttl.ToMilliseconds()
    if not 1000 <= ttl <= _MAX_TTL_MS:
        raise invalid(("ttl", f"must be 1 second to 7 days; {ttl} ms was sent"))
    return ttl
