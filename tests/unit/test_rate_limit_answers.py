"""Hand-encoded answers to rate limit requests with one descriptor equal those of the generated messages."""

from struct import Struct
from typing import Final

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from canuse_server.api.ratelimit.responses import response_to, response_to_one
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import Reason
from canuse_server.envoy.rate_limit_service_pb2 import RateLimitResponse
from canuse_server.store.codec.user_values import Outcome, Single, pack_entitlement
from support.strategies import amounts, entitlements, recent_moments

REPLY: Final = Struct("<BqBBBqqqqq")


@given(
    entitlement=st.none() | recent_moments.flatmap(entitlements),
    reason=st.sampled_from(Reason),
    used=amounts,
    budget=st.just(-1) | amounts | st.integers(0, 200),
    reserved=st.just(0) | amounts,
    ledger_id=st.sampled_from((b"", b"1700000000000-0")),
    past_ms=st.integers(0, 10_000) | st.integers(0, 400 * 86_400_000),
)
@settings(max_examples=250, deadline=None)
def test_an_answer_is_what_a_message_would_give(
    entitlement: Entitlement | None,
    reason: Reason,
    used: int,
    budget: int,
    reserved: int,
    ledger_id: bytes,
    past_ms: int,
) -> None:
    assume(entitlement is not None or not reason.access)
    packed = b"" if entitlement is None else pack_entitlement(entitlement)
    start_ms = 0 if entitlement is None else entitlement.period.start_ms
    refused = 0 if reason.access else 1
    numbers = (refused, start_ms + past_ms, reason, len(packed), len(ledger_id), used, 0, start_ms, budget, reserved)
    reply = REPLY.pack(*numbers) + packed + ledger_id
    answer = RateLimitResponse.FromString(response_to_one(Single.unpack(reply, 0)))
    assert answer == RateLimitResponse.FromString(response_to((0,), Outcome.unpack(reply, 0)))
