"""The commands that search users and subscriptions."""

import pytest

from support.command_line import CommandLine, Subscriber
from support.message_clients import Client
from support.resources import unique

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_users_are_found_by_their_fields(run: CommandLine, client: Client) -> None:
    email, billing_id, user_id = unique("mail"), unique("customer"), unique("user")
    client.create_user(user_id, email=email, billing_id=billing_id)
    for arguments in (("--email", email), ("--billing-id", billing_id), ("--id-prefix", user_id[:-1])):
        [found] = run("users", "list", *arguments, "--json").json()
        assert found["id"] == user_id
    assert run("users", "list", "--email", f"{email}x").stdout == "no users\n"


def test_subscriptions_of_all_users_are_a_table(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    [subscription] = client.list_subscriptions(subscriber.user)
    shown = run("subscriptions", "--package", subscriber.package, "--status", "active")
    assert (shown.status, shown.stderr) == (0, "")
    assert shown.rows() == [
        [subscriber.user, subscription.id, subscriber.package, "1", "ACTIVE", subscriber.started_at]
    ]
    assert run("subscriptions", "--package", subscriber.package, "--status", "UNPAID").stdout == "no subscriptions\n"
    assert len(run("subscriptions", "--user", subscriber.user, "--json").json()) == 1
    failed = run("subscriptions", "--status", "x")
    assert (failed.status, failed.stdout) == (2, "")
    assert "--status" in failed.stderr
