"""The hash of a user: what decisions depend on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from canuse_server.domain.decision import Counter, Reservation, runs_ahead
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import Subscription
from canuse_server.domain.periods import CLOCKS_DIFFER_MS
from canuse_server.store.codec import user_values
from canuse_server.store.codec.user_values import Meta


@dataclass(frozen=True, slots=True)
class UserState:
    """The hash of a user, read at `now_ms`."""

    user_id: str
    now_ms: int
    raw_meta: bytes
    meta: Meta
    subscriptions: tuple[Subscription, ...]
    entitlements: Mapping[str, Entitlement]
    counters: Mapping[str, Counter]
    grants: Mapping[str, tuple[GrantBalance, ...]] = field(default_factory=dict)
    reservations: Mapping[str, Reservation] = field(default_factory=dict)
    leases_due_ms: int | None = None
    """The time at which a sweep of leases is due; None: there are no leases."""
    ended_until_ms: int = 0
    """The latest end of the subscriptions in the `ended` hash; 0 if none of them ended by a date."""

    @property
    def exists(self) -> bool:
        """Whether the user exists. False: a change is to create the user."""
        return bool(self.raw_meta)

    def is_current(self) -> bool:
        """Whether the entitlements are valid: no end of a period or other date has passed, and no clock ran ahead."""
        ends_ms = (entitlement.valid_until_ms for entitlement in self.entitlements.values())
        return all(end_ms is None or end_ms > self.now_ms for end_ms in ends_ms) and not self.runs_ahead()

    def leases_are_due(self) -> bool:
        """Whether a sweep of leases is due."""
        return self.leases_due_ms is not None and user_values.is_due(self.leases_due_ms, self.now_ms)

    def was_computed_ahead(self) -> bool:
        """Whether the entitlements were computed under a clock that was too far ahead."""
        latest_ms = max((entitlement.period.start_ms for entitlement in self.entitlements.values()), default=0)
        return max(self.meta.as_of_ms, latest_ms) > self.now_ms + CLOCKS_DIFFER_MS

    def runs_ahead(self) -> bool:
        """Whether entitlements or counters were written under a clock that was too far ahead."""
        return self.was_computed_ahead() or any(
            runs_ahead(entitlement, self.counters.get(feature_id), self.now_ms)
            for feature_id, entitlement in self.entitlements.items()
        )


def fields_of(reply: object) -> dict[bytes, bytes]:
    """Return the reply to HGETALL as a mapping."""
    items = cast("list[bytes]", reply)
    return dict(zip(items[::2], items[1::2], strict=True))


def state_of(user_id: str, fields: dict[bytes, bytes], now_ms: int) -> UserState | None:
    """Read a user's hash; None if the user does not exist."""
    raw_meta = fields.pop(user_values.META_FIELD, None)
    if raw_meta is None:
        return None
    entitlements: dict[str, Entitlement] = {}
    counters: dict[str, Counter] = {}
    grants: dict[str, tuple[GrantBalance, ...]] = {}
    reservations: dict[str, Reservation] = {}
    due = fields.pop(user_values.LEASES_DUE_FIELD, None)
    for name, value in fields.items():
        prefix, key = name[:2], name[2:].decode()
        if prefix == user_values.FEATURE_PREFIX:
            entitlements[key], counter = user_values.unpack_feature(value)
            if counter is not None:
                counters[key] = counter
        elif prefix == user_values.GRANTS_PREFIX:
            grants[key] = user_values.unpack_grants(value)
        elif prefix == user_values.RESERVATION_PREFIX:
            reservations[key] = user_values.unpack_reservation(value)
    return UserState(
        user_id=user_id,
        now_ms=now_ms,
        raw_meta=raw_meta,
        meta=Meta.unpack(raw_meta),
        subscriptions=tuple(subscriptions_of(fields)),
        entitlements=entitlements,
        counters=counters,
        grants=grants,
        reservations=reservations,
        leases_due_ms=None if due is None else user_values.unpack_moment(due),
        ended_until_ms=ended_until_ms_of(fields),
    )


def subscriptions_of(fields: Mapping[bytes, bytes]) -> list[Subscription]:
    """Read the subscriptions of a user's hash, oldest first."""
    found = [
        user_values.unpack_subscription(name[2:].decode(), value)
        for name, value in fields.items()
        if name.startswith(user_values.SUBSCRIPTION_PREFIX)
    ]
    return sorted(found, key=_age_key)


def ended_subscription_of(item: tuple[bytes, bytes]) -> Subscription:
    token, value = item
    return user_values.unpack_subscription(token.decode(), value)


def merged(ended: Iterable[Subscription], subscriptions: Iterable[Subscription]) -> list[Subscription]:
    """Return ended and other subscriptions, oldest first. One in both was reactivated: the other one is current."""
    found = {subscription.token: subscription for subscription in (*ended, *subscriptions)}
    return sorted(found.values(), key=_age_key)


def _age_key(subscription: Subscription) -> tuple[int, str]:
    return subscription.started_at_ms, subscription.token


def ended_until_ms_of(fields: Mapping[bytes, bytes]) -> int:
    value = fields.get(user_values.ENDED_UNTIL_FIELD)
    return 0 if value is None else user_values.unpack_moment(value)
