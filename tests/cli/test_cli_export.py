"""`canuse export-user`: everything that the API knows of a user, in one document."""

from datetime import timedelta

import pytest

from canuse import v1
from support.command_line import CommandLine
from support.message_clients import Client
from support.processes import Canuse
from support.resources import Clock, binary, consumable, package, unique

pytestmark = pytest.mark.parametrize("clocked_server", ["grpcio-valkey"], indirect=True, scope="session")


def test_everything_about_a_user_is_in_the_document_and_nothing_about_others(
    clocked: Client, clocked_server: Canuse, clock: Clock
) -> None:
    run = CommandLine(clocked_server.address)
    monthly, granted, gone, switch, foreign = (*(consumable(clocked) for _ in range(3)), binary(clocked), unique())
    user = clocked.create_user(unique("user"), name="Ada", metadata={"z": "1", "a": "2", "m": "3"}).id
    stranger = clocked.create_user(foreign).id
    entries = [
        v1.PackageFeature(feature_id=monthly, limit=10, reset_period=v1.RESET_PERIOD_MONTH),
        v1.PackageFeature(feature_id=switch),
    ]
    base = package(clocked, entries)
    clocked.subscribe(user, [base])
    clocked.subscribe(stranger, [base])
    clocked.create_grant(user, "welcome", granted, amount=5, note="a present")
    clocked.create_grant(user, "short", gone, amount=3, expires_at=clock.now() + timedelta(days=1))
    clocked.create_usage_event(user, gone, 2)
    clocked.create_usage_event(user, monthly, 4, metadata={"y": "1", "b": "2"})
    clock.advance(days=32)
    clocked.create_usage_event(user, monthly, 1, event_id="later")
    clocked.create_usage_event(stranger, monthly, 7)

    exported = run("export-user", user)
    assert (exported.status, exported.stderr) == (0, "")
    assert run("export-user", user).stdout == exported.stdout
    assert foreign not in exported.stdout
    document = exported.json()
    assert list(document) == ["user", "subscriptions", "grants", "entitlements", "usage", "leases", "usage_events"]
    assert (document["user"]["id"], document["user"]["name"]) == (user, "Ada")
    assert list(document["user"]["metadata"]) == ["a", "m", "z"]
    assert [each["package_id"] for each in document["subscriptions"]] == [base]
    assert [(each["id"], each["note"]) for each in document["grants"]] == [("short", ""), ("welcome", "a present")]
    assert [each["feature_id"] for each in document["entitlements"]] == sorted([monthly, granted, switch])
    usage = {each["feature_id"]: each for each in document["usage"]}
    assert list(usage) == sorted([monthly, granted, gone])
    assert usage[monthly]["current"]["used"] == 1
    assert [(past["used"], past["budget"]) for past in usage[monthly]["past"]] == [(4, 10)]
    assert [source["grant_id"] for source in usage[granted]["sources"]] == ["welcome"]
    # No package gives the feature any more, but its usage is exported.
    assert "current" not in usage[gone]
    events = [(each["feature_id"], each["delta"], each["event_id"]) for each in document["usage_events"]]
    assert events == [(monthly, 1, "later"), (monthly, 4, ""), (gone, 2, "")]
    assert list(document["usage_events"][1]["metadata"]) == ["b", "y"]


@pytest.mark.extended
def test_a_user_with_thousands_of_ended_subscriptions_is_exported(clocked: Client, clocked_server: Canuse) -> None:
    """The ids of 106 of them were repeated for each feature, in an answer too large for clients."""
    user = clocked.create_user(unique("user").ljust(128, "x")).id
    features = [consumable(clocked) for _ in range(250)]
    large = package(clocked, [v1.PackageFeature(feature_id=each, limit=5) for each in features], v1.PACKAGE_TYPE_ADD_ON)
    small = [package(clocked, [], v1.PACKAGE_TYPE_ADD_ON) for _ in range(32)]
    expired = v1.SUBSCRIPTION_STATUS_INCOMPLETE_EXPIRED
    ended = [each.id for _ in range(106) for each in clocked.subscribe(user, [large], status=expired)]
    ended += [each.id for _ in range(64) for each in clocked.subscribe(user, small, status=expired)]
    going_on = [clocked.subscribe(user, [large])[0].id for _ in range(3)]
    exported = CommandLine(clocked_server.address)("export-user", user)
    assert (exported.status, exported.stderr) == (0, "")
    document = exported.json()
    assert sorted(each["id"] for each in document["subscriptions"]) == sorted(ended + going_on)
    assert [each["feature_id"] for each in document["entitlements"]] == sorted(features)
    assert all(sorted(each["subscription_ids"]) == sorted(going_on) for each in document["entitlements"])
