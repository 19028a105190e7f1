"""Retries of the clients: which calls, after which failures, how often, and what is raised in the end."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from grpc import StatusCode

import canuse
from canuse import AsyncClient, Client, Retry, v1
from canuse._retry import ANSWERS_PER_RETRY, RetryBudget
from canuse._safety import REPEATABLE, SAFETY, Safety, methods
from chaos.retry_cases import CASES, REPLAYED, SAME
from support.processes import free_port
from support.scripted_server import ScriptedServer, details, scripted_server

LOST = (StatusCode.UNAVAILABLE, "")
SHUTTING_DOWN = (StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
STORE_UNAVAILABLE = (StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
OUTCOME_UNKNOWN = (StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
OVERLOADED = (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
CANCELLED = (StatusCode.CANCELLED, "")
QUICK = Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.002)

RECORDING: list[tuple[str, Callable[[Client], object]]] = [
    ("UseFeature", lambda client: client.use_feature("u", "f")),
    ("CreateUsageEvent", lambda client: client.create_usage_event("u", "f")),
    ("UseFeatures", lambda client: client.use_features("u", {"f": 1})),
    ("BatchUseFeature", lambda client: client.batch_use_feature([v1.UseFeatureRequest(user_id="u", feature_id="f")])),
    (
        "BatchCreateUsageEvents",
        lambda client: client.batch_create_usage_events([v1.CreateUsageEventRequest(user_id="u", feature_id="f")]),
    ),
    ("Reserve", lambda client: client.reserve("u", "f", 1)),
    ("Settle", lambda client: client.settle("l", 1)),
    ("ExtendLease", lambda client: client.extend_lease("l", amount=1)),
    ("Subscribe", lambda client: client.subscribe("u", ["p"])),
    ("ChangePackage", lambda client: client.change_package("u", "p")),
]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Serve until the end of the test."""
    with scripted_server() as server:
        yield server


def event_ids(server: ScriptedServer) -> list[str]:
    """Return the event ids that arrived."""
    return [item.event_id for request in server.requests for item in getattr(request, "requests", [request])]


@pytest.mark.parametrize(("method", "call"), RECORDING, ids=[name for name, _ in RECORDING])
def test_a_call_that_records_is_repeated_with_one_event_id(
    server: ScriptedServer, method: str, call: Callable[[Client], object]
) -> None:
    server.fail(method, LOST, OUTCOME_UNKNOWN, SHUTTING_DOWN, CANCELLED)
    with Client(server.address, retry=QUICK) as client:
        call(client)
    first, *others = event_ids(server)
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert others == [first] * 4


async def test_the_asynchronous_client_repeats_calls_in_the_same_way(server: ScriptedServer) -> None:
    server.fail("UseFeature", LOST, OUTCOME_UNKNOWN, SHUTTING_DOWN, CANCELLED)
    server.fail("CreateUser", SHUTTING_DOWN, LOST)
    async with AsyncClient(server.address, retry=QUICK) as client:
        await client.use_feature("u", "f", event_id="mine")
        assert event_ids(server) == ["mine"] * 5
        with pytest.raises(canuse.Unavailable):
            await client.create_user("u")
    assert len(server.requests) == 7


def test_every_method_with_an_event_id_is_repeated_by_default_and_no_other_change_but_those_that_may_be() -> None:
    by_name = {method.name: SAFETY[method.input_type] for method in methods()}
    assert {name for name, safety in by_name.items() if safety is Safety.EVENT_ID} == {name for name, _ in RECORDING}
    assert {name for name, safety in by_name.items() if safety is Safety.REPEATABLE} == REPEATABLE
    assert len(by_name) == len({method.input_type for method in methods()})
    # tests/chaos/test_lost_replies.py makes these calls twice, with a reply that is lost.
    repeated = {name.partition(",")[0]: case.repeated for name, case in CASES.items() if "without" not in name}
    assert {repeated[name] for name in REPEATABLE} == {SAME}
    assert {repeated[name] for name, safety in by_name.items() if safety is Safety.EVENT_ID} == {REPLAYED}


@pytest.mark.parametrize(
    ("call", "failure", "attempts"),
    [
        # A change that cannot be told from its repetition is made again only if it is known that nothing was written.
        (lambda client: client.create_user("u"), LOST, 1),
        (lambda client: client.create_user("u"), SHUTTING_DOWN, 2),
        (lambda client: client.create_grant("u", "g", "f", amount=1), LOST, 2),
        (lambda client: client.get_user("u"), LOST, 2),
        (lambda client: client.can_use("u", "f"), SHUTTING_DOWN, 2),
        # The server has waited for the store already, and the other servers share it.
        (lambda client: client.use_feature("u", "f"), STORE_UNAVAILABLE, 1),
        (lambda client: client.can_use("u", "f"), STORE_UNAVAILABLE, 1),
        (lambda client: client.use_feature("u", "f"), OVERLOADED, 1),
        (lambda client: client.use_feature("u", "f"), (StatusCode.INTERNAL, ""), 1),
    ],
)
def test_only_what_helps_and_does_no_harm_is_repeated(
    server: ScriptedServer, call: Callable[[Client], object], failure: tuple[StatusCode, str], attempts: int
) -> None:
    for method in ("CreateUser", "CreateGrant", "GetUser", "CanUse", "UseFeature"):
        server.fail(method, failure)
    with Client(server.address, retry=QUICK) as client:
        if attempts == 1:
            with pytest.raises(canuse.CanuseError):
                call(client)
        else:
            call(client)
    assert len(server.requests) == attempts


@pytest.mark.parametrize("last", [STORE_UNAVAILABLE, SHUTTING_DOWN, OVERLOADED])
@pytest.mark.parametrize("first", [OUTCOME_UNKNOWN, LOST])
def test_that_the_last_attempt_wrote_nothing_does_not_hide_that_an_earlier_one_may_have(
    server: ScriptedServer, first: tuple[StatusCode, str], last: tuple[StatusCode, str]
) -> None:
    server.fail("UseFeature", first)
    server.always["UseFeature"] = last
    policy = Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.002, budget=3)
    with Client(server.address, retry=policy) as client, pytest.raises(canuse.Unavailable) as caught:
        client.use_feature("u", "f")
    assert caught.value.reason == first[1]
    assert caught.value.event_id == event_ids(server)[0]
    assert len(server.requests) > 1


def test_a_definite_answer_to_a_retry_is_the_answer(server: ScriptedServer) -> None:
    server.fail("UseFeature", LOST, (StatusCode.NOT_FOUND, "USER_NOT_FOUND"))
    with Client(server.address, retry=QUICK) as client, pytest.raises(canuse.NotFound):
        client.use_feature("u", "f")


def test_grpcs_retries_and_the_clients_do_not_multiply(server: ScriptedServer) -> None:
    server.always["CanUse"] = server.always["UseFeature"] = LOST
    policy = Retry(initial_backoff_seconds=0.001, max_backoff_seconds=0.002, budget=5)
    calls: list[Callable[[Client], object]] = [
        lambda client: client.can_use("u", "f"),
        lambda client: client.use_feature("u", "f"),
    ]
    for call in calls:
        server.requests.clear()
        with Client(server.address, retry=policy) as client:
            with pytest.raises(canuse.Unavailable):
                call(client)
            assert len(server.requests) == 6
            # The budget is one for all calls.
            with pytest.raises(canuse.Unavailable):
                call(client)
            assert len(server.requests) == 7


def test_the_budget_is_refilled_by_answers_and_by_time() -> None:
    budget = RetryBudget(2)
    assert [budget.take(), budget.take(), budget.take()] == [True, True, False]
    for _ in range(ANSWERS_PER_RETRY):
        budget.answered()
    assert [budget.take(), budget.take()] == [True, False]
    budget._refilled_at -= 60
    assert [budget.take(), budget.take()] == [True, False]
    for _ in range(100):
        budget.answered()
    assert [budget.take(), budget.take(), budget.take()] == [True, True, False]


@pytest.mark.parametrize("policy", [False, Retry(recording=False)])
def test_without_retries_of_recording_calls_no_event_id_is_made(server: ScriptedServer, policy: Any) -> None:
    server.fail("UseFeature", LOST)
    with Client(server.address, retry=policy) as client:
        with pytest.raises(canuse.Unavailable):
            client.use_feature("u", "f")
        client.use_feature("u", "f", event_id="mine")
    assert event_ids(server) == ["", "mine"]


@pytest.mark.extended
def test_a_call_waits_for_a_server_that_starts_within_the_deadline() -> None:
    address = f"127.0.0.1:{free_port()}"
    answered = threading.Event()

    def serve_later() -> None:
        time.sleep(0.5)
        with scripted_server(address):
            answered.wait(30)

    server = threading.Thread(target=serve_later)
    server.start()
    try:
        with Client(address, timeout_seconds=20) as client:
            client.use_feature("u", "f")
    finally:
        answered.set()
        server.join()


@pytest.mark.extended
@pytest.mark.parametrize("policy", [Retry(), Retry(max_seconds=0.2)])
def test_retries_end_with_the_deadline_or_before(policy: Retry) -> None:
    timeout_seconds = 20 if policy.max_seconds else 1
    with Client(f"127.0.0.1:{free_port()}", timeout_seconds=timeout_seconds, retry=policy) as client:
        started_at = time.monotonic()
        with pytest.raises(canuse.Unavailable) as caught:
            client.use_feature("u", "f", event_id="mine")
        assert time.monotonic() - started_at < 15
    assert (caught.value.event_id, caught.value.reason) == ("mine", "")


@pytest.mark.extended
async def test_a_caller_who_gives_up_ends_the_retries() -> None:
    async with AsyncClient(f"127.0.0.1:{free_port()}", timeout_seconds=20) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.use_feature("u", "f")


@pytest.mark.extended
def test_closing_the_client_ends_the_retries_and_says_that_the_call_may_have_been_made(server: ScriptedServer) -> None:
    server.always["UseFeature"] = LOST
    client = Client(server.address, timeout_seconds=30)
    closing = threading.Timer(0.3, client.close)
    closing.start()
    with pytest.raises(canuse.ClientClosed, match="may have been processed"):
        client.use_feature("u", "f")
    closing.join()


def results(*items: tuple[StatusCode, str] | None) -> v1.BatchUseFeatureResponse:
    """Return the results of a batch: a yes for None, otherwise the error."""
    return v1.BatchUseFeatureResponse(
        results=[
            v1.BatchUseFeatureResult(response=v1.UseFeatureResponse(access=True))
            if item is None
            else v1.BatchUseFeatureResult(status=Status.FromString(details(*item)))
            for item in items
        ]
    )


def uses(number: int) -> list[v1.UseFeatureRequest]:
    """Return the items of a batch."""
    return [v1.UseFeatureRequest(user_id=f"u{place}", feature_id="f", delta=1) for place in range(number)]


@pytest.mark.extended
async def test_of_a_batch_the_items_without_an_answer_are_made_again_with_their_event_ids(
    server: ScriptedServer,
) -> None:
    first = results(None, OUTCOME_UNKNOWN, (StatusCode.NOT_FOUND, "USER_NOT_FOUND"), LOST, STORE_UNAVAILABLE)
    script = [first, results(OUTCOME_UNKNOWN, None), results(None)]
    server.next_answers["BatchUseFeature"].extend(script)
    with Client(server.address, retry=QUICK) as client:
        found = client.batch_use_feature(uses(5))
    server.next_answers["BatchUseFeature"].extend(script)
    async with AsyncClient(server.address, retry=QUICK) as asynchronous:
        alike = await asynchronous.batch_use_feature(uses(5))
    kinds = [canuse.UseFeatureAnswer] * 2 + [canuse.NotFound, canuse.UseFeatureAnswer, canuse.StoreUnavailable]
    assert [type(each) for each in found] == [type(each) for each in alike] == kinds
    sent = [[(item.user_id, item.event_id) for item in request.requests] for request in server.requests]
    for calls in (sent[:3], sent[3:]):
        assert [user_id for user_id, _ in calls[0]] == ["u0", "u1", "u2", "u3", "u4"]
        assert calls[1:] == [[calls[0][1], calls[0][3]], [calls[0][1]]]


@pytest.mark.extended
def test_an_item_whose_outcome_stays_unknown_says_so_with_its_event_id(server: ScriptedServer) -> None:
    server.next_answers["BatchUseFeature"].extend([results(OUTCOME_UNKNOWN, None), results(STORE_UNAVAILABLE)])
    server.fail("BatchUseFeature", None, None)
    server.always["BatchUseFeature"] = STORE_UNAVAILABLE
    with Client(server.address, retry=QUICK, timeout_seconds=0.5) as client:
        error, answer = client.batch_use_feature(uses(2))
    assert isinstance(error, canuse.OutcomeUnknown)
    assert error.event_id == server.requests[-1].requests[0].event_id
    assert (bool(error), bool(answer)) == (False, True)
    assert len(server.requests) > 2


@pytest.mark.extended
@pytest.mark.parametrize("retry", [False, Retry(recording=False), Retry(budget=1)])
def test_items_are_made_again_only_as_the_client_is_set(server: ScriptedServer, retry: Retry | bool) -> None:
    server.answers["BatchUseFeature"] = results(OUTCOME_UNKNOWN)
    with Client(server.address, retry=retry) as client:
        (error,) = client.batch_use_feature(uses(1))
    assert isinstance(error, canuse.OutcomeUnknown)
    assert len(server.requests) == (2 if retry == Retry(budget=1) else 1)
