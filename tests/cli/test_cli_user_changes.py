"""The commands that change users."""

import pytest

from canuse import v1
from support.command_line import CommandLine, Subscriber
from support.message_clients import Client
from support.resources import package, unique

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_a_change_of_the_package_is_told_with_what_it_replaces(
    run: CommandLine, subscriber: Subscriber, client: Client
) -> None:
    entry = v1.PackageFeature(feature_id=subscriber.counted, limit=9, reset_period=v1.RESET_PERIOD_MONTH)
    larger = package(client, [entry])
    change = ("users", "change-package", subscriber.user, larger)
    planned = run(*change, "--at-period-end", "--event-id", "change-1")
    assert (planned.status, planned.stderr) == (0, "")
    old, new = client.list_subscriptions(subscriber.user)
    start = new.started_at.ToJsonString()
    assert planned.stdout.splitlines() == [
        f"changed: {larger} from {start}",
        f"replaced: {subscriber.package} until {start}",
        f"subscription {new.id}",
    ]
    repeated = run(*change, "--at-period-end", "--event-id", "change-1")
    assert repeated.stdout.splitlines()[0] == f"changed: {larger} from {start}, a repeat that changed nothing"
    changed = run(*change, "--json").json()
    assert (changed["changed"], changed["replayed"]) == (True, False)
    assert [each["id"] for each in changed["replaced"]] == [old.id, new.id]
    again = run(*change)
    assert (again.status, again.stdout.splitlines()[0].split()[:2]) == (0, ["unchanged:", larger])
    failed = run("users", "change-package", subscriber.user, "missing")
    assert (failed.status, failed.stdout) == (2, "")
    assert "PACKAGE_NOT_FOUND" in failed.stderr


def test_a_user_is_ensured_and_told_what_was_done(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    user = unique("user")
    ensure = ("users", "ensure", user, "--package", subscriber.package)
    created = run(*ensure, "--name", "Ada", "--email", "ada@example.org", "--billing-id", "c-1", "--disable")
    assert (created.status, created.stderr) == (0, "")
    [subscription] = client.list_subscriptions(user)
    subscribed = f"{subscriber.package}\nsubscription {subscription.id}\n"
    assert created.stdout == f"created: {user}\nsubscribed to {subscribed}"
    stored = client.get_user(user)
    assert (stored.name, stored.email, stored.billing_id, stored.disabled) == ("Ada", "ada@example.org", "c-1", True)
    assert run(*ensure).stdout == f"unchanged: {user}\nalready has {subscribed}"
    assert run("users", "ensure", user, "--enable", "--email", "").stdout == f"updated: {user}\n"
    stored = client.get_user(user)
    assert (stored.name, stored.email, stored.disabled) == ("Ada", "", False)
    again = run(*ensure, "--json").json()
    assert [again["created"], again["updated"], again["subscribed"]] == [False, False, False]
    failed = run("users", "ensure", unique("user"), "--package", "missing")
    assert (failed.status, failed.stdout) == (2, "")
    assert "PACKAGE_NOT_FOUND" in failed.stderr
