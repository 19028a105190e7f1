"""Subscribe with an event id: one effect, and the first answer again."""

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, consumable, package, subscriber, unique
from support.wire import Stubs, failure

ADD_ON, ACTIVE = v1.PACKAGE_TYPE_ADD_ON, v1.SUBSCRIPTION_STATUS_ACTIVE
EVENT = "order-8731"


@pytest.fixture
def add_on(client: Client) -> str:
    """An add-on, to which a user can subscribe any number of times."""
    return package(client, [v1.PackageFeature(feature_id=consumable(client), limit=5)], ADD_ON)


@pytest.fixture
def user_id(client: Client) -> str:
    """A user without subscriptions."""
    return client.create_user(unique("user")).id


def request(user_id: str, *package_ids: str, **fields: object) -> v1.SubscribeRequest:
    return v1.SubscribeRequest(user_id=user_id, package_ids=package_ids, **{"event_id": EVENT} | fields)  # type: ignore[arg-type]


def test_a_repeat_gets_the_first_answer_and_subscribes_nobody(
    client: Client, stubs: Stubs, user_id: str, add_on: str
) -> None:
    """A repeated call made a second subscription to the add-on, and cancelling one left access."""
    other = package(client, [], ADD_ON)
    first = stubs.subscriptions.Subscribe(request(user_id, add_on, other))
    assert (first.event_id, first.replayed, len(first.subscriptions)) == (EVENT, False, 2)
    client.cancel_subscription(first.subscriptions[0].id)
    again = stubs.subscriptions.Subscribe(request(user_id, add_on, other))
    assert (again.replayed, again.subscriptions) == (True, first.subscriptions)
    assert {each.id for each in client.list_subscriptions(user_id)} == {each.id for each in first.subscriptions}


def test_without_an_event_id_each_call_subscribes(client: Client, stubs: Stubs, user_id: str, add_on: str) -> None:
    for _ in range(2):
        answer = stubs.subscriptions.Subscribe(request(user_id, add_on, event_id=""))
        assert (answer.event_id, answer.replayed) == ("", False)
    assert len(list(client.list_subscriptions(user_id))) == 2


def test_other_content_under_the_same_event_id_is_refused(
    client: Client, stubs: Stubs, user_id: str, add_on: str
) -> None:
    other = package(client, [], ADD_ON)
    first = stubs.subscriptions.Subscribe(request(user_id, add_on, other)).subscriptions
    moment = first[0].started_at
    for changed in (
        request(user_id, add_on),
        request(user_id, other, add_on),
        request(user_id, add_on, other, started_at=moment),
        request(user_id, add_on, other, trial_end=v1.Subscription(trial_end=moment).trial_end, started_at=None),
        request(user_id, add_on, other, status=v1.SUBSCRIPTION_STATUS_PAST_DUE),
    ):
        if changed.HasField("trial_end"):
            changed.trial_end.seconds += 1000
        refused = failure(stubs.subscriptions.Subscribe, changed)
        assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "EVENT_ID_REUSED")
        assert refused.metadata == {"user_id": user_id, "event_id": EVENT}
    assert len(list(client.list_subscriptions(user_id))) == 2


def test_the_status_that_is_the_default_is_the_same_content(stubs: Stubs, user_id: str, add_on: str) -> None:
    first = stubs.subscriptions.Subscribe(request(user_id, add_on))
    assert stubs.subscriptions.Subscribe(request(user_id, add_on, status=ACTIVE)).subscriptions == first.subscriptions


def test_event_ids_are_shared_with_the_calls_that_count(client: Client, stubs: Stubs, add_on: str) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.create_usage_event(user_id, feature_id, event_id="use")
    assert failure(stubs.subscriptions.Subscribe, request(user_id, add_on, event_id="use")).reason == "EVENT_ID_REUSED"
    stubs.subscriptions.Subscribe(request(user_id, add_on))
    use = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, event_id=EVENT)
    assert failure(stubs.entitlements.CreateUsageEvent, use).reason == "EVENT_ID_REUSED"
    assert client.show_usage(user_id, feature_id).current.used == 1


def test_another_user_may_use_the_same_event_id(client: Client, stubs: Stubs, user_id: str, add_on: str) -> None:
    other_id = client.create_user(unique("user")).id
    first = stubs.subscriptions.Subscribe(request(user_id, add_on))
    second = stubs.subscriptions.Subscribe(request(other_id, add_on))
    assert not second.replayed
    assert first.subscriptions[0].id != second.subscriptions[0].id


def test_the_first_answer_comes_again_whatever_has_changed_since(client: Client, stubs: Stubs, user_id: str) -> None:
    """The base package that the call itself added would now refuse it."""
    base = package(client, [])
    first = stubs.subscriptions.Subscribe(request(user_id, base))
    client.update_package(base, name="new")
    client.publish_package(base)
    assert stubs.subscriptions.Subscribe(request(user_id, base)).subscriptions == first.subscriptions
    client.archive_package(base)
    assert stubs.subscriptions.Subscribe(request(user_id, base)).replayed


def test_what_is_refused_uses_up_no_event_id(client: Client, stubs: Stubs, user_id: str) -> None:
    draft = client.create_package(unique("package"), [], type=ADD_ON).id
    assert failure(stubs.subscriptions.Subscribe, request(user_id, draft)).reason == "PACKAGE_NOT_PUBLISHED"
    client.publish_package(draft)
    assert not stubs.subscriptions.Subscribe(request(user_id, draft)).replayed


def test_an_event_id_goes_with_its_user(client: Client, stubs: Stubs, user_id: str, add_on: str) -> None:
    stubs.subscriptions.Subscribe(request(user_id, add_on))
    client.delete_user(user_id)
    assert failure(stubs.subscriptions.Subscribe, request(user_id, add_on)).reason == "USER_NOT_FOUND"
    client.create_user(user_id)
    assert not stubs.subscriptions.Subscribe(request(user_id, add_on)).replayed


def test_of_many_calls_at_once_one_subscribes(client: Client, stubs: Stubs, user_id: str, add_on: str) -> None:
    calls = [stubs.subscriptions.Subscribe.future(request(user_id, add_on)) for _ in range(20)]
    answers = [call.result() for call in calls]
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 19
    assert all(answer.subscriptions == answers[0].subscriptions for answer in answers)
    assert len(list(client.list_subscriptions(user_id))) == 1


def test_a_bad_event_id_is_a_bad_field(stubs: Stubs, user_id: str, add_on: str) -> None:
    for bad in ("x" * 129, "a\nb"):
        assert failure(stubs.subscriptions.Subscribe, request(user_id, add_on, event_id=bad)).fields == ["event_id"]


def test_an_event_id_is_kept_for_its_time(clocked: Client, clocked_stubs: Stubs, clock: Clock) -> None:
    add_on, user_id = package(clocked, [], ADD_ON), clocked.create_user(unique("user")).id
    first = clocked_stubs.subscriptions.Subscribe(request(user_id, add_on))
    clock.advance(hours=23)
    assert clocked_stubs.subscriptions.Subscribe(request(user_id, add_on)).subscriptions == first.subscriptions
    clock.advance(days=60)
    clocked_stubs.subscriptions.Subscribe(request(user_id, add_on, event_id="one"))
    clock.advance(days=2)
    clocked_stubs.subscriptions.Subscribe(request(user_id, add_on, event_id="two"))
    assert not clocked_stubs.subscriptions.Subscribe(request(user_id, add_on)).replayed


def test_the_client_sends_an_event_id(client: Client, user_id: str, add_on: str) -> None:
    first = client.subscribe(user_id, [add_on], event_id=EVENT)
    assert client.subscribe(user_id, [add_on], event_id=EVENT) == first
