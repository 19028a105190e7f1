"""How the values of a user's hash are packed: read back as written, and small."""

from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod, Subscription, SubscriptionStatus
from canuse_server.domain.periods import Period
from canuse_server.store import layout
from canuse_server.store.layout import Meta, Outcome, PastPeriod
from support.strategies import amounts, entitlements, limits, moments, recent_moments, subscriptions

LISTPACK_BYTES = 64
"""Up to this length of values Redis keeps a hash in its small form."""
ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=32)
hundreds = settings(max_examples=300, deadline=None)


@given(st.booleans(), st.integers(0, 2**63 - 1), moments)
@hundreds
def test_meta_is_read_as_it_was_written(disabled: bool, revision: int, created_at_ms: int) -> None:
    meta = Meta(disabled, revision, created_at_ms)
    assert Meta.unpack(meta.pack()) == meta
    # A check looks at the first byte alone.
    assert meta.pack()[0] & 1 == disabled


@given(recent_moments.flatmap(entitlements))
@hundreds
def test_an_entitlement_is_read_as_it_was_written(entitlement: Entitlement) -> None:
    packed = layout.pack_entitlement(entitlement)
    assert layout.unpack_entitlement(packed) == entitlement
    assert len(packed) == 34 < LISTPACK_BYTES


def test_every_bound_of_an_entitlement_fits() -> None:
    for reset_period in ResetPeriod:
        for limit in (None, 0, MAX_AMOUNT):
            for flags in range(8):
                entitlement = Entitlement(
                    consumable=bool(flags & 1),
                    active=bool(flags & 2),
                    limit=limit,
                    overage_enabled=bool(flags & 4),
                    reset_period=reset_period,
                    period=Period(0, None if flags & 1 else 253_402_300_799_999),
                    valid_until_ms=None if flags & 2 else 0,
                )
                assert layout.unpack_entitlement(layout.pack_entitlement(entitlement)) == entitlement


@given(subscriptions("t0", ("p",), moments), ids, st.integers(1, 2**31 - 1))
@hundreds
def test_a_subscription_is_read_as_it_was_written(item: Subscription, package_id: str, version: int) -> None:
    subscription = Subscription(
        "t0", package_id, version, item.status, item.started_at_ms, item.trial_end_ms, item.cancel_at_ms
    )
    packed = layout.pack_subscription(subscription)
    assert layout.unpack_subscription("t0", packed) == subscription
    assert len(packed) == 29 + len(package_id.encode())


def test_a_package_id_of_35_bytes_keeps_the_hash_small_and_the_longest_still_fits() -> None:
    for size in (35, 128):
        subscription = Subscription("t", "p" * size, 1, SubscriptionStatus.ACTIVE, 0)
        packed = layout.pack_subscription(subscription)
        assert (len(packed) <= LISTPACK_BYTES) == (size <= 35)
        assert layout.unpack_subscription("t", packed) == subscription


@given(amounts, moments)
@hundreds
def test_a_counter_is_16_little_endian_bytes(used: int, period_start_ms: int) -> None:
    packed = used.to_bytes(8, "little") + period_start_ms.to_bytes(8, "little")
    counter = layout.unpack_counter(packed)
    assert (counter.used, counter.period_start_ms) == (used, period_start_ms)


@given(st.lists(st.tuples(moments, moments, amounts, limits), max_size=4))
@hundreds
def test_past_periods_are_read_in_the_order_they_are_kept(past: list[tuple[int, int, int, int | None]]) -> None:
    packed = b"".join(
        number.to_bytes(8, "little", signed=True)
        for start, end, used, budget in past
        for number in (start, end, used, -1 if budget is None else budget)
    )
    assert PastPeriod.unpack_all(packed) == [PastPeriod(Period(a, b), used, budget) for a, b, used, budget in past]


@given(
    st.sampled_from(Reason),
    recent_moments,
    amounts,
    st.integers(-MAX_AMOUNT, MAX_AMOUNT),
    moments,
    st.none() | recent_moments.flatmap(entitlements),
    st.sampled_from(("", "1700000000000-0")),
)
@hundreds
def test_an_outcome_is_read_from_any_offset(
    reason: Reason, now: int, used: int, applied: int, start: int, entitlement: Entitlement | None, ledger_id: str
) -> None:
    packed = b"" if entitlement is None else layout.pack_entitlement(entitlement)
    numbers = (number.to_bytes(8, "little", signed=True) for number in (now, used, applied, start))
    value = bytes((reason, len(packed))) + b"".join(numbers) + packed + ledger_id.encode()
    expected = Outcome(reason, now, used, applied, start, entitlement, ledger_id)
    assert Outcome.unpack(value, 0) == expected
    assert Outcome.unpack(b"12345678" + value, 8) == expected
