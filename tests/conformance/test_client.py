"""The clients against a running server: what they return, what they raise, how they page."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

import pytest

import canuse
from canuse import (
    AsyncClient,
    CanUseAnswer,
    Client,
    Consumption,
    CreateUsageEventAnswer,
    Reason,
    v1,
)

START = datetime(2025, 1, 31, 12, 30, tzinfo=UTC)
FAR_OFF = datetime(2125, 1, 1, tzinfo=UTC)


class Server(Protocol):
    """A running server."""

    @property
    def address(self) -> str:
        """Its address."""


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Connect to the server as callers do, with the client's own answer types."""
    with Client(server.address) as connected:
        yield connected


@pytest.fixture
async def async_client(server: Server) -> AsyncIterator[AsyncClient]:
    """Connect to the server from the event loop of the tests."""
    async with AsyncClient(server.address) as connected:
        yield connected


def unique(kind: str) -> str:
    """Return an id that no other test uses: they share the server."""
    return f"{kind}-{uuid4().hex}"


def counts(answer: CanUseAnswer | CreateUsageEventAnswer) -> Consumption:
    """Return the counts of an answer, which must have some."""
    assert answer.consumption
    return answer.consumption


def monthly(feature_id: str, limit: int | None) -> v1.PackageFeature:
    """Return a package entry with a monthly limit."""
    return v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=v1.RESET_PERIOD_MONTH)


def consumable(client: Client) -> str:
    """Create a consumable feature."""
    return client.create_feature(unique("feature"), type=v1.FEATURE_TYPE_CONSUMABLE).id


def published(client: Client, *features: v1.PackageFeature, add_on: bool = False) -> str:
    """Create and publish a package."""
    kind = v1.PACKAGE_TYPE_ADD_ON if add_on else v1.PACKAGE_TYPE_BASE
    package_id = client.create_package(unique("package"), features, type=kind).id
    return client.publish_package(package_id).id


def subscriber(client: Client, *features: v1.PackageFeature) -> str:
    """Create a user with a subscription to a new package."""
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [published(client, *features)])
    return user_id


class TestEntitlements:
    """Checks and uses."""

    def test_a_user_is_asked_about_and_uses_up_a_budget(self, client: Client) -> None:
        feature_id = consumable(client)
        user_id = subscriber(client, monthly(feature_id, 10))

        denied = client.can_use(user_id, feature_id, 10)
        assert (denied.access, denied.reason) == (True, Reason.REASON_WITHIN_BUDGET)
        assert (counts(denied).used, counts(denied).remaining) == (0, 10)

        recorded = client.create_usage_event(user_id, feature_id, 8, metadata={"job": "1"})
        assert (recorded.recorded, recorded.applied_delta, counts(recorded).remaining) == (True, 8, 2)

        assert client.use_feature(user_id, feature_id, 2).access
        refused = client.use_feature(user_id, feature_id)
        assert (refused.access, refused.reason) == (False, Reason.REASON_BUDGET_EXCEEDED)
        assert not client.can_use(user_id, feature_id).access

        shown = client.show_usage(user_id, feature_id)
        assert shown.current
        assert (shown.current.used, shown.current.budget, shown.past) == (10, 10, ())
        [entitlement] = client.list_entitlements(user_id)
        assert (entitlement.feature_id, entitlement.access) == (feature_id, False)

    def test_an_event_counts_one_by_default_and_can_be_taken_back(self, client: Client) -> None:
        feature_id = consumable(client)
        user_id = subscriber(client, monthly(feature_id, None))
        assert client.create_usage_event(user_id, feature_id).applied_delta == 1
        assert client.create_usage_event(user_id, feature_id, -5).applied_delta == -1
        unlimited = client.can_use(user_id, feature_id)
        assert unlimited.reason == v1.REASON_UNLIMITED
        assert counts(unlimited).budget is None

    def test_a_total_is_set_and_never_by_default(self, client: Client) -> None:
        feature_id = consumable(client)
        user_id = subscriber(client, monthly(feature_id, 10))
        assert counts(client.create_usage_event(user_id, feature_id, 7, action=v1.USAGE_ACTION_SET)).used == 7
        assert counts(client.create_usage_event(user_id, feature_id, 0, action=v1.USAGE_ACTION_SET)).used == 0
        with pytest.raises(canuse.InvalidArgument) as caught:
            client.create_usage_event(user_id, feature_id, action=v1.USAGE_ACTION_SET)
        assert [violation.field for violation in caught.value.violations] == ["delta"]

    def test_an_event_id_counts_once(self, client: Client) -> None:
        feature_id, event_id = consumable(client), unique("event")
        user_id = subscriber(client, monthly(feature_id, 10))
        first = client.create_usage_event(user_id, feature_id, 2, event_id=event_id)
        again = client.create_usage_event(user_id, feature_id, 2, event_id=event_id)
        assert (first.replayed, again.replayed) == (False, True)
        assert first.event_id == again.event_id == event_id
        assert counts(again).used == 2
        with pytest.raises(canuse.AlreadyExists) as caught:
            client.create_usage_event(user_id, feature_id, 3, event_id=event_id)
        assert caught.value.reason == "EVENT_ID_REUSED"

    def test_entitlements_of_all_pages_come_in_order(self, client: Client) -> None:
        feature_ids = [consumable(client) for _ in range(5)]
        user_id = subscriber(client, *(monthly(feature_id, 1) for feature_id in feature_ids))
        for page_size in (1, 2, 5, 1000):
            found = [each.feature_id for each in client.list_entitlements(user_id, page_size=page_size)]
            assert found == sorted(feature_ids)

    def test_the_entitlements_of_a_user_come_in_one_call_by_feature(self, client: Client) -> None:
        feature_ids = sorted(consumable(client) for _ in range(3))
        user_id = subscriber(client, *(monthly(feature_id, 1) for feature_id in feature_ids))
        locked_id = consumable(client)
        package_id = published(client, monthly(locked_id, 1))
        own = client.entitlements(user_id)
        assert list(own) == feature_ids
        assert all(own.values())
        everything = client.entitlements(user_id, include_locked=True)
        assert list(everything) == sorted(everything)
        assert not everything[locked_id]
        assert everything[locked_id].package_ids == (package_id,)
        # Of a package that the user no longer has, nothing said which one to buy again.
        client.change_package(user_id, published(client, monthly(feature_ids[0], 1)))
        lost = client.entitlements(user_id, include_locked=True)[feature_ids[1]]
        assert lost.reason is canuse.Reason.REASON_SUBSCRIPTION_INACTIVE
        assert len(lost.package_ids) == 1
        assert client.entitlements(user_id)[feature_ids[1]].package_ids == ()
        with pytest.raises(canuse.NotFound):
            client.entitlements(unique("missing"))


class TestCatalogue:
    """Features and packages."""

    def test_a_feature_is_created_changed_listed_and_archived(self, client: Client) -> None:
        feature_id = unique("feature")
        created = client.create_feature(
            feature_id,
            type=v1.FEATURE_TYPE_CONSUMABLE,
            name="API calls",
            unit_label="call",
            unit_label_plural="calls",
            metadata={"team": "core"},
        )
        assert (created.id, created.name, dict(created.metadata)) == (feature_id, "API calls", {"team": "core"})
        assert client.get_feature(feature_id) == created

        changed = client.update_feature(feature_id, name="", metadata={})
        assert (changed.name, changed.unit_label, dict(changed.metadata)) == ("", "call", {})
        assert changed.type == v1.FEATURE_TYPE_CONSUMABLE

        assert feature_id in {feature.id for feature in client.list_features(page_size=1000)}
        assert client.archive_feature(feature_id).archived

    def test_a_package_is_drafted_changed_published_and_archived(self, client: Client) -> None:
        package_id, feature_id = unique("package"), consumable(client)
        draft = client.create_package(package_id, [monthly(feature_id, 5)], name="Pro", metadata={"a": "b"})
        assert (draft.status, draft.type, draft.name) == (v1.PACKAGE_STATUS_DRAFT, v1.PACKAGE_TYPE_BASE, "Pro")

        changed = client.update_package(package_id, features=[monthly(feature_id, 0)], type=v1.PACKAGE_TYPE_ADD_ON)
        assert (changed.type, changed.name) == (v1.PACKAGE_TYPE_ADD_ON, "Pro")
        assert [feature.limit for feature in changed.features] == [0]

        assert client.publish_package(package_id).status == v1.PACKAGE_STATUS_PUBLISHED
        with pytest.raises(canuse.FailedPrecondition) as caught:
            client.update_package(package_id, type=v1.PACKAGE_TYPE_BASE)
        assert caught.value.reason == "PACKAGE_IMMUTABLE"
        assert package_id in {package.id for package in client.list_packages(page_size=1000)}
        assert client.archive_package(package_id).status == v1.PACKAGE_STATUS_ARCHIVED
        assert client.get_package(package_id).name == "Pro"


class TestUsers:
    """Users."""

    def test_a_user_is_created_changed_and_erased(self, client: Client) -> None:
        user_id = unique("user")
        created = client.create_user(user_id, name="Ada", email="ada@example.org", billing_id="b", metadata={"a": "b"})
        assert (created.id, created.email, created.billing_id) == (user_id, "ada@example.org", "b")
        assert client.get_user(user_id) == created

        changed = client.update_user(user_id, disabled=True, email="")
        assert (changed.disabled, changed.email, changed.name) == (True, "", "Ada")

        assert client.delete_user(user_id) is None  # type: ignore[func-returns-value]
        with pytest.raises(canuse.NotFound):
            client.get_user(user_id)

    def test_every_user_is_on_one_page(self, client: Client) -> None:
        expected = {client.create_user(unique("user")).id for _ in range(7)}
        for page_size in (3, 1000):
            found = [user.id for user in client.list_users(page_size=page_size)]
            assert expected <= set(found)
            assert len(found) == len(set(found))


class TestSubscriptions:
    """Subscriptions."""

    def test_a_trial_starts_becomes_late_and_is_cancelled(self, client: Client) -> None:
        feature_id, user_id = consumable(client), client.create_user(unique("user")).id
        package_id = published(client, monthly(feature_id, 10))

        [trial] = client.subscribe(user_id, [package_id], started_at=START, trial_end=FAR_OFF)
        assert (trial.user_id, trial.package_id) == (user_id, package_id)
        assert trial.status == v1.SUBSCRIPTION_STATUS_TRIALING
        assert trial.started_at.ToDatetime(UTC) == START
        assert trial.trial_end.ToDatetime(UTC) == FAR_OFF
        assert client.get_subscription(trial.id) == trial
        assert client.can_use(user_id, feature_id).access

        late = client.update_subscription(trial.id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
        assert late.status == v1.SUBSCRIPTION_STATUS_PAST_DUE
        refused = client.can_use(user_id, feature_id)
        assert (refused.access, refused.reason) == (False, Reason.REASON_SUBSCRIPTION_INACTIVE)

        cancelled = client.cancel_subscription(trial.id)
        assert cancelled.status == v1.SUBSCRIPTION_STATUS_CANCELLED
        assert cancelled.HasField("cancel_at")

    def test_a_subscription_is_cancelled_at_the_end_of_its_period(self, client: Client) -> None:
        feature_id = consumable(client)
        user_id = subscriber(client, monthly(feature_id, 10))
        [subscription] = client.list_subscriptions(user_id)
        ending = client.cancel_subscription(subscription.id, at_period_end=True)
        assert ending.status == v1.SUBSCRIPTION_STATUS_ACTIVE
        current = client.show_usage(user_id, feature_id).current
        assert current
        assert ending.cancel_at.ToDatetime(UTC) == current.resets_at

    def test_subscriptions_come_in_the_order_of_the_packages_and_from_all_pages(self, client: Client) -> None:
        user_id, feature_id = client.create_user(unique("user")).id, consumable(client)
        package_ids = [published(client, monthly(feature_id, 1), add_on=True) for _ in range(3)]
        created = client.subscribe(user_id, package_ids, status=v1.SUBSCRIPTION_STATUS_INCOMPLETE)
        assert [subscription.package_id for subscription in created] == package_ids
        assert {subscription.status for subscription in created} == {v1.SUBSCRIPTION_STATUS_INCOMPLETE}
        listed = list(client.list_subscriptions(user_id, page_size=2))
        assert sorted(each.id for each in listed) == sorted(each.id for each in created)


class TestErrors:
    """Errors."""

    def test_an_unknown_id_is_not_found_and_named(self, client: Client) -> None:
        feature_id, missing = consumable(client), unique("missing")
        user_id = subscriber(client, monthly(feature_id, 1))
        for call, reason, key in (
            (lambda: client.can_use(missing, feature_id), "USER_NOT_FOUND", "user_id"),
            (lambda: client.can_use(user_id, missing), "FEATURE_NOT_FOUND", "feature_id"),
            (lambda: client.get_package(missing), "PACKAGE_NOT_FOUND", "package_id"),
        ):
            with pytest.raises(canuse.NotFound) as caught:
                call()
            assert (caught.value.reason, caught.value.metadata[key]) == (reason, missing)
            assert missing in caught.value.message

    def test_bad_input_names_every_field(self, client: Client) -> None:
        with pytest.raises(canuse.InvalidArgument) as caught:
            client.create_user("", name="n" * 257)
        error = caught.value
        assert error.reason == "INVALID_FIELD"
        assert {violation.field for violation in error.violations} == {"user.id", "user.name"}
        assert all(violation.description for violation in error.violations)

    def test_an_id_that_is_taken_already_exists(self, client: Client) -> None:
        feature_id = consumable(client)
        with pytest.raises(canuse.AlreadyExists) as caught:
            client.create_feature(feature_id, type=v1.FEATURE_TYPE_BINARY)
        assert caught.value.reason == "FEATURE_EXISTS"

    def test_a_binary_feature_has_no_usage(self, client: Client) -> None:
        feature_id = client.create_feature(unique("feature"), type=v1.FEATURE_TYPE_BINARY).id
        user_id = subscriber(client, v1.PackageFeature(feature_id=feature_id))
        assert client.can_use(user_id, feature_id).reason == v1.REASON_INCLUDED
        with pytest.raises(canuse.FailedPrecondition) as caught:
            client.use_feature(user_id, feature_id)
        assert caught.value.reason == "FEATURE_NOT_CONSUMABLE"

    def test_a_list_raises_when_it_is_iterated(self, client: Client) -> None:
        entitlements = client.list_entitlements(unique("missing"))
        with pytest.raises(canuse.NotFound):
            next(entitlements)


class TestAsyncClient:
    """The asyncio client."""

    async def test_a_user_is_set_up_and_uses_up_a_budget(self, async_client: AsyncClient) -> None:
        feature_id, package_id, user_id = unique("feature"), unique("package"), unique("user")
        await async_client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        await async_client.create_package(package_id, [monthly(feature_id, 2)])
        await async_client.publish_package(package_id)
        await async_client.create_user(user_id)
        [subscription] = await async_client.subscribe(user_id, [package_id], started_at=START)

        assert (await async_client.can_use(user_id, feature_id)).access
        assert (await async_client.create_usage_event(user_id, feature_id)).recorded
        assert (await async_client.use_feature(user_id, feature_id)).access
        assert not (await async_client.use_feature(user_id, feature_id)).access
        shown = await async_client.show_usage(user_id, feature_id)
        assert shown.current
        assert shown.current.used == 2
        assert [each.feature_id async for each in async_client.list_entitlements(user_id)] == [feature_id]
        assert list(await async_client.entitlements(user_id)) == [feature_id]
        assert [each.id async for each in async_client.list_subscriptions(user_id)] == [subscription.id]

    async def test_grants_are_given_used_together_listed_and_revoked(self, async_client: AsyncClient) -> None:
        feature_id, other_id, user_id = unique("feature"), unique("feature"), unique("user")
        await async_client.create_user(user_id)
        created = []
        for number, each in enumerate((feature_id, other_id)):
            await async_client.create_feature(each, type=v1.FEATURE_TYPE_CONSUMABLE)
            created.append(await async_client.create_grant(user_id, f"g{number}", each, amount=2, expires_at=FAR_OFF))
        with pytest.raises(canuse.AlreadyExists) as taken:
            await async_client.create_grant(user_id, "g0", feature_id, amount=3)
        assert taken.value.reason == "GRANT_EXISTS"
        assert (await async_client.use_features(user_id, {feature_id: 2, other_id: 1})).access
        refused = await async_client.use_features(user_id, {other_id: 1, feature_id: 1})
        assert (refused.access, refused.blocking_feature_id) == (False, feature_id)
        assert [each async for each in async_client.list_grants(user_id, page_size=1)] == created
        assert (await async_client.revoke_grant(user_id, "g0")).HasField("revoked_at")
        with pytest.raises(canuse.NotFound) as missing:
            await async_client.revoke_grant(user_id, "g9")
        assert missing.value.reason == "GRANT_NOT_FOUND"

    async def test_resources_are_changed_and_removed(self, async_client: AsyncClient) -> None:
        feature_id, package_id, user_id = unique("feature"), unique("package"), unique("user")
        await async_client.create_feature(feature_id, type=v1.FEATURE_TYPE_BINARY)
        assert (await async_client.update_feature(feature_id, name="SSO")).name == "SSO"
        await async_client.create_package(package_id, [v1.PackageFeature(feature_id=feature_id)])
        assert (await async_client.update_package(package_id, name="Pro")).name == "Pro"
        await async_client.publish_package(package_id)
        await async_client.create_user(user_id)
        assert (await async_client.update_user(user_id, name="Ada")).name == "Ada"
        [subscription] = await async_client.subscribe(user_id, [package_id])
        late = await async_client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_UNPAID)
        assert await async_client.get_subscription(subscription.id) == late
        ended = await async_client.cancel_subscription(subscription.id)
        assert ended.status == v1.SUBSCRIPTION_STATUS_CANCELLED
        await async_client.delete_user(user_id)
        with pytest.raises(canuse.NotFound):
            await async_client.get_user(user_id)
        assert (await async_client.archive_package(package_id)).status == v1.PACKAGE_STATUS_ARCHIVED
        assert (await async_client.get_package(package_id)).id == package_id
        assert (await async_client.archive_feature(feature_id)).archived
        assert (await async_client.get_feature(feature_id)).archived

    async def test_lists_yield_all_pages(self, async_client: AsyncClient) -> None:
        user_ids = [(await async_client.create_user(unique("user"))).id for _ in range(4)]
        feature_id, package_id = unique("feature"), unique("package")
        await async_client.create_feature(feature_id, type=v1.FEATURE_TYPE_BINARY)
        await async_client.create_package(package_id)
        assert set(user_ids) <= {user.id async for user in async_client.list_users(page_size=3)}
        assert feature_id in {feature.id async for feature in async_client.list_features(page_size=3)}
        assert package_id in {package.id async for package in async_client.list_packages(page_size=3)}

    async def test_errors_are_those_of_the_sync_client(self, async_client: AsyncClient) -> None:
        with pytest.raises(canuse.NotFound) as missing:
            await async_client.get_user(user_id := unique("missing"))
        assert (missing.value.reason, missing.value.metadata) == ("USER_NOT_FOUND", {"user_id": user_id})
        with pytest.raises(canuse.InvalidArgument) as bad:
            await async_client.create_user("")
        assert [violation.field for violation in bad.value.violations] == ["user.id"]
