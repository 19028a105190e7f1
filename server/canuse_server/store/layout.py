"""How the values of a user's hash are packed. `scripts/lib/layout.lua` reads and writes the same bytes.

All numbers are little-endian. Values are short, so that Redis keeps the hash in its small form: that ends at 64 bytes,
which only a subscription to a package with an id of more than 35 bytes, or a long feature id, exceeds.
"""

from struct import Struct
from typing import Final, NamedTuple

from canuse_server.domain.decision import Counter
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import Reason, ResetPeriod, Subscription, SubscriptionStatus
from canuse_server.domain.periods import Period

META_FIELD: Final = b"m"
ENTITLEMENT_PREFIX: Final = b"e:"
COUNTER_PREFIX: Final = b"c:"
SUBSCRIPTION_PREFIX: Final = b"s:"

_NONE: Final = -1
_CONSUMABLE, _ACTIVE, _OVERAGE = 1, 2, 4
_DISABLED: Final = 1
# flags, revision, created_at_ms
_META: Final = Struct("<BQq")
# flags, reset period, limit, period start, period end, valid until
_ENTITLEMENT: Final = Struct("<BBqqqq")
# used, period start
_COUNTER: Final = Struct("<qq")
# status, package version, started at, trial end, cancel at; then the package id
_SUBSCRIPTION: Final = Struct("<BIqqq")
# period start, period end, used, budget
_PAST_PERIOD: Final = Struct("<qqqq")
# reason, length of the entitlement, now, used, applied delta, counter's period start; then entitlement and ledger id
_OUTCOME: Final = Struct("<BBqqqq")


class Meta(NamedTuple):
    """What is kept once a user. Every change of subscriptions or of the user raises the revision."""

    disabled: bool
    revision: int
    created_at_ms: int

    def pack(self) -> bytes:
        """Return the value of the field."""
        return _META.pack(_DISABLED if self.disabled else 0, self.revision, self.created_at_ms)

    @classmethod
    def unpack(cls, value: bytes) -> "Meta":
        """Read the value of the field."""
        flags, revision, created_at_ms = _META.unpack(value)
        return cls(bool(flags & _DISABLED), revision, created_at_ms)


class PastPeriod(NamedTuple):
    """A period that is over. `budget` None is unlimited."""

    period: Period
    used: int
    budget: int | None

    @classmethod
    def unpack_all(cls, value: bytes) -> list["PastPeriod"]:
        """Read a feature's past periods, newest first."""
        return [
            cls(Period(start_ms, end_ms), used, _some(budget))
            for start_ms, end_ms, used, budget in _PAST_PERIOD.iter_unpack(value)
        ]


class Outcome(NamedTuple):
    """What the recording script did; it is also what is kept under an idempotency key."""

    reason: Reason
    now_ms: int
    used: int
    applied_delta: int
    period_start_ms: int
    entitlement: Entitlement | None
    ledger_id: str

    @classmethod
    def unpack(cls, value: bytes, offset: int) -> "Outcome":
        """Read a script's reply from an offset on."""
        reason, length, now_ms, used, applied_delta, period_start_ms = _OUTCOME.unpack_from(value, offset)
        start = offset + _OUTCOME.size
        packed = value[start : start + length]
        entitlement = unpack_entitlement(packed) if packed else None
        ledger_id = value[start + length :].decode()
        return cls(Reason(reason), now_ms, used, applied_delta, period_start_ms, entitlement, ledger_id)


def pack_entitlement(entitlement: Entitlement) -> bytes:
    """Return the value of the field `e:<feature>`."""
    return _ENTITLEMENT.pack(
        _CONSUMABLE * entitlement.consumable | _ACTIVE * entitlement.active | _OVERAGE * entitlement.overage_enabled,
        entitlement.reset_period,
        _number(entitlement.limit),
        entitlement.period.start_ms,
        _number(entitlement.period.end_ms),
        _number(entitlement.valid_until_ms),
    )


def unpack_entitlement(value: bytes) -> Entitlement:
    """Read the field `e:<feature>`."""
    flags, reset_period, limit, start_ms, end_ms, valid_until_ms = _ENTITLEMENT.unpack(value)
    return Entitlement(
        consumable=bool(flags & _CONSUMABLE),
        active=bool(flags & _ACTIVE),
        limit=_some(limit),
        overage_enabled=bool(flags & _OVERAGE),
        reset_period=ResetPeriod(reset_period),
        period=Period(start_ms, _some(end_ms)),
        valid_until_ms=_some(valid_until_ms),
    )


def unpack_counter(value: bytes) -> Counter:
    """Read the field `c:<feature>`."""
    return Counter(*_COUNTER.unpack(value))


def pack_subscription(subscription: Subscription) -> bytes:
    """Return the value of the field `s:<token>`."""
    dates = (
        subscription.started_at_ms,
        _number(subscription.trial_end_ms),
        _number(subscription.cancel_at_ms),
    )
    return (
        _SUBSCRIPTION.pack(subscription.status, subscription.package_version, *dates) + subscription.package_id.encode()
    )


def unpack_subscription(token: str, value: bytes) -> Subscription:
    """Read the field `s:<token>`."""
    status, version, started_at_ms, trial_end_ms, cancel_at_ms = _SUBSCRIPTION.unpack_from(value)
    return Subscription(
        token=token,
        package_id=value[_SUBSCRIPTION.size :].decode(),
        package_version=version,
        status=SubscriptionStatus(status),
        started_at_ms=started_at_ms,
        trial_end_ms=_some(trial_end_ms),
        cancel_at_ms=_some(cancel_at_ms),
    )


def _number(value: int | None) -> int:
    return _NONE if value is None else value


def _some(value: int) -> int | None:
    return None if value == _NONE else value
