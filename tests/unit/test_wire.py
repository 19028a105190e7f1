"""Answers to single uses are written by hand: they are what messages would give."""

from struct import Struct
from types import SimpleNamespace
from typing import Final, cast

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api import wire
from canuse_server.api.convert import consumption
from canuse_server.api.hot import HotMethod, Plan
from canuse_server.api.uses import CreateUsageEvent, UseFeature
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, Reason
from canuse_server.store.layout import Outcome, pack_entitlement
from support.strategies import amounts, entitlements, recent_moments

REPLY: Final = Struct("<BqBBBqqqqq")
states = st.builds(
    SimpleNamespace,
    entitlement=st.none() | recent_moments.flatmap(entitlements),
    reason=st.sampled_from(Reason),
    used=amounts,
    applied=st.integers(-MAX_AMOUNT, MAX_AMOUNT),
    budget=st.just(-1) | amounts,
    reserved=st.just(0) | amounts,
    ledger_id=st.sampled_from((b"", b"1700000000000-0")),
    event_id=st.sampled_from(("", "order-1", "é" * 64)),
    replayed=st.booleans(),
)


def reply_of(state: SimpleNamespace) -> bytes:
    """Return the reply of the script that says this."""
    entitlement = cast("Entitlement | None", state.entitlement)
    packed = b"" if entitlement is None else pack_entitlement(entitlement)
    start_ms = 0 if entitlement is None else entitlement.period.start_ms
    numbers = REPLY.pack(
        *(0, 1, state.reason, len(packed), len(state.ledger_id)),
        *(state.used, state.applied, start_ms, state.budget, state.reserved),
    )
    return (b"R" if state.replayed else b"K") + numbers + packed + bytes(state.ledger_id)


def expected(kind: type[Message], state: SimpleNamespace) -> Message:
    """Return the answer as a message."""
    (charge,) = Outcome.unpack(reply_of(state), 1).charges
    reason = cast("v1.Reason.ValueType", int(charge.reason))
    event_id = state.event_id or charge.ledger_id
    message: v1.UseFeatureResponse | v1.CreateUsageEventResponse
    if kind is v1.UseFeatureResponse:
        message = v1.UseFeatureResponse(access=charge.reason.access)
    else:
        message = v1.CreateUsageEventResponse(recorded=charge.ledger_id != "", applied_delta=charge.applied_delta)
    message.reason, message.event_id, message.replayed = reason, event_id, state.replayed
    entitlement = charge.entitlement
    if entitlement is not None:
        period = entitlement.period_at(charge.period_start_ms)
        message.consumption.CopyFrom(consumption(entitlement, period, charge.used, charge.budget, charge.reserved))
    return message


@pytest.mark.parametrize(
    ("method", "kind"), [(UseFeature(), v1.UseFeatureResponse), (CreateUsageEvent(), v1.CreateUsageEventResponse)]
)
@given(state=states)
@settings(max_examples=300, deadline=None)
def test_an_answer_is_what_a_message_would_give(method: HotMethod, kind: type[Message], state: SimpleNamespace) -> None:
    plan = cast("Plan", SimpleNamespace(event_id=state.event_id, user_id="124", features=()))
    assert kind.FromString(method.conclude(plan, reply_of(state), 0)) == expected(kind, state)


@given(st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=300, deadline=None)
def test_a_number_is_read_as_it_was_written(number: int) -> None:
    assert v1.CreateUsageEventResponse.FromString(b"\x20" + wire.int64(number)).applied_delta == number


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16383, 16384, 2**32, MAX_AMOUNT])
def test_a_varint_is_the_shortest_there_is(number: int) -> None:
    message = v1.CreateUsageEventResponse(applied_delta=number)
    assert message.SerializeToString() in (b"\x20" + wire.varint(number), b"")
