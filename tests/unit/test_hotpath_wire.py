"""Hand-encoded answers to single uses equal those of the generated messages."""

import struct
from collections.abc import Callable
from dataclasses import replace
from struct import Struct
from types import SimpleNamespace
from typing import Final, cast

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.convert import consumption, duration
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath import wire
from canuse_server.api.hotpath.can_use import CanUse, response_message
from canuse_server.api.hotpath.method import HotMethod, Plan
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, OnUnavailable, Reason
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.codec.user_values import Meta, Outcome, pack_entitlement
from canuse_server.store.repositories import usage_commands
from support.database import pack_counter
from support.strategies import DAY_MS, amounts, entitlements, recent_moments

ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=64)
REPLY: Final = Struct("<BqBBBqqqqq")
DELTA: Final = 3
"""The requested delta of the calls."""
SCRIPTS_REASONS: Final = frozenset(Reason) - {Reason.STORE_UNAVAILABLE}
states = st.builds(
    SimpleNamespace,
    entitlement=st.none() | recent_moments.flatmap(entitlements),
    reason=st.sampled_from(Reason),
    used=amounts,
    applied=st.just(0) | st.just(DELTA) | st.integers(-MAX_AMOUNT, MAX_AMOUNT),
    retry_after_ms=st.just(0) | st.integers(1, 2**44),
    budget=st.just(-1) | amounts,
    reserved=st.just(0) | st.integers(1, 9) | amounts,
    ledger_id=st.sampled_from((b"", b"1700000000000-0")),
    event_id=st.sampled_from(("", "order-1", "é" * 64)),
    later_ms=st.just(0) | st.integers(0, 400 * DAY_MS),
)


def start_of_a_period(entitlement: Entitlement, later_ms: int) -> int:
    """Return the start of a period, some time after the entitlement's own."""
    return entitlement.period_at(entitlement.period.start_ms + later_ms).start_ms


def applied(kind: type[Message], state: SimpleNamespace) -> int:
    """Return the applied delta; of a refused use that is the time after which it would be a yes."""
    is_refused = kind is v1.UseFeatureResponse and not state.reason.access
    return int(state.retry_after_ms if is_refused else state.applied)


def reply_of(kind: type[Message], state: SimpleNamespace) -> bytes:
    """Return the reply of the script with this result."""
    entitlement = cast("Entitlement | None", state.entitlement)
    packed = b"" if entitlement is None else pack_entitlement(entitlement)
    start_ms = 0 if entitlement is None else start_of_a_period(entitlement, state.later_ms)
    numbers = REPLY.pack(
        *(0, 1, state.reason, len(packed), len(state.ledger_id)),
        *(state.used, applied(kind, state), start_ms, state.budget, state.reserved),
    )
    return b"K" + numbers + packed + bytes(state.ledger_id)


def kept_of(kind: type[Message], state: SimpleNamespace) -> bytes:
    """Return the stored answer of this state, as a script returns it."""
    entitlement = cast("Entitlement | None", state.entitlement)
    start_ms, end_ms = 0, (1 << 48) - 1
    overage = False
    if entitlement is not None:
        overage = entitlement.overage_enabled
        start_ms, end = entitlement.period_at(start_of_a_period(entitlement, state.later_ms))
        end_ms = end or 0
    recorded = state.ledger_id != b""
    flags = state.reason % 16 | overage << 4 | recorded << 5
    period = start_ms.to_bytes(6, "little") + end_ms.to_bytes(6, "little")
    largest = max(state.used, state.budget, state.reserved)
    if applied(kind, state) != (DELTA if recorded else 0) or largest >= 2**32 - 1:
        wide = struct.pack("<qqqq", state.used, state.budget, state.reserved, applied(kind, state))
        return bytes((0, flags | 128)) + period + wide
    numbers = (state.used, 2**32 - 1 if state.budget < 0 else state.budget)
    if not state.reserved:
        return bytes((0, flags)) + period + struct.pack("<II", *numbers)
    return bytes((0, flags | 64)) + period + struct.pack("<III", *numbers, state.reserved)


def expected(kind: type[Message], state: SimpleNamespace) -> Message:
    """Return the answer as a message."""
    (charge,) = Outcome.unpack(reply_of(kind, state), 1).charges
    reason = cast("v1.Reason.ValueType", int(charge.reason))
    event_id = state.event_id or charge.ledger_id
    message: v1.UseFeatureResponse | v1.CreateUsageEventResponse
    if kind is v1.UseFeatureResponse:
        message = v1.UseFeatureResponse(access=charge.reason.access)
        if not charge.reason.access and charge.applied_delta:
            message.retry_after.CopyFrom(duration(charge.applied_delta))
    else:
        message = v1.CreateUsageEventResponse(recorded=charge.ledger_id != "", applied_delta=charge.applied_delta)
    message.reason, message.event_id = reason, event_id
    entitlement = charge.entitlement
    if entitlement is not None:
        period = entitlement.period_at(charge.period_start_ms)
        message.consumption.CopyFrom(consumption(entitlement, period, charge.used, charge.budget, charge.reserved))
    return message


@pytest.mark.parametrize(
    ("method", "kind"), [(UseFeature(), v1.UseFeatureResponse), (CreateUsageEvent(), v1.CreateUsageEventResponse)]
)
@given(state=states)
@settings(max_examples=150, deadline=None)
def test_an_answer_is_what_a_message_would_give(method: HotMethod, kind: type[Message], state: SimpleNamespace) -> None:
    plan = cast("Plan", SimpleNamespace(event_id=state.event_id, user_id="124", features=(), delta=DELTA))
    assert kind.FromString(method.respond(plan, reply_of(kind, state), 0)) == expected(kind, state)


@pytest.mark.parametrize(
    ("method", "kind"), [(UseFeature(), v1.UseFeatureResponse), (CreateUsageEvent(), v1.CreateUsageEventResponse)]
)
@given(state=states.filter(lambda state: state.event_id and state.reason in SCRIPTS_REASONS))
@settings(max_examples=150, deadline=None)
def test_a_stored_answer_is_the_first_answer(method: HotMethod, kind: type[Message], state: SimpleNamespace) -> None:
    plan = cast("Plan", SimpleNamespace(event_id=state.event_id, user_id="124", features=(), delta=DELTA))
    first, again = expected(kind, state), kind.FromString(method.respond(plan, b"R" + kept_of(kind, state), 0))
    assert again.replayed  # type: ignore[attr-defined]
    again.replayed = False  # type: ignore[attr-defined]
    assert again == first


@given(st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=150, deadline=None)
def test_a_number_is_read_as_it_was_written(number: int) -> None:
    assert v1.CreateUsageEventResponse.FromString(b"\x20" + wire.int64(number)).applied_delta == number


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16383, 16384, 2**32, MAX_AMOUNT])
def test_a_varint_is_the_shortest_there_is(number: int) -> None:
    message = v1.CreateUsageEventResponse(applied_delta=number)
    assert message.SerializeToString() in (b"\x20" + wire.varint(number), b"")


@st.composite
def checks(draw: st.DrawFn) -> tuple[list[bytes | None], int, int, SimpleNamespace]:
    """The store's reply to a check of a user without grants and leases, now, delta, and the feature."""
    now_ms = draw(recent_moments)
    entitlement = replace(draw(entitlements(now_ms)), consumable=draw(st.booleans() | st.just(value=True)))
    packed = pack_entitlement(entitlement)
    since_ms = start_of_a_period(entitlement, draw(st.just(0) | st.integers(0, 40 * DAY_MS)))
    counter = draw(st.just(b"") | amounts.map(lambda used: pack_counter(used, since_ms)))
    meta = Meta(draw(st.booleans()), 1, 0).pack()
    delta = draw(st.integers(1, 5) | st.integers(1, MAX_AMOUNT))
    feature = SimpleNamespace(
        id="calls", archived=draw(st.booleans()), on_unavailable=draw(st.sampled_from((*OnUnavailable, 99)))
    )
    return [meta, None, packed + counter, None, None], now_ms, delta, feature


@given(check=checks())
@settings(max_examples=400, deadline=None)
def test_a_check_is_answered_as_the_rule_says(check: tuple[list[bytes | None], int, int, SimpleNamespace]) -> None:
    reply, now_ms, delta, feature = check
    plan = cast("Plan", SimpleNamespace(user_id="124", features=(feature,), delta=delta, last_known=None))

    def by_the_rule() -> Message:
        return response_message(plan, usage_commands.feature_state(reply, now_ms, archived=feature.archived))

    def as_answered() -> Message:
        return v1.CanUseResponse.FromString(CanUse().respond(plan, reply, now_ms))

    assert outcome(as_answered) == outcome(by_the_rule)


def outcome(answer: Callable[[], Message]) -> Message | str:
    """Return an answer, or the error that is raised instead."""
    try:
        return answer()
    except (ApiError, usage_commands.StaleError) as error:
        return repr(error)


@given(ids, ids, st.integers(-MAX_AMOUNT, MAX_AMOUNT), st.sampled_from((1, 2)))
@settings(max_examples=150, deadline=None)
def test_an_event_of_the_ledger_is_what_a_message_would_give(
    user_id: str, feature_id: str, delta: int, action: int
) -> None:
    written = wire.ledger_entry(user_id, feature_id, delta, action)
    kind = cast("v1.UsageAction.ValueType", action)
    assert written == LedgerEntry(user_id=user_id, feature_id=feature_id, delta=delta, action=kind).SerializeToString()
