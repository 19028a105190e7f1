"""The test kit: the same tests on a real server and on `FakeClient`."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import canuse
from canuse import CanuseError, Client, Reason, Source, v1
from canuse.testing import CanuseServer, Definitions, FakeClient

NOT_IN_MEMORY = {
    "ApplyCatalog",
    "CreateApiKey",
    "GenerateUserToken",
    "ListApiKeys",
    "ListAuditEntries",
    "MigrateSubscriptions",
    "RevokeApiKey",
    "RevokeUserTokens",
}
"""The methods that `FakeClient` does not have, as docs/testing.md says."""
START = datetime(2031, 3, 31, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[CanuseServer]:
    """A real server for this module."""
    with CanuseServer() as server:
        yield server


@pytest.fixture(params=[pytest.param("server", marks=pytest.mark.extended), "fake"])
def kit(request: pytest.FixtureRequest) -> Definitions:
    """A server without data at a given time, and the same in memory."""
    kit: Definitions = request.getfixturevalue("server") if request.param == "server" else FakeClient()
    kit.reset(START)
    return kit


@pytest.fixture
def client(kit: Definitions) -> Client:
    """A client of it."""
    return kit.client


def test_a_package_and_a_user_are_defined_in_a_line_each(kit: Definitions, client: Client) -> None:
    kit.package("pro", {"api-calls": "2/month", "storage": "unlimited", "sso": True, "seats": "3/never"})
    kit.user("124", "pro")
    reasons = {each.feature_id: each.reason for each in client.list_entitlements("124")}
    assert reasons == {
        "api-calls": Reason.REASON_WITHIN_BUDGET,
        "storage": Reason.REASON_UNLIMITED,
        "sso": Reason.REASON_INCLUDED,
        "seats": Reason.REASON_WITHIN_BUDGET,
    }
    kit.package(
        "more",
        {"api-calls": v1.PackageFeature(limit=9, overage_enabled=True, reset_period=v1.RESET_PERIOD_HOUR)},
        add_on=True,
    )
    client.subscribe("124", ["more"])
    counts = client.can_use("124", "api-calls").consumption
    assert counts
    assert (counts.budget, counts.overage_enabled, counts.resets_at) == (9, True, START + timedelta(hours=1))


def test_the_next_version_of_a_package_is_for_new_users(kit: Definitions, client: Client) -> None:
    kit.package("pro", {"api-calls": "1/month"})
    kit.user("old", "pro")
    assert kit.package("pro", {"api-calls": "5/month"}).version == 2
    kit.user("new", "pro")
    budgets = [client.show_usage(user_id, "api-calls").current for user_id in ("old", "new")]
    assert [counts and counts.budget for counts in budgets] == [1, 5]


@pytest.mark.parametrize("terms", [7, "7", "7/decade", None, "-1/month", False])
def test_terms_that_mean_nothing_are_refused_by_name(kit: Definitions, terms: object) -> None:
    with pytest.raises(canuse.BadArgument) as caught:
        kit.package("pro", {"api-calls": terms})  # type: ignore[dict-item]
    assert caught.value.violations[0].field == "features['api-calls']"
    assert "100/month" in caught.value.message


def test_features_without_their_terms_are_refused(kit: Definitions) -> None:
    # It was an AttributeError about the items of a list.
    with pytest.raises(canuse.BadArgument, match=r"^features: .* of type list is not accepted; expected a map"):
        kit.package("pro", ["api-calls"])  # type: ignore[arg-type]


def test_time_moves_only_when_it_is_told_to(kit: Definitions, client: Client) -> None:
    kit.package("pro", {"api-calls": "1/month"})
    kit.user("124", "pro")
    assert kit.now == START
    assert client.use_feature("124", "api-calls")
    refused = client.use_feature("124", "api-calls")
    assert (refused.access, refused.retry_after) == (False, timedelta(days=30))
    # A month later than the 31st is the 30th, and then the 31st again.
    assert kit.jump_to_reset("124", "api-calls") == datetime(2031, 4, 30, 12, tzinfo=UTC) == kit.now
    assert client.use_feature("124", "api-calls")
    assert kit.jump_to_reset("124", "api-calls") == datetime(2031, 5, 31, 12, tzinfo=UTC)
    assert [period.used for period in client.show_usage("124", "api-calls").past] == [1, 1]
    assert kit.advance(hours=1) == kit.advance() == datetime(2031, 5, 31, 13, tzinfo=UTC)
    with pytest.raises(canuse.InvalidArgument):
        kit.set_time(START)
    assert kit.advance(timedelta(days=1)) == datetime(2031, 6, 1, 13, tzinfo=UTC)


def test_a_count_that_does_not_reset_cannot_be_jumped_to(kit: Definitions) -> None:
    kit.package("pro", {"seats": "1/never"})
    kit.user("124", "pro")
    with pytest.raises(ValueError, match="'seats' for user '124' does not reset"):
        kit.jump_to_reset("124", "seats")


def test_a_reset_deletes_everything_and_sets_time_back(kit: Definitions, client: Client) -> None:
    kit.package("pro", {"api-calls": "1/month"})
    kit.user("124", "pro")
    assert client.use_feature("124", "api-calls", event_id="e")
    kit.jump_to_reset("124", "api-calls")
    kit.reset(START)
    assert kit.now == START
    assert [*client.list_users(), *client.list_features(), *client.list_packages()] == []
    with pytest.raises(canuse.NotFound):
        client.can_use("124", "api-calls")
    kit.package("pro", {"api-calls": "1/month"})
    kit.user("124", "pro")
    answer = client.use_feature("124", "api-calls", event_id="e")
    assert (answer.access, answer.replayed) == (True, False)
    kit.reset()
    assert abs(kit.now - datetime.now(UTC)) < timedelta(minutes=5)


def test_while_the_store_is_unavailable_features_answer_as_they_are_set_to(kit: Definitions, client: Client) -> None:
    kit.feature("denied")
    kit.feature("allowed", on_unavailable=v1.ON_UNAVAILABLE_ALLOW)
    kit.feature("known", on_unavailable=v1.ON_UNAVAILABLE_LAST_KNOWN)
    kit.package("pro", {"denied": "9/month", "allowed": "9/month", "known": "9/month"})
    kit.user("124", "pro")
    kit.user("125", "pro")
    for feature_id in ("denied", "allowed", "known"):
        assert client.can_use("124", feature_id)
    with kit.store_unavailable():
        found = {name: client.can_use("124", name) for name in ("denied", "allowed", "known")}
        assert {name: bool(answer) for name, answer in found.items()} == {
            "denied": False,
            "allowed": True,
            "known": True,
        }
        fallback = Source.SOURCE_FALLBACK
        assert [answer.source for answer in found.values()] == [fallback, fallback, Source.SOURCE_LAST_KNOWN]
        assert client.can_use("125", "known").source == fallback
        with pytest.raises(canuse.StoreUnavailable):
            client.use_feature("124", "denied")
    assert client.use_feature("124", "denied").consumption == client.can_use("124", "denied").consumption
    kit.set_store_available(False)
    kit.reset(START)
    assert list(client.list_users()) == []


def answers_of(client: Client) -> list[object]:
    """Make many calls, and return what they answer: messages without the ids that a server chooses, and reasons."""
    found: list[object] = []

    def note(call: object) -> None:
        try:
            answer = call() if callable(call) else call
        except CanuseError as error:
            metadata = dict(error.metadata)
            if "subscription_id" in metadata:
                metadata["subscription_id"] = client.get_subscription(metadata["subscription_id"]).package_id
            found.append((type(error), error.reason, metadata))
            return
        found.append(answer)

    user, feature = "124", "api-calls"
    note(lambda: client.can_use(user, feature, 3))
    note(lambda: client.can_use(user, feature, 11))
    note(lambda: client.use_feature(user, feature, 4, event_id="a"))
    note(lambda: client.use_feature(user, feature, 4, event_id="a"))
    note(lambda: client.use_feature(user, feature, 5, event_id="a"))
    note(lambda: client.create_usage_event(user, feature, 9, event_id="b"))
    note(lambda: client.create_usage_event(user, feature, -2, event_id="c"))
    note(lambda: client.create_usage_event(user, feature, 8, action=v1.USAGE_ACTION_SET, event_id="d"))
    note(lambda: client.create_usage_event(user, "extra", 1, event_id="f"))
    note(lambda: client.create_grant(user, "bonus", feature, amount=5))
    note(lambda: client.use_feature(user, feature, 6, event_id="g"))
    note(lambda: client.show_usage(user, feature).current)
    note(lambda: [(source.grant_id, source.amount, source.left) for source in client.show_usage(user, feature).sources])
    note(lambda: client.use_features(user, {feature: 1, "extra": 1}, event_id="h"))
    note(lambda: client.use_features(user, {feature: 9, "sso": 1}))
    note(lambda: client.use_feature(user, "nothing"))
    note(lambda: client.use_feature("nobody", feature))
    lease = client.reserve(user, feature, 5, ttl=timedelta(minutes=1))
    note(lambda: [(each.feature_id, each.amount, each.expires_at) for each in client.list_leases(user)])
    note(lambda: list(client.list_leases(user, feature_id="extra")))
    note(lambda: list(client.list_leases(user, feature_id="nothing")))
    note((lease.granted, lease.reason, lease.consumption, lease.expires_at))
    note(lambda: client.extend_lease(lease.lease_id, amount=1))
    note(lambda: client.settle(lease.lease_id, 1, event_id="i"))
    note(lambda: client.reserve(user, feature, 5, min_amount=5, event_id="j"))
    note(lambda: client.ensure_user("200", package_id="pro").subscribed)
    note(lambda: client.ensure_user("200", name="Ada", package_id="pro").updated)
    note(lambda: client.change_package("200", "small").changed)
    note(lambda: client.change_package("200", "more"))
    note(lambda: client.can_use("200", feature))
    note(lambda: client.update_user("200", disabled=True).disabled)
    note(lambda: client.can_use("200", feature))
    note(lambda: client.archive_feature("extra").archived)
    note(lambda: client.use_feature(user, "extra"))
    note(lambda: [(each.delta, each.applied_delta, each.event_id) for each in client.list_usage_events(user)])
    note(lambda: [(each.feature_id, each.amount) for each in client.list_leases(user)])
    note(lambda: [(each.feature_id, each.used, each.overage) for each in client.list_usage_totals()])
    note(lambda: [(each.feature_id, each.package_ids) for each in client.list_entitlements("200", include_locked=True)])
    note(lambda: client.subscribe(user, ["pro"]))
    note(lambda: client.subscribe(user, ["draft"]))
    return found


@pytest.mark.extended
def test_a_fake_answers_as_a_server_does(server: CanuseServer) -> None:
    fake = FakeClient()
    for kit in (server, fake):
        kit.reset(START)
        kit.package("pro", {"api-calls": "10/month", "sso": True, "extra": "1/day"})
        kit.package("small", {"api-calls": "1/month"})
        kit.package("more", {"extra": "unlimited"}, add_on=True)
        kit.client.create_package("draft")
        kit.user("124", "pro")
    expected, found = answers_of(server.client), answers_of(fake)
    assert len(found) == len(expected)
    differences = {number: pair for number, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]}
    assert differences == {}


def test_a_fake_has_all_methods_but_those_that_are_listed() -> None:
    modules = (module for name, module in vars(v1).items() if name.endswith("_service_pb2"))
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    methods = {method.name for service in services for method in service.methods}
    world = FakeClient()._service.world
    missing = {name for name in methods if not hasattr(world, re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())}
    assert len(services) > 5
    assert missing == NOT_IN_MEMORY


def test_what_a_fake_does_not_have_says_where_it_is() -> None:
    fake = FakeClient()
    fake.package("pro", {"api-calls": "1/month"})
    fake.user("124", "pro")
    for call in (
        lambda: fake.can_use("124", "api-calls", explain=True),
        lambda: fake.create_api_key("name", environment=v1.ENVIRONMENT_LIVE),
        lambda: next(fake.migrate_subscriptions("pro")),
        fake.apply_catalog,
    ):
        with pytest.raises(CanuseError, match="canuse_server") as caught:
            call()
        assert caught.value.code.name == "UNIMPLEMENTED"


@pytest.mark.extended
def test_a_server_with_keys_of_an_earlier_test_is_reset_as_well(server: CanuseServer) -> None:
    server.reset()
    server.client.create_api_key("admin", ["keys:admin"], environment=v1.ENVIRONMENT_LIVE)
    with pytest.raises(canuse.Unauthenticated):
        list(server.client.list_users())
    address = server.address
    server.reset(START)
    assert (server.now, server.address) == (START, address)
    server.user("124")
    assert [user.id for user in server.client.list_users()] == ["124"]
