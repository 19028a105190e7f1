"""The bytes of the values in a user's hash. `scripts/lib/layout.lua` reads and writes the same bytes.

All numbers are little-endian. Values are short, so that Redis keeps the hash in its small form: that ends at 64 bytes,
which only a long id or more than two grants of one feature exceed.
"""

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

from canuse_server.domain.decision import Counter, Reservation
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import Reason, ResetPeriod, Subscription, SubscriptionStatus
from canuse_server.domain.periods import DAY_MS, Period
from canuse_server.store.codec.documents import note_unknown

META_FIELD: Final = b"m"
FEATURE_PREFIX: Final = b"f:"
SUBSCRIPTION_PREFIX: Final = b"s:"
GRANTS_PREFIX: Final = b"g:"
RESERVATION_PREFIX: Final = b"r:"
LEASES_DUE_FIELD: Final = b"x"
ENDED_UNTIL_FIELD: Final = b"e"
TOKEN_GENERATION_FIELD: Final = b"k"
"""Random bytes that the user's valid tokens contain; only if there are any."""

_NONE: Final = -1
CONSUMABLE, ACTIVE, OVERAGE, _GRANTED, _NO_LIMIT, _ENDS, _RUNS_OUT, PREDICTABLE = 1, 2, 4, 8, 16, 32, 64, 128
"""Flags of an entitlement."""
DISABLED: Final = 1
LONGEST_LEASE_MS: Final = 7 * DAY_MS
_TRIAL, _CANCEL = 64, 128
# Times have 48 bits and amounts 56. `struct` knows no such numbers, so that their low 32 bits and the rest stand apart.
# flags, revision, created at; then when the entitlements were worked out
_META: Final = Struct("<BIIH")
# flags, reset period, limit, period start; then period end if it ends, then valid until if it runs out
_ENTITLEMENT: Final = Struct("<BBIHBIH")
_MOMENT: Final = Struct("<IH")
_ENTITLEMENT_BITS: Final = 8 * _ENTITLEMENT.size
_TIME_BITS, _AMOUNT_BITS = 48, 56
_TIME, _AMOUNT = (1 << _TIME_BITS) - 1, (1 << _AMOUNT_BITS) - 1
# used, period start; after the entitlement, if anything was counted
_COUNTER: Final = Struct("<IHBIH")
# effective at, ends at, left, drawn in the counter's period
_GRANT: Final = Struct("<qqqq")
# status and flags, package version, started at; then trial end and cancel at if there are any; then the package id
_SUBSCRIPTION: Final = Struct("<BIIH")
# epoch, start of its period, units
_RESERVATION: Final = Struct("<IIHIHB")
# the number of the charge that was refused, now
_OUTCOME: Final = Struct("<Bq")
# reason, length of the entitlement, length of the ledger id, used, applied delta, period start, budget, reserved; then
# the entitlement and the ledger id
_CHARGE: Final = Struct("<BBBqqqqq")
# both of them, for the one charge that there usually is
_SINGLE: Final = Struct(_OUTCOME.format + _CHARGE.format.removeprefix("<"))
# A stored answer's charge: flags, period start and end (0: none), used, budget; then units reserved, if there are any.
# If an amount has more than 32 bits, or the applied delta is not the requested one, amounts are wide, and the applied
# delta is the last one.
_KEPT: Final = Struct("<BIHIHII")
_KEPT_RESERVED: Final = Struct("<BIHIHIII")
_KEPT_WIDE: Final = Struct("<BIHIHqqqq")
_KEPT_REASON, _KEPT_OVERAGE, _KEPT_RECORDED, _KEPT_IS_RESERVED, _KEPT_IS_WIDE = 15, 16, 32, 64, 128
_KEPT_NO_BUDGET: Final = (1 << 32) - 1
_KEPT_NO_ENTITLEMENT: Final = (1 << 48) - 1
"""Marks, as the end of the period, that there is no entitlement."""
# an event id's ttl and the longest ttl, in ms
_EVENT_TTLS: Final = Struct("<IHIH")
# age in ms up to which the ledger is kept, age in days up to which past periods are
_RETENTION: Final = Struct("<IHI")
RETENTION_BYTES: Final = _RETENTION.size
# Looking a member up by its number takes several times as long as this.
_RESET_PERIODS: Final = {member.value: member for member in ResetPeriod}
LAST_RESET_PERIOD: Final = max(_RESET_PERIODS)
_STATUSES: Final = {member.value: member for member in SubscriptionStatus}
_REASONS: Final = {member.value: member for member in Reason}


class Meta(NamedTuple):
    """What is kept once a user. Every change of subscriptions or of the user raises the revision.

    `other_flags` and `rest` are what a newer version of canuse keeps there as well.
    """

    disabled: bool
    revision: int
    created_at_ms: int
    as_of_ms: int = 0
    """When the entitlements were worked out; 0: never, or it was not noted yet."""
    other_flags: int = 0
    rest: bytes = b""

    def pack(self) -> bytes:
        """Return the value of the field."""
        flags = self.other_flags | (DISABLED if self.disabled else 0)
        packed = _META.pack(flags, self.revision, *_halves(self.created_at_ms))
        if not (self.as_of_ms or self.rest):
            return packed
        return packed + _MOMENT.pack(*_halves(self.as_of_ms)) + self.rest

    @classmethod
    def unpack(cls, value: bytes) -> "Meta":
        """Read the value of the field."""
        flags, revision, created, created_high = _META.unpack_from(value)
        rest = value[_META.size + _MOMENT.size :]
        return cls(
            bool(flags & DISABLED), revision, created | created_high << 32, as_of_ms(value), flags & ~DISABLED, rest
        )


def as_of_ms(meta: bytes) -> int:
    """Read of the field `m` when the entitlements were worked out; 0: it does not say."""
    return int.from_bytes(meta[_META.size : _META.size + _MOMENT.size], "little")


class ChargeOutcome(NamedTuple):
    """What became of one charge. `budget` None is unlimited.

    `ledger_id` is empty if nothing was recorded. The charge of a stored answer has only the data that an answer shows:
    of the entitlement the period and whether overage is enabled, and no `ledger_id`. `applied_delta` of the refused
    charge is the time in ms after which the call will be a yes, 0 if that is not known.
    """

    reason: Reason
    used: int
    applied_delta: int
    period_start_ms: int
    budget: int | None
    reserved: int
    entitlement: Entitlement | None
    ledger_id: str
    recorded: bool


class Single(NamedTuple):
    """What became of the one charge of a use, nearly as the script returns it. `budget` -1 is unlimited."""

    reason: int
    used: int
    applied_delta: int
    period_start_ms: int
    budget: int
    reserved: int
    entitlement_bytes: bytes
    """The entitlement, as `unpack_feature` reads it; empty where there is none."""
    ledger_id: bytes
    now_ms: int
    recorded: bool

    @classmethod
    def unpack(cls, value: bytes, offset: int) -> "Single":
        """Read a script's reply from an offset on."""
        _, now_ms, reason, size, id_bytes, used, applied, start_ms, budget, reserved = _SINGLE.unpack_from(
            value, offset
        )
        at = offset + _SINGLE.size
        middle = at + size
        packed, ledger_id = value[at:middle], value[middle:]
        # In half the time of a call with ten arguments.
        return cls._make((reason, used, applied, start_ms, budget, reserved, packed, ledger_id, now_ms, id_bytes > 0))

    @classmethod
    def unpack_kept(cls, value: bytes, offset: int, delta: int) -> "Single":
        """Read the stored answer of an event id; `delta` is the requested one."""
        return _unpack_kept(value, offset + 1, delta)[0]


def unpack_single(value: bytes, offset: int) -> tuple[int, int, int, int, int, int, bytes, bytes]:
    """Read what `Single.unpack` does as bare values, in less time.

    Returns:
        Reason, used, applied delta, period start, budget, units reserved, the entitlement, the ledger id: empty if
        nothing was recorded.
    """
    _, _, reason, size, _, used, applied, start_ms, budget, reserved = _SINGLE.unpack_from(value, offset)
    at = offset + _SINGLE.size
    middle = at + size
    return reason, used, applied, start_ms, budget, reserved, value[at:middle], value[middle:]


class Outcome(NamedTuple):
    """What the recording script did.

    `refused` is the number, from 1, of the charge for which all were refused; 0: none was.
    """

    refused: int
    now_ms: int
    charges: tuple[ChargeOutcome, ...]

    @classmethod
    def unpack(cls, value: bytes, offset: int) -> "Outcome":
        """Read a script's reply from an offset on."""
        refused, now_ms = _OUTCOME.unpack_from(value, offset)
        at = offset + _OUTCOME.size
        charges = []
        while at < len(value):
            reason, packed_bytes, id_bytes, used, applied, start_ms, budget, reserved = _CHARGE.unpack_from(value, at)
            middle = at + _CHARGE.size + packed_bytes
            packed = value[at + _CHARGE.size : middle]
            at = middle + id_bytes
            entitlement = _unpack_entitlement(packed) if packed else None
            ledger_id = value[middle:at].decode()
            charges.append(
                ChargeOutcome(
                    *(_REASONS[reason], used, applied, start_ms, _some(budget), reserved, entitlement, ledger_id),
                    recorded=ledger_id != "",
                )
            )
        return cls(refused, now_ms, tuple(charges))

    @classmethod
    def unpack_kept(cls, value: bytes, offset: int, deltas: Iterable[int]) -> "Outcome":
        """Read the stored answer of an event id; `deltas` are those of the request's charges."""
        charges, at = [], offset + 1
        for delta in deltas:
            kept, at = _unpack_kept(value, at, delta)
            charges.append(
                ChargeOutcome(
                    *(_REASONS[kept.reason], kept.used, kept.applied_delta, kept.period_start_ms, _some(kept.budget)),
                    *(
                        kept.reserved,
                        _unpack_entitlement(kept.entitlement_bytes) if kept.entitlement_bytes else None,
                        "",
                    ),
                    recorded=kept.recorded,
                )
            )
        return cls(value[offset], 0, tuple(charges))


def _unpack_kept(value: bytes, at: int, delta: int) -> tuple[Single, int]:
    """Read the charge of a stored answer; return also the offset after it."""
    flags, reserved = value[at], 0
    recorded = flags & _KEPT_RECORDED != 0
    applied = delta if recorded else 0
    if flags & _KEPT_IS_WIDE:
        kept = _KEPT_WIDE
        _, start, start_high, end, end_high, used, budget, reserved, applied = kept.unpack_from(value, at)
    elif flags & _KEPT_IS_RESERVED:
        kept = _KEPT_RESERVED
        _, start, start_high, end, end_high, used, budget, reserved = kept.unpack_from(value, at)
    else:
        kept = _KEPT
        _, start, start_high, end, end_high, used, budget = kept.unpack_from(value, at)
    if budget == _KEPT_NO_BUDGET and kept is not _KEPT_WIDE:
        budget = _NONE
    start_ms, end_ms = start | start_high << 32, end | end_high << 32
    packed = b""
    if end_ms != _KEPT_NO_ENTITLEMENT:
        packed = _shown(flags & _KEPT_OVERAGE != 0, start_ms, end_ms)
    reason = flags & _KEPT_REASON
    single = Single(reason, used, applied, start_ms, budget, reserved, packed, b"", 0, recorded)
    return single, at + kept.size


def _shown(overage_enabled: bool, start_ms: int, end_ms: int) -> bytes:
    """Return an entitlement with the data that an answer shows; an `end_ms` of 0 is none."""
    reset_period = ResetPeriod.MONTH if end_ms else ResetPeriod.NEVER
    period = Period(start_ms, end_ms or None)
    return pack_entitlement(Entitlement(True, True, None, overage_enabled, reset_period, period, None))


def pack_entitlement(entitlement: Entitlement) -> bytes:
    """Return the value of the field `f:<feature>` as far as the entitlement goes; the count follows it."""
    limit, (start_ms, end_ms), valid_until_ms = entitlement.limit, entitlement.period, entitlement.valid_until_ms
    flags = (
        CONSUMABLE * entitlement.consumable
        | ACTIVE * entitlement.active
        | OVERAGE * entitlement.overage_enabled
        | _GRANTED * entitlement.granted
        | _NO_LIMIT * (limit is None)
        | _ENDS * (end_ms is not None)
        | _RUNS_OUT * (valid_until_ms is not None)
        | PREDICTABLE * entitlement.predictable
    )
    low, high = _halves(limit or 0)
    packed = _ENTITLEMENT.pack(flags, entitlement.reset_period, low, high & 0xFFFF, high >> 16, *_halves(start_ms))
    if end_ms is not None:
        packed += _MOMENT.pack(*_halves(end_ms))
    if valid_until_ms is not None:
        packed += _MOMENT.pack(*_halves(valid_until_ms))
    return packed


def unpack_feature(value: bytes) -> tuple[Entitlement, Counter | None]:
    """Read the field `f:<feature>`: the entitlement, and what was counted."""
    flags = value[0]
    size = _ENTITLEMENT.size
    if flags & _ENDS:
        size += _MOMENT.size
    if flags & _RUNS_OUT:
        size += _MOMENT.size
    if size == len(value):
        return _unpack_entitlement(value), None
    *_, used, since_ms = terms(value)
    return _unpack_entitlement(value[:size]), Counter(used, since_ms)


def terms(value: bytes) -> tuple[int, int, int, int, int, int, int, int]:
    """Read the field `f:<feature>` as bare numbers, in a third of the time.

    Returns:
        Flags, reset period, limit, start and end of the period, and valid until, -1 where there is no limit or no such
        time; then what was counted, and since when: 0 and -1 if nothing was.
    """
    # Shifts of one long number take less time than struct with numbers of 48 and 56 bits in parts.
    number, flags = int.from_bytes(value, "little"), value[0]
    end_ms = valid_until_ms = since_ms = _NONE
    used, bits = 0, _ENTITLEMENT_BITS
    if flags & _ENDS:
        end_ms, bits = number >> bits & _TIME, bits + _TIME_BITS
    if flags & _RUNS_OUT:
        valid_until_ms, bits = number >> bits & _TIME, bits + _TIME_BITS
    if 8 * len(value) > bits:
        used, since_ms = number >> bits & _AMOUNT, number >> bits + _AMOUNT_BITS & _TIME
    limit = _NONE if flags & _NO_LIMIT else number >> 16 & _AMOUNT
    return flags, value[1], limit, number >> 16 + _AMOUNT_BITS & _TIME, end_ms, valid_until_ms, used, since_ms


@lru_cache(maxsize=4096)
def _unpack_entitlement(packed: bytes) -> Entitlement:
    # Of a user who is asked about again and again it is the same each time, while the count changes.
    flags, number, limit, start_ms, end_ms, valid_until_ms, *_ = terms(packed)
    reset_period = _RESET_PERIODS.get(number)
    if reset_period is None:
        note_unknown("entitlement", "", "reset_period", number)
    return Entitlement(
        flags & CONSUMABLE != 0,
        flags & ACTIVE != 0 and reset_period is not None,
        _some(limit),
        flags & OVERAGE != 0,
        reset_period or ResetPeriod.NEVER,
        Period(start_ms, _some(end_ms)),
        _some(valid_until_ms),
        flags & _GRANTED != 0,
        flags & PREDICTABLE != 0,
    )


def unpack_grants(value: bytes) -> tuple[GrantBalance, ...]:
    """Read the field `g:<feature>`."""
    return tuple(
        GrantBalance(effective_at_ms, _some(end_ms), _some(left), drawn)
        for effective_at_ms, end_ms, left, drawn in _GRANT.iter_unpack(value)
    )


def unpack_reservation(value: bytes) -> Reservation:
    """Read the field `r:<feature>`."""
    epoch, start, start_high, units, middle, high = _RESERVATION.unpack(value)
    return Reservation(epoch, start | start_high << 32, units | middle << 32 | high << 48)


def unpack_moment(value: bytes) -> int:
    """Read the field `x` or `e`: when leases are due, or when the last of the subscriptions put away ended."""
    return int.from_bytes(value, "little")


def pack_moment(moment_ms: int) -> bytes:
    """Return the value of such a field."""
    return _MOMENT.pack(*_halves(moment_ms))


def is_due(due_ms: int, now_ms: int) -> bool:
    """Whether something is to be done about leases: it is time, or the moment was noted by a clock that ran ahead."""
    return due_ms <= now_ms or due_ms > now_ms + LONGEST_LEASE_MS


def pack_subscription(subscription: Subscription) -> bytes:
    """Return the value of the field `s:<token>`."""
    trial_end_ms, cancel_at_ms = subscription.trial_end_ms, subscription.cancel_at_ms
    flags = _TRIAL * (trial_end_ms is not None) | _CANCEL * (cancel_at_ms is not None)
    packed = _SUBSCRIPTION.pack(
        subscription.status | flags, subscription.package_version, *_halves(subscription.started_at_ms)
    )
    for moment_ms in (trial_end_ms, cancel_at_ms):
        if moment_ms is not None:
            packed += _MOMENT.pack(*_halves(moment_ms))
    return packed + subscription.package_id.encode()


def unpack_subscription(token: str, value: bytes) -> Subscription:
    """Read the field `s:<token>`."""
    flagged, version, started, started_high = _SUBSCRIPTION.unpack_from(value)
    number = flagged & ~(_TRIAL | _CANCEL)
    status = _STATUSES.get(number)
    if status is None:
        note_unknown("subscription", token, "status", number)
    at = _SUBSCRIPTION.size
    dates: list[int | None] = []
    for flag in (_TRIAL, _CANCEL):
        if not flagged & flag:
            dates.append(None)
            continue
        low, high = _MOMENT.unpack_from(value, at)
        dates.append(low | high << 32)
        at += _MOMENT.size
    return Subscription(
        token=token,
        package_id=value[at:].decode(),
        package_version=version,
        status=number if status is None else status,
        started_at_ms=started | started_high << 32,
        trial_end_ms=dates[0],
        cancel_at_ms=dates[1],
    )


def pack_retention(ledger_max_age_ms: int, past_periods_max_age_days: int) -> bytes:
    """Return how long things are kept, as scripts take it."""
    return _RETENTION.pack(*_halves(ledger_max_age_ms), past_periods_max_age_days)


def pack_event(digest: bytes, fingerprint: bytes, ttl_ms: int, longest_ttl_ms: int) -> bytes:
    """Return an event id as the argument of a script."""
    return digest + fingerprint + _EVENT_TTLS.pack(*_halves(ttl_ms), *_halves(longest_ttl_ms))


def pack_marks(archived: int, facts: int) -> bytes:
    """Return which charges are of archived features and which are facts, as `record_usage` takes it after that.

    Each has the bit of its number; where no bit is set there is nothing to say.
    """
    marks = archived.to_bytes(4, "little") if archived or facts else b""
    return marks + facts.to_bytes(4, "little") if facts else marks


def _halves(number: int) -> tuple[int, int]:
    """Return the low 32 bits of a number and the rest."""
    return number & 0xFFFFFFFF, number >> 32


def _some(value: int) -> int | None:
    return None if value == _NONE else value
