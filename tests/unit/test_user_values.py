"""The packed values of a user's hash: read back as written, and small."""

from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.decision import Counter
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod, Subscription, SubscriptionStatus
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.domain.periods import Period
from canuse_server.store.codec import past_periods as past_periods_codec
from canuse_server.store.codec import user_values
from canuse_server.store.codec.user_values import ChargeOutcome, Meta, Outcome
from support.database import pack_counter, pack_grants
from support.strategies import amounts, balances, entitlements, limits, moments, recent_moments, subscriptions

LISTPACK_BYTES = 64
"""Up to this length of values Redis stores a hash in its compact form."""
ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=32)
hundreds = settings(max_examples=150, deadline=None)


@given(st.booleans(), st.integers(0, 2**32 - 1), moments, st.just(0) | moments)
@hundreds
def test_meta_is_read_as_it_was_written(disabled: bool, revision: int, created_at_ms: int, as_of_ms: int) -> None:
    meta = Meta(disabled, revision, created_at_ms, as_of_ms)
    assert Meta.unpack(meta.pack()) == meta
    assert len(meta.pack()) == (17 if as_of_ms else 11)
    # A check reads the first byte only.
    assert meta.pack()[0] & 1 == disabled


@given(recent_moments.flatmap(entitlements), st.none() | st.tuples(amounts, moments))
@hundreds
def test_an_entitlement_and_the_count_after_it_are_read_as_they_were_written(
    entitlement: Entitlement, counted: tuple[int, int] | None
) -> None:
    packed = user_values.pack_entitlement(entitlement)
    has_end, runs_out = entitlement.period.end_ms is not None, entitlement.valid_until_ms is not None
    assert len(packed) == 15 + 6 * has_end + 6 * runs_out
    value = packed if counted is None else packed + pack_counter(*counted)
    assert user_values.unpack_feature(value) == (entitlement, None if counted is None else Counter(*counted))
    assert len(value) <= 40 < LISTPACK_BYTES


def test_every_bound_of_an_entitlement_fits() -> None:
    for reset_period in ResetPeriod:
        for limit in (None, 0, MAX_AMOUNT):
            for flags in range(32):
                entitlement = Entitlement(
                    consumable=bool(flags & 1),
                    active=bool(flags & 2),
                    limit=limit,
                    overage_enabled=bool(flags & 4),
                    reset_period=reset_period,
                    period=Period(0, None if flags & 1 else 253_402_300_799_999),
                    valid_until_ms=None if flags & 2 else 253_402_300_799_999 * (flags >> 4),
                    granted=bool(flags & 8),
                )
                packed = user_values.pack_entitlement(entitlement)
                assert user_values.unpack_feature(packed) == (entitlement, None)
                largest = Counter(MAX_AMOUNT, 253_402_300_799_999)
                counted = packed + pack_counter(largest.used, largest.period_start_ms)
                assert user_values.unpack_feature(counted) == (entitlement, largest)


@given(subscriptions("t0", ("p",), moments), ids, st.integers(1, 2**31 - 1))
@hundreds
def test_a_subscription_is_read_as_it_was_written(item: Subscription, package_id: str, version: int) -> None:
    subscription = Subscription(
        "t0", package_id, version, item.status, item.started_at_ms, item.trial_end_ms, item.cancel_at_ms
    )
    packed = user_values.pack_subscription(subscription)
    assert user_values.unpack_subscription("t0", packed) == subscription
    dates = (item.trial_end_ms, item.cancel_at_ms)
    assert len(packed) == 11 + 6 * sum(date is not None for date in dates) + len(package_id.encode())


def test_a_package_id_of_41_bytes_keeps_the_hash_small_and_the_longest_still_fits() -> None:
    for size in (41, 42, 128):
        subscription = Subscription("t", "p" * size, 2**32 - 1, SubscriptionStatus.TRIALING, 0, 5, 253_402_300_799_999)
        packed = user_values.pack_subscription(subscription)
        assert (len(packed) <= LISTPACK_BYTES) == (size <= 41)
        assert user_values.unpack_subscription("t", packed) == subscription


@given(st.lists(recent_moments.flatmap(balances), max_size=4))
@hundreds
def test_grants_are_read_in_the_order_they_are_kept(grants: list[GrantBalance]) -> None:
    assert user_values.unpack_grants(pack_grants(grants)) == tuple(grants)
    assert len(pack_grants(grants)) == 32 * len(grants)


@given(st.lists(st.tuples(moments, moments, amounts, limits, amounts), max_size=4), st.integers(0, 2**32 - 1))
@hundreds
def test_past_periods_of_an_earlier_layout_are_read_oldest_first(
    past: list[tuple[int, int, int, int | None, int]], epoch: int
) -> None:
    packed = b"".join(
        b"".join(map(_eight, (start, end, used, -1 if budget is None else budget, drawn))) + epoch.to_bytes(4, "little")
        for start, end, used, budget, drawn in past
    )
    assert past_periods_codec.unpack(None, packed) == [
        PastPeriod(Period(start, max(start, end)), used, budget, drawn)
        for start, end, used, budget, drawn in past[::-1]
    ]


charge_outcomes = st.builds(
    ChargeOutcome,
    reason=st.sampled_from(Reason),
    used=amounts,
    applied_delta=st.integers(-MAX_AMOUNT, MAX_AMOUNT),
    period_start_ms=moments,
    budget=limits,
    reserved=amounts,
    entitlement=st.none() | recent_moments.flatmap(entitlements),
    ledger_id=st.sampled_from(("", "1700000000000-0")),
    recorded=st.just(value=False),
).map(lambda charge: charge._replace(recorded=charge.ledger_id != ""))


@given(st.integers(0, 32), recent_moments, st.lists(charge_outcomes, min_size=1, max_size=32))
@hundreds
def test_an_outcome_is_read_from_any_offset(refused: int, now_ms: int, charges: list[ChargeOutcome]) -> None:
    value = bytes([refused]) + _eight(now_ms)
    for charge in charges:
        packed = b"" if charge.entitlement is None else user_values.pack_entitlement(charge.entitlement)
        value += bytes((charge.reason, len(packed), len(charge.ledger_id)))
        value += _eight(charge.used) + _eight(charge.applied_delta) + _eight(charge.period_start_ms)
        value += _eight(-1 if charge.budget is None else charge.budget) + _eight(charge.reserved)
        value += packed + charge.ledger_id.encode()
    expected = Outcome(refused, now_ms, tuple(charges))
    assert Outcome.unpack(value, 0) == expected
    assert Outcome.unpack(b"12345678" + value, 8) == expected


def _eight(number: int) -> bytes:
    return number.to_bytes(8, "little", signed=True)
