"""A default package: an unknown user is treated as subscribed to it since first seen."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from threading import Event
from typing import NamedTuple

import grpc
import pytest

from canuse import NotFound, v1
from canuse_server.api.tokens import lease as lease_tokens
from canuse_server.api.tokens.lease import LeaseName
from canuse_server.store.keys import bucket_of
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import consumable, package, unique
from support.tools import tool
from support.wire import Stubs, failure

TARGETS = ("native-valkey", "grpcio-valkey", "native-redis")


class Deployment(NamedTuple):
    """A server with a default package that gives 5 units of one feature."""

    client: Client
    stubs: Stubs
    package_id: str
    feature_id: str


def run(request: pytest.FixtureRequest, folder: Path, package_id: str) -> Canuse:
    """Start a server whose default package may not exist yet."""
    transport, store = request.param.split("-")
    options = ["--transport", transport]
    if store == "redis":
        redis = RedisServer(tool("redis-server"), folder / "redis").start()
        request.addfinalizer(redis.stop)
        options += ["--redis-url", redis.url]
    server = Canuse(folder, *options, env={"CANUSE_DEFAULT_PACKAGE": package_id}).start()
    request.addfinalizer(server.stop)
    return server


@pytest.fixture(scope="module", params=TARGETS)
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A server with its default package published."""
    package_id = unique("package")
    server = run(request, tmp_path_factory.mktemp("default"), package_id)
    stubs = Stubs(server.address)
    with Client(server.address) as client:
        feature_id = consumable(client)
        client.create_package(package_id, [v1.PackageFeature(feature_id=feature_id, limit=5)])
        client.publish_package(package_id)
        yield Deployment(client, stubs, package_id, feature_id)
    stubs.channel.close()


def test_an_unknown_user_may_use_what_the_default_package_gives(deployment: Deployment) -> None:
    client, user_id = deployment.client, unique("user")
    answer = client.can_use(user_id, deployment.feature_id)
    assert (answer.access, answer.reason, answer.consumption.budget) == (True, v1.REASON_WITHIN_BUDGET, 5)
    [subscription] = client.list_subscriptions(user_id)
    assert (subscription.package_id, subscription.status) == (deployment.package_id, v1.SUBSCRIPTION_STATUS_ACTIVE)
    assert client.get_user(user_id).id == user_id
    assert user_id in {user.id for user in client.list_users(page_size=1000)}


def test_an_unknown_user_gets_the_published_version_while_the_next_one_is_a_draft(deployment: Deployment) -> None:
    client, entry = deployment.client, v1.PackageFeature(feature_id=deployment.feature_id, limit=9)
    assert client.update_package(deployment.package_id, features=[entry]).version == 2
    user_id = unique("user")
    assert client.use_feature(user_id, deployment.feature_id).consumption.budget == 5
    [subscription] = client.list_subscriptions(user_id)
    assert subscription.package_version == 1


def test_the_first_use_of_an_unknown_user_is_counted_and_remembered(deployment: Deployment) -> None:
    client = deployment.client
    recorder, user_id = unique("user"), unique("user")
    recorded = client.create_usage_event(recorder, deployment.feature_id, 3, event_id="e")
    assert (recorded.recorded, recorded.consumption.used, recorded.replayed) == (True, 3, False)
    assert client.create_usage_event(recorder, deployment.feature_id, 3, event_id="e").replayed
    assert client.use_feature(user_id, deployment.feature_id, 5).access
    assert not client.use_feature(user_id, deployment.feature_id).access
    assert client.show_usage(user_id, deployment.feature_id).current.used == 5


def test_a_batch_makes_each_unknown_user_once_and_counts_all_their_uses_in_order(deployment: Deployment) -> None:
    client, user_ids = deployment.client, [unique("user") for _ in range(3)]
    requests = [
        v1.CreateUsageEventRequest(user_id=user_id, feature_id=deployment.feature_id, delta=delta)
        for delta in (1, 2, 3, 4)
        for user_id in user_ids
    ]
    results = client.batch_create_usage_events(requests)
    used = [result.consumption.used for result in results if isinstance(result, v1.CreateUsageEventResponse)]
    assert used == [1, 1, 1, 3, 3, 3, 6, 6, 6, 10, 10, 10]
    assert [len(list(client.list_subscriptions(user_id))) for user_id in user_ids] == [1, 1, 1]
    unseen = unique("user")
    checks = [v1.CanUseRequest(user_id=unseen, feature_id=deployment.feature_id, delta=delta) for delta in (5, 6)]
    answers = client.batch_can_use(checks)
    assert [answer.access for answer in answers if isinstance(answer, v1.CanUseResponse)] == [True, False]


def test_an_unknown_user_can_reserve_and_is_not_made_by_a_lease_that_there_is_not(deployment: Deployment) -> None:
    client, user_id, nobody = deployment.client, unique("user"), unique("user")
    lease = client.reserve(user_id, deployment.feature_id, 4)
    assert (lease.granted, lease.consumption.reserved) == (4, 4)
    assert client.settle(lease.lease_id, 3).consumption.used == 3
    unknown = lease_tokens.encode(LeaseName(nobody, deployment.feature_id, bytes(8)))
    assert failure(deployment.stubs.entitlements.Settle, v1.SettleRequest(lease_id=unknown, used=1)).reason == (
        "LEASE_NOT_FOUND"
    )
    assert nobody not in {user.id for user in client.list_users(page_size=1000)}


def test_an_unknown_user_has_entitlements_to_list_and_usage_to_show(deployment: Deployment) -> None:
    [entitlement] = deployment.client.list_entitlements(unique("user"))
    assert (entitlement.feature_id, entitlement.access) == (deployment.feature_id, True)
    usage = deployment.client.show_usage(unique("user"), deployment.feature_id)
    assert (usage.current.used, usage.current.budget) == (0, 5)
    assert list(deployment.client.list_usage_events(unique("user"))) == []
    assert (
        deployment.client.can_use(unique("user"), deployment.feature_id, explain=True)
        .explanation.steps[-1]
        .decision.access
    )


def test_an_unknown_user_is_made_once_by_callers_at_once(deployment: Deployment) -> None:
    user_id = unique("user")
    request = v1.UseFeatureRequest(user_id=user_id, feature_id=deployment.feature_id)
    calls = [deployment.stubs.entitlements.UseFeature.future(request) for _ in range(50)]
    assert sum(call.result().access for call in calls) == 5
    assert len(list(deployment.client.list_subscriptions(user_id))) == 1


def test_a_feature_that_the_default_package_does_not_list_is_refused(deployment: Deployment) -> None:
    answer = deployment.client.can_use(unique("user"), consumable(deployment.client))
    assert (answer.access, answer.reason) == (False, v1.REASON_NOT_ENTITLED)


def test_an_unknown_feature_or_a_bad_call_makes_no_user(deployment: Deployment) -> None:
    user_id, entitlements = unique("user"), deployment.stubs.entitlements
    unknown = failure(entitlements.CanUse, v1.CanUseRequest(user_id=user_id, feature_id=unique("missing")))
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "FEATURE_NOT_FOUND")
    bad = v1.UseFeatureRequest(user_id=user_id, feature_id=deployment.feature_id, delta=0)
    assert failure(entitlements.UseFeature, bad).code == grpc.StatusCode.INVALID_ARGUMENT
    grant = v1.Grant(id="g", user_id=user_id, feature_id=unique("missing"))
    given = failure(deployment.stubs.subscriptions.CreateGrant, v1.CreateGrantRequest(grant=grant))
    assert given.reason == "FEATURE_NOT_FOUND"
    assert failure(deployment.stubs.users.GetUser, v1.GetUserRequest(user_id=user_id)).reason == "USER_NOT_FOUND"


def test_an_unknown_user_can_be_given_a_grant_on_top(deployment: Deployment) -> None:
    """It was USER_NOT_FOUND, and a user who was then created did not get the default package."""
    client, user_id = deployment.client, unique("user")
    client.create_grant(user_id, "g", deployment.feature_id, amount=2)
    assert client.can_use(user_id, deployment.feature_id).consumption.budget == 7
    assert len(list(client.list_subscriptions(user_id))) == 1


def test_a_user_that_was_created_gets_nothing_by_default(deployment: Deployment) -> None:
    user_id = deployment.client.create_user(unique("user")).id
    assert deployment.client.can_use(user_id, deployment.feature_id).reason == v1.REASON_NOT_ENTITLED


def test_a_default_user_can_be_given_another_base_package(deployment: Deployment) -> None:
    client, user_id = deployment.client, unique("user")
    client.use_feature(user_id, deployment.feature_id, 4)
    [subscription] = client.list_subscriptions(user_id)
    client.cancel_subscription(subscription.id)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=deployment.feature_id, limit=9)])])
    counts = client.can_use(user_id, deployment.feature_id).consumption
    assert (counts.used, counts.budget) == (4, 9)


def test_an_erased_user_is_new_when_seen_again(deployment: Deployment) -> None:
    client, user_id = deployment.client, unique("user")
    client.use_feature(user_id, deployment.feature_id, 5)
    client.delete_user(user_id)
    assert client.use_feature(user_id, deployment.feature_id, 2).consumption.used == 2


def test_a_user_who_comes_again_while_being_erased_keeps_what_they_use_from_then_on(deployment: Deployment) -> None:
    """Events of the new user were deleted as the rest of the old one's: 211 were used, and 189 listed."""
    client, other = deployment.client, unique("other")
    # The events of another user in the same ledger make each deletion take a while.
    use = v1.CreateUsageEventRequest(user_id=other, feature_id=deployment.feature_id)
    for _ in range(12):
        client.batch_create_usage_events([use] * 1000)
    same_ledger = (f"{other}-{number}" for number in count() if bucket_of(f"{other}-{number}") == bucket_of(other))

    def erase(user_id: str, erased: Event) -> None:
        for _ in range(2):
            with suppress(NotFound):
                client.delete_user(user_id)
        erased.set()

    def use_until(user_id: str, erased: Event) -> None:
        while not erased.is_set():
            client.create_usage_event(user_id, deployment.feature_id)

    with ThreadPoolExecutor() as threads:
        for user_id in islice(same_ledger, 5):
            erased = Event()
            calls = [threads.submit(use_until, user_id, erased) for _ in range(3)]
            calls.append(threads.submit(erase, user_id, erased))
            for each in calls:
                each.result()
            client.create_usage_event(user_id, deployment.feature_id)
            events = list(client.list_usage_events(user_id, page_size=1000))
            assert client.can_use(user_id, deployment.feature_id).consumption.used == len(events)
            # The total after each event is the number of events up to it: none belongs to the deleted user.
            assert [event.used for event in reversed(events)] == list(range(1, len(events) + 1))


@pytest.fixture(params=TARGETS[:2])
def unready(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Stubs, Client, str]]:
    """A server whose default package does not exist yet."""
    package_id = unique("package")
    server = run(request, tmp_path, package_id)
    stubs = Stubs(server.address)
    with Client(server.address) as client:
        yield stubs, client, package_id
    stubs.channel.close()


def test_while_the_default_package_is_not_published_unknown_users_are_an_error(
    unready: tuple[Stubs, Client, str],
) -> None:
    stubs, client, package_id = unready
    user_id, feature_id = unique("user"), consumable(client)
    request = v1.CanUseRequest(user_id=user_id, feature_id=feature_id)

    def refused() -> None:
        error = failure(stubs.entitlements.CanUse, request)
        assert error.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
        assert failure(stubs.users.GetUser, v1.GetUserRequest(user_id=user_id)).reason == "USER_NOT_FOUND"

    refused()
    client.create_package(package_id, [v1.PackageFeature(feature_id=feature_id, limit=5)])
    refused()
    client.archive_package(package_id)
    refused()


def test_who_is_created_by_a_call_gets_no_default_package(deployment: Deployment) -> None:
    """The default package is for ids that no call has created; EnsureUser names its package itself."""
    client, other = deployment.client, package(deployment.client, [])
    without, with_other, seen_before = (unique("user") for _ in range(3))
    client.ensure_user(without)
    assert client.can_use(without, deployment.feature_id).reason == v1.REASON_NOT_ENTITLED
    client.ensure_user(with_other, package_id=other)
    assert [each.package_id for each in client.list_subscriptions(with_other)] == [other]
    client.can_use(seen_before, deployment.feature_id)
    answer = client.ensure_user(seen_before, package_id=other)
    assert (answer.created, answer.subscribed, answer.subscription.package_id) == (False, False, deployment.package_id)
