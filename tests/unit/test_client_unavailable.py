"""What the clients answer to checks if the service does not."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from grpc import StatusCode

import canuse
from canuse import AsyncClient, Client, OnUnavailable, Reason, Retry, Source, _unavailable, v1
from support.scripted_server import ScriptedServer, scripted_server

LOST = (StatusCode.UNAVAILABLE, "")
STORE_UNAVAILABLE = (StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
QUICK = Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.002, budget=2)
WITHIN = v1.REASON_WITHIN_BUDGET
FIVE_LEFT = v1.CanUseResponse(
    access=True,
    reason=WITHIN,
    source=v1.SOURCE_STORE,
    consumption=v1.Consumption(used=5, budget=10, remaining=5),
    on_unavailable=v1.ON_UNAVAILABLE_LAST_KNOWN,
)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Serve until the end of the test."""
    with scripted_server() as server:
        yield server


def away(server: ScriptedServer, failure: tuple[StatusCode, str] = LOST) -> None:
    """Let no call be answered."""
    for method in ("CanUse", "BatchCanUse", "UseFeature", "Reserve"):
        server.always[method] = failure


def test_each_feature_has_the_answer_that_its_caller_chose_and_it_is_visible(server: ScriptedServer) -> None:
    away(server)
    words: Any = {"d": "deny", "a": "allow", "l": "last_known", "r": "raise"}
    with Client(server.address, retry=QUICK, unavailable=words) as client:
        denied, allowed, unknown = (client.can_use("u", feature_id) for feature_id in "dal")
        assert [bool(each) for each in (denied, allowed, unknown)] == [False, True, False]
        for answer in (denied, allowed, unknown):
            assert (answer.source, answer.reason) == (Source.SOURCE_FALLBACK, Reason.REASON_STORE_UNAVAILABLE)
            assert isinstance(answer.failure, canuse.Unavailable)
            assert answer.message.access == answer.access
        assert allowed.on_unavailable == OnUnavailable.ON_UNAVAILABLE_ALLOW
        with pytest.raises(canuse.Unavailable):
            client.can_use("u", "r")
        with pytest.raises(canuse.AccessDenied, match="We cannot check d right now"):
            denied.raise_if_denied()


@pytest.mark.parametrize(
    "failure",
    [LOST, STORE_UNAVAILABLE, (StatusCode.DEADLINE_EXCEEDED, ""), (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")],
)
def test_the_answer_is_for_failures_that_leave_the_question_open(
    server: ScriptedServer, failure: tuple[StatusCode, str]
) -> None:
    away(server, failure)
    with Client(server.address, retry=QUICK, unavailable_default="allow") as client:
        answer = client.can_use("u", "f")
        assert answer
        assert answer.failure
        assert answer.failure.code is failure[0]


def test_an_error_that_is_an_answer_is_raised(server: ScriptedServer) -> None:
    away(server, (StatusCode.NOT_FOUND, "USER_NOT_FOUND"))
    with Client(server.address, unavailable_default="allow") as client:
        with pytest.raises(canuse.NotFound):
            client.can_use("u", "f")
        client.close()
        with pytest.raises(canuse.ClientClosed):
            client.can_use("u", "f")


def test_by_default_the_feature_decides_as_last_heard_and_before_that_the_error_is_raised(
    server: ScriptedServer,
) -> None:
    with Client(server.address, retry=QUICK) as client:
        away(server)
        with pytest.raises(canuse.Unavailable):
            client.can_use("u", "f")
        for word, access in ((v1.ON_UNAVAILABLE_ALLOW, True), (v1.ON_UNAVAILABLE_DENY, False)):
            server.always.clear()
            server.answers["CanUse"] = v1.CanUseResponse(on_unavailable=word)
            assert client.can_use("u", "f").failure is None
            away(server)
            answer = client.can_use("another user", "f")
            assert (answer.access, int(answer.on_unavailable)) == (access, word)
            with pytest.raises(canuse.Unavailable):
                client.can_use("u", "another feature")


def test_the_last_known_counts_apply_to_the_amount_and_include_later_uses(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["CanUse"] = FIVE_LEFT
    server.answers["UseFeature"] = v1.UseFeatureResponse(
        access=True, reason=WITHIN, consumption=v1.Consumption(used=8, budget=10, remaining=2)
    )
    with Client(server.address, retry=QUICK) as client:
        client.can_use("u", "f")
        away(server)
        five, six = client.can_use("u", "f", 5), client.can_use("u", "f", 6)
        assert (five.access, six.access, five.source) == (True, False, Source.SOURCE_LAST_KNOWN)
        assert five.consumption
        assert five.consumption.remaining == 5
        assert client.can_use("another user", "f").source == Source.SOURCE_FALLBACK
        server.always.clear()
        client.use_feature("u", "f", 3)
        away(server)
        assert [client.can_use("u", "f", delta).access for delta in (2, 3)] == [True, False]
        monkeypatch.setattr(_unavailable, "MAX_AGE_SECONDS", -1)
        assert (client.can_use("u", "f").access, client.can_use("u", "f").source) == (False, Source.SOURCE_FALLBACK)


@pytest.mark.parametrize(
    ("last", "delta", "access"),
    [
        (v1.CanUseResponse(access=True, reason=v1.REASON_INCLUDED), 1, True),
        (v1.CanUseResponse(reason=v1.REASON_NOT_ENTITLED), 1, False),
        (v1.CanUseResponse(reason=v1.REASON_USER_DISABLED, consumption=v1.Consumption(remaining=9)), 1, False),
        (v1.CanUseResponse(access=True, reason=v1.REASON_UNLIMITED, consumption=v1.Consumption(used=9)), 99, True),
        (
            v1.CanUseResponse(
                access=True, reason=v1.REASON_OVERAGE, consumption=v1.Consumption(remaining=0, overage_enabled=True)
            ),
            99,
            True,
        ),
        (v1.CanUseResponse(reason=v1.REASON_BUDGET_EXCEEDED, consumption=v1.Consumption(remaining=3)), 3, True),
    ],
)
def test_a_last_known_answer_is_what_the_service_would_say_of_that_state(
    server: ScriptedServer, last: v1.CanUseResponse, delta: int, access: bool
) -> None:
    last.source = v1.SOURCE_STORE
    server.answers["CanUse"] = last
    with Client(server.address, retry=QUICK, unavailable_default="last_known") as client:
        client.can_use("u", "f", 9)
        away(server)
        answer = client.can_use("u", "f", delta)
    assert (answer.access, answer.source) == (access, Source.SOURCE_LAST_KNOWN)


def test_a_fallback_of_the_server_is_not_taken_for_what_is_known(server: ScriptedServer) -> None:
    server.answers["CanUse"] = v1.CanUseResponse(access=True, source=v1.SOURCE_FALLBACK)
    with Client(server.address, retry=QUICK, unavailable_default="last_known") as client:
        client.can_use("u", "f")
        away(server)
        assert not client.can_use("u", "f")


async def test_a_batch_has_for_each_check_its_own_answer_or_error(server: ScriptedServer) -> None:
    words: Any = {"a": "allow", "d": "deny"}
    checks = [v1.CanUseRequest(user_id="u", feature_id=feature_id) for feature_id in "adr"]
    away(server)
    async with AsyncClient(server.address, retry=QUICK, unavailable=words) as client:
        allowed, denied, raised = await client.batch_can_use(checks)
        assert isinstance(allowed, canuse.CanUseAnswer)
        assert isinstance(denied, canuse.CanUseAnswer)
        assert isinstance(raised, canuse.Unavailable)
        assert [bool(each) for each in (allowed, denied, raised)] == [True, False, False]
        with pytest.raises(canuse.Unavailable):
            await client.batch_can_use(checks[2:])
        server.always.clear()
        item = v1.BatchCanUseResult()
        item.status.code = StatusCode.UNAVAILABLE.value[0]
        server.answers["BatchCanUse"] = v1.BatchCanUseResponse(results=[item] * 3)
        assert [bool(each) for each in await client.batch_can_use(checks)] == [True, False, False]


def test_calls_that_record_are_never_answered_by_the_client(server: ScriptedServer) -> None:
    away(server)
    with Client(server.address, retry=QUICK, unavailable_default="allow") as client:
        with pytest.raises(canuse.Unavailable):
            client.use_feature("u", "f")
        with pytest.raises(canuse.Unavailable):
            client.reserve("u", "f", 1)


def test_a_block_runs_by_the_answer_of_the_client_and_its_use_is_recorded_after_it(server: ScriptedServer) -> None:
    away(server)
    words: Any = {"a": "allow", "d": "deny"}
    with Client(server.address, retry=QUICK, unavailable=words) as client:
        with client.using("u", "a", 3) as use:
            assert isinstance(use.answer, canuse.CanUseAnswer)
            assert use.answer.failure
        recorded = server.requests[-1]
        assert isinstance(recorded, v1.CreateUsageEventRequest)
        assert (recorded.delta, recorded.event_id) == (3, use.event_id)
        with pytest.raises(canuse.AccessDenied), client.using("u", "d"):
            raise AssertionError
        server.always["CreateUsageEvent"] = LOST
        with pytest.raises(canuse.Unavailable) as caught, client.using("u", "a") as lost:
            pass
        assert caught.value.event_id == lost.event_id


class Kept:
    """A recorder that keeps what it is given."""

    def __init__(self) -> None:
        self.uses: list[tuple[str, str, int, str | None]] = []

    def record(self, user_id: str, feature_id: str, delta: int = 1, event_id: str | None = None) -> str:
        """Keep a use."""
        self.uses.append((user_id, feature_id, delta, event_id))
        return str(event_id)


def test_an_attached_recorder_keeps_the_uses_that_get_no_answer_with_the_ids_that_were_sent(
    server: ScriptedServer,
) -> None:
    kept = Kept()
    server.always["CreateUsageEvent"] = server.always["Settle"] = LOST
    server.answers["Reserve"] = v1.ReserveResponse(granted=2, lease_id="lease")
    with Client(server.address, retry=QUICK) as client:
        client.attach(kept)
        answer = client.create_usage_event("u", "f", 3)
        assert not answer
        assert isinstance(answer.failure, canuse.Unavailable)
        # It is kept for as long as a recorder needs it.
        assert not server.requests[0].HasField("event_id_ttl")
        with client.using("u", "f", 2) as use:
            pass
        assert isinstance(use.failure, canuse.Unavailable)
        assert kept.uses == [("u", "f", 3, server.requests[0].event_id), ("u", "f", 2, use.event_id)]
        assert answer.event_id == server.requests[0].event_id
        # These it could not record as they are.
        with pytest.raises(canuse.Unavailable):
            client.create_usage_event("u", "f", 3, metadata={"job": "1"})
        with pytest.raises(canuse.Unavailable):
            client.create_usage_event("u", "f", 3, action=v1.USAGE_ACTION_SET)
        server.always["CreateUsageEvent"] = (StatusCode.NOT_FOUND, "USER_NOT_FOUND")
        with pytest.raises(canuse.NotFound):
            client.create_usage_event("u", "f")
        client.attach(None)
        server.always["CreateUsageEvent"] = LOST
        with pytest.raises(canuse.Unavailable):
            client.create_usage_event("u", "f")
    assert len(kept.uses) == 2


@pytest.mark.extended
def test_while_nothing_answers_checks_with_another_answer_do_not_wait(server: ScriptedServer) -> None:
    away(server)
    policy = Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.05)
    with Client(server.address, retry=policy, timeout_seconds=30, unavailable_default="allow") as client:
        started_at = time.monotonic()
        client.can_use("u", "f")
        assert time.monotonic() - started_at < 10
        assert len(server.requests) > 2
        server.requests.clear()
        client.can_use("u", "f")
        assert len(server.requests) == 1
        server.always.clear()
        client.can_use("u", "f")
        away(server)
        server.requests.clear()
        client.can_use("u", "f")
        assert len(server.requests) > 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unavailable": "deny"}, "unavailable: 'deny' of type str"),
        (
            {"unavailable": {"f": "no"}},
            r"unavailable\['f'\]: 'no' of type str",
        ),
        ({"unavailable": {"f": []}}, r"unavailable\['f'\]: \[\] of type list"),
        ({"unavailable_default": "no"}, "unavailable_default: 'no' of type str"),
    ],
)
def test_a_word_that_is_not_known_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(canuse.BadArgument, match=f"^{message}"):
        Client(**settings)


def test_the_last_known_answers_are_bounded(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_unavailable, "MAX_ENTRIES", 2)
    server.answers["CanUse"] = FIVE_LEFT
    with Client(server.address, retry=QUICK) as client:
        for user_id in ("1", "2", "3"):
            client.can_use(user_id, "f")
        away(server)
        assert [client.can_use(user_id, "f").access for user_id in ("1", "2", "3")] == [False, True, True]
