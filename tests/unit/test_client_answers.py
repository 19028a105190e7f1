"""The clients' answers: true if access is granted, with the fields of the messages as Python values."""

import asyncio
import copy
import inspect
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

import canuse
from canuse import AsyncClient, OnUnavailable, Reason, Source, answers, v1

AT = datetime(2025, 1, 31, 12, 30, 0, 250_000, tzinfo=UTC)


def stamp(moment: datetime) -> Timestamp:
    """Return a moment as the server sends it."""
    result = Timestamp()
    result.FromDatetime(moment)
    return result


FULL = v1.Consumption(used=3, budget=5, remaining=1, reserved=1, period_start=stamp(AT), resets_at=stamp(AT))
ANSWERS: dict[type[Message], Any] = {
    v1.CanUseResponse: canuse.CanUseAnswer,
    v1.CreateUsageEventResponse: canuse.CreateUsageEventAnswer,
    v1.UseFeatureResponse: canuse.UseFeatureAnswer,
    v1.UseFeaturesResponse: canuse.UseFeaturesAnswer,
    v1.ReserveResponse: canuse.ReserveAnswer,
    v1.SettleResponse: canuse.SettleAnswer,
    v1.ExtendLeaseResponse: canuse.ExtendLeaseAnswer,
    v1.ShowUsageResponse: canuse.ShowUsageAnswer,
    v1.Entitlement: canuse.Entitlement,
    v1.Consumption: canuse.Consumption,
    v1.PastPeriod: canuse.PastPeriod,
    v1.SourceBalance: canuse.SourceBalance,
}


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        (v1.CanUseResponse(access=True), v1.CanUseResponse(reason=v1.REASON_NOT_ENTITLED)),
        (v1.CreateUsageEventResponse(recorded=True), v1.CreateUsageEventResponse(event_id="e")),
        (v1.UseFeatureResponse(access=True), v1.UseFeatureResponse(event_id="e")),
        (v1.UseFeaturesResponse(access=True), v1.UseFeaturesResponse(event_id="e")),
        (v1.ReserveResponse(granted=1), v1.ReserveResponse(event_id="e")),
        (v1.SettleResponse(recorded=True), v1.SettleResponse(late=True)),
        (v1.ExtendLeaseResponse(extended=True), v1.ExtendLeaseResponse(granted=3)),
        (v1.Entitlement(access=True), v1.Entitlement(feature_id="f")),
    ],
)
def test_an_answer_is_true_where_it_is_a_yes(yes: Message, no: Message) -> None:
    # A message is always true: `if client.can_use(…)` allowed everybody.
    kind = ANSWERS[type(yes)]
    assert bool(kind.from_message(yes)) is True
    assert bool(kind.from_message(no)) is False


@pytest.mark.parametrize("message", ANSWERS, ids=lambda message: message.DESCRIPTOR.name)
def test_an_answer_has_every_field_of_its_message_and_the_message(message: type[Message]) -> None:
    kind = ANSWERS[message]
    more = {"feature_id"} if hasattr(kind, "raise_if_denied") and kind is not canuse.UseFeaturesAnswer else set()
    if kind in (canuse.CanUseAnswer, canuse.CreateUsageEventAnswer):
        more.add("failure")
    if kind in (canuse.CanUseAnswer, canuse.UseFeatureAnswer):
        more.add("local")
    assert {field.name for field in fields(kind)} == {*message.DESCRIPTOR.fields_by_name, "message", *more}
    sent = message()
    assert kind.from_message(sent).message is sent


def test_every_answer_is_among_those_tested_here() -> None:
    assert set(ANSWERS.values()) == {kind for kind in vars(answers).values() if is_dataclass(kind)}


def test_the_enums_have_the_names_and_the_numbers_of_the_api() -> None:
    for enum, values in ((Reason, v1.Reason), (Source, v1.Source), (OnUnavailable, v1.OnUnavailable)):
        assert {member.name: member.value for member in enum} == dict(values.items())


def test_fields_are_python_values() -> None:
    answer = canuse.CanUseAnswer.from_message(
        v1.CanUseResponse(access=True, reason=v1.REASON_OVERAGE, consumption=FULL, source=v1.SOURCE_STORE)
    )
    assert answer.reason == v1.REASON_OVERAGE
    assert (str(answer.reason), f"{answer.source:>14}") == ("REASON_OVERAGE", "  SOURCE_STORE")
    assert answer.consumption
    assert (answer.consumption.used, answer.consumption.budget, answer.consumption.remaining) == (3, 5, 1)
    assert answer.consumption.period_start == answer.consumption.resets_at == AT
    assert answer.consumption.period_start.tzinfo is UTC
    assert answer.explanation is None


@pytest.mark.parametrize("seconds", [-62_135_596_800, -1, 0, 1_738_326_600, 253_402_300_799])
@pytest.mark.parametrize("nanos", [0, 999, 1_000, 999_999_999])
def test_a_time_is_what_protobuf_makes_of_it(seconds: int, nanos: int) -> None:
    sent = v1.Consumption(period_start=Timestamp(seconds=seconds, nanos=nanos))
    assert canuse.Consumption.from_message(sent).period_start == sent.period_start.ToDatetime(UTC)


@pytest.mark.extended
@pytest.mark.parametrize("message", ANSWERS, ids=lambda message: message.DESCRIPTOR.name)
def test_an_answer_of_which_nothing_was_read_is_the_same_as_one_that_was_read(message: type[Message]) -> None:
    def answer() -> Any:
        return ANSWERS[message].from_message(message())

    was_read, names = answer(), [field.name for field in fields(ANSWERS[message])]
    values = [getattr(was_read, name) for name in names]
    for unread in (answer(), copy.copy(answer()), copy.deepcopy(answer()), pickle.loads(pickle.dumps(answer()))):
        assert unread == was_read
        assert repr(unread) == repr(was_read)
        assert [getattr(unread, name) for name in names] == values
    with pytest.raises(AttributeError, match="acess"):
        answer().acess  # noqa: B018
    with pytest.raises(AttributeError):
        answer().message = None


def test_an_answer_prints_with_the_names_of_the_api() -> None:
    # It printed `reason=<Reason.REASON_OVERAGE: 4>`.
    answer = canuse.CanUseAnswer.from_message(
        v1.CanUseResponse(access=True, reason=v1.REASON_OVERAGE, source=v1.SOURCE_STORE), "api-calls"
    )
    assert repr(answer) == (
        "CanUseAnswer(access=True, reason=REASON_OVERAGE, consumption=None, source=SOURCE_STORE, explanation=None, "
        "retry_after=None, on_unavailable=ON_UNAVAILABLE_DENY, feature_id='api-calls', failure=None, "
        "local=False)"
    )


def test_what_is_absent_is_none_and_not_zero() -> None:
    unlimited = canuse.Consumption.from_message(v1.Consumption(used=3))
    assert (unlimited.budget, unlimited.remaining, unlimited.resets_at) == (None, None, None)
    assert canuse.CanUseAnswer.from_message(v1.CanUseResponse()).consumption is None
    assert canuse.ReserveAnswer.from_message(v1.ReserveResponse()).expires_at is None
    assert canuse.ShowUsageAnswer.from_message(v1.ShowUsageResponse()).current is None
    both = canuse.UseFeaturesAnswer.from_message(v1.UseFeaturesResponse(consumptions=[v1.Consumption(), FULL]))
    assert both.consumptions == (None, canuse.Consumption.from_message(FULL))


def test_a_reason_of_a_newer_server_is_kept_as_its_number() -> None:
    answer = canuse.CanUseAnswer.from_message(v1.CanUseResponse(access=True, reason=999))  # type: ignore[arg-type]
    assert (answer.reason, str(answer.reason), bool(answer)) == (999, "999", True)
    assert pickle.loads(pickle.dumps(answer)).reason == 999


def test_answers_are_compared_hashed_copied_and_pickled_and_never_changed() -> None:
    message = v1.CanUseResponse(access=True, consumption=FULL, explanation=v1.Explanation())
    one, other = canuse.CanUseAnswer.from_message(message), canuse.CanUseAnswer.from_message(copy.copy(message))
    assert one == other == copy.deepcopy(one) == pickle.loads(pickle.dumps(one))
    assert len({one, other}) == 1
    assert "message" not in repr(one)
    with pytest.raises(AttributeError):
        one.access = False  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        one.acces = False  # type: ignore[attr-defined]


DENIED = v1.REASON_BUDGET_EXCEEDED
USED_UP = v1.Consumption(used=5, budget=5, remaining=0, resets_at=stamp(AT))
SENTENCES: list[tuple[Any, str]] = [
    (v1.CanUseResponse(reason=v1.REASON_NOT_ENTITLED), "Your plan does not include api calls."),
    (
        v1.CanUseResponse(reason=DENIED, consumption=USED_UP),
        "You have used all 5 api calls. You get more on 2025-01-31 at 12:30 UTC.",
    ),
    (
        v1.UseFeatureResponse(reason=DENIED, consumption=FULL),
        "You have 1 api calls left, which is not enough. You get more on 2025-01-31 at 12:30 UTC.",
    ),
    (
        v1.ReserveResponse(reason=DENIED, consumption=v1.Consumption(used=3, budget=5, remaining=0, reserved=2)),
        "Your last api calls are in use right now. Please try again in a moment.",
    ),
    (
        v1.CanUseResponse(reason=DENIED, consumption=v1.Consumption(budget=0, remaining=0)),
        "Your plan includes no api calls.",
    ),
    (v1.CanUseResponse(reason=DENIED), "You have used all your api calls for now."),
    (v1.CanUseResponse(reason=v1.REASON_SUBSCRIPTION_INACTIVE), "Your subscription with api calls is not active."),
    (v1.CanUseResponse(reason=v1.REASON_FEATURE_ARCHIVED), "The feature api calls is no longer available."),
    (v1.CanUseResponse(reason=v1.REASON_USER_DISABLED), "Your account is disabled."),
    (
        v1.CanUseResponse(reason=v1.REASON_STORE_UNAVAILABLE),
        "We cannot check api calls right now. Please try again in a moment.",
    ),
    (v1.CanUseResponse(reason=999), "You cannot use api calls at the moment."),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("message", "sentence"), SENTENCES)
def test_a_denied_answer_raises_a_sentence_for_the_end_user(message: Any, sentence: str) -> None:
    answer = ANSWERS[type(message)].from_message(message, "api-calls")
    with pytest.raises(canuse.AccessDenied) as caught:
        answer.raise_if_denied()
    assert str(caught.value) == sentence
    assert caught.value.answer is answer
    assert pickle.loads(pickle.dumps(caught.value)).answer == answer
    with pytest.raises(canuse.AccessDenied) as named:
        answer.raise_if_denied("API calls")
    assert str(named.value) == sentence.replace("api calls", "API calls")


def test_a_granted_answer_is_returned_and_others_name_what_is_known() -> None:
    answer = canuse.CanUseAnswer.from_message(v1.CanUseResponse(access=True))
    assert answer.raise_if_denied() is answer
    denied: list[tuple[Any, str]] = [
        (
            canuse.UseFeaturesAnswer.from_message(v1.UseFeaturesResponse(blocking_feature_id="a_b", reason=DENIED)),
            "a b",
        ),
        (canuse.Entitlement.from_message(v1.Entitlement(feature_id="f", reason=v1.REASON_NOT_ENTITLED)), "include f."),
        (canuse.CanUseAnswer.from_message(v1.CanUseResponse(reason=v1.REASON_NOT_ENTITLED)), "include this feature."),
    ]
    for each, text in denied:
        with pytest.raises(canuse.AccessDenied, match=text):
            each.raise_if_denied()


def test_a_denial_is_no_failed_call() -> None:
    # Handlers of failed calls let users pass, some of them.
    assert not issubclass(canuse.AccessDenied, canuse.CanuseError)


def failed() -> canuse.CanuseError:
    """Return the error that a batch has in place of an answer."""
    result = v1.BatchCanUseResult(status=Status(code=5, message="no such user"))
    [item] = answers.batch_can_use_answers(v1.BatchCanUseResponse(results=[result]))
    assert isinstance(item, canuse.NotFound)
    return item


def test_the_items_of_a_batch_are_true_where_they_are_a_yes_and_errors_are_not() -> None:
    checks = v1.BatchCanUseResponse(
        results=[
            v1.BatchCanUseResult(response=v1.CanUseResponse(access=True)),
            v1.BatchCanUseResult(response=v1.CanUseResponse()),
            v1.BatchCanUseResult(status=Status(code=5, message="no such user")),
        ]
    )
    assert [bool(each) for each in answers.batch_can_use_answers(checks)] == [True, False, False]
    uses = v1.BatchCreateUsageEventsResponse(
        results=[
            v1.BatchCreateUsageEventsResult(response=v1.CreateUsageEventResponse(recorded=True)),
            v1.BatchCreateUsageEventsResult(response=v1.CreateUsageEventResponse()),
            v1.BatchCreateUsageEventsResult(status=Status(code=14, message="away")),
        ]
    )
    assert [bool(each) for each in answers.batch_create_usage_events_answers(uses)] == [True, False, False]
    checked_uses = v1.BatchUseFeatureResponse(
        results=[
            v1.BatchUseFeatureResult(response=v1.UseFeatureResponse(access=True)),
            v1.BatchUseFeatureResult(response=v1.UseFeatureResponse()),
            v1.BatchUseFeatureResult(status=Status(code=14, message="away")),
        ]
    )
    assert [bool(each) for each in answers.batch_use_feature_answers(checked_uses)] == [True, False, False]
    assert not pickle.loads(pickle.dumps(failed()))


def test_an_error_that_is_raised_is_true_so_that_no_executor_loses_it() -> None:
    # Executors before Python 3.13 test an exception for truth, and return None instead of a false one.
    def raise_it(error: canuse.CanuseError) -> None:
        raise error

    with ThreadPoolExecutor(1) as threads:
        for error in (canuse.NotFound("none"), failed()):
            with pytest.raises(canuse.NotFound):
                threads.submit(raise_it, error).result()


CALLS: list[Callable[[AsyncClient], Any]] = [
    lambda client: client.can_use("u", "f"),
    lambda client: client.create_usage_event("u", "f"),
    lambda client: client.use_feature("u", "f"),
    lambda client: client.use_features("u", {"f": 1}),
    lambda client: client.batch_can_use([]),
    lambda client: client.batch_create_usage_events([]),
    lambda client: client.batch_use_feature([]),
    lambda client: client.reserve("u", "f", 1),
    lambda client: client.settle("l", 1),
    lambda client: client.get_user("u"),
]


async def test_a_call_that_was_not_awaited_is_neither_true_nor_false() -> None:
    # A coroutine is always true: `if client.can_use(…)` without `await` allowed everybody, with a warning at most.
    async with AsyncClient("127.0.0.1:1") as client:
        for call in CALLS:
            with pytest.raises(TypeError, match="await it first"):
                bool(call(client))
            with pytest.raises(TypeError, match="await it first"):
                assert not call(client)


async def test_a_call_is_a_coroutine_for_everything_that_runs_one() -> None:
    async with AsyncClient("127.0.0.1:1", retry=False) as client:
        call = client.can_use("u", "f")
        assert asyncio.iscoroutine(call)
        assert inspect.iscoroutine(call)
        task = asyncio.create_task(call)
        others = [
            client.can_use("u", "f"),
            asyncio.wait_for(client.can_use("u", "f"), 10),
            asyncio.shield(asyncio.ensure_future(client.can_use("u", "f"))),
        ]
        results = await asyncio.gather(task, *others, return_exceptions=True)
        assert {type(result) for result in results} == {canuse.Unavailable}
