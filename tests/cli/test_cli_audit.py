"""The command that lists the audit log."""

import pytest

from support.command_line import CommandLine, Subscriber
from support.message_clients import Client

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_the_audit_log_is_a_table_or_json(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    subscription = next(client.list_subscriptions(subscriber.user)).id
    client.update_user(subscriber.user, name="Countess", billing_id="b")
    shown = run("audit", "--user", subscriber.user)
    assert (shown.status, shown.stderr) == (0, "")
    updated, subscribed, created = shown.rows()
    assert updated[1:] == ["LIVE", "UpdateUser", "anonymous", subscriber.user, "name,", "billing_id"]
    of_subscription = ["subscription", f"{subscription},", "package", subscriber.package]
    assert subscribed[1:] == ["LIVE", "Subscribe", "anonymous", subscriber.user, *of_subscription]
    assert created[2] == "CreateUser"
    [entry] = run("audit", "--user", subscriber.user, "--method", "Subscribe", "--json").json()
    assert (entry["subscription_ids"], entry["environment"]) == ([subscription], "ENVIRONMENT_LIVE")
    assert entry["time"] == subscribed[0]


def test_filters_and_a_limit_select_entries(run: CommandLine, subscriber: Subscriber) -> None:
    of_user = ("audit", "--user", subscriber.user)
    assert [row[2] for row in run(*of_user, "--limit", "1").rows()] == ["Subscribe"]
    [created] = run(*of_user, "--method", "CreateUser").rows()
    assert [row[2] for row in run(*of_user, "--start", created[0]).rows()] == ["Subscribe", "CreateUser"]
    for nothing in (("--end", created[0]), ("--caller", "key_0")):
        assert run(*of_user, *nothing).stdout == "nothing was changed\n"


def test_an_invalid_filter_is_one_line_with_status_2(run: CommandLine) -> None:
    for arguments, named in ((("--start", "soon"), "--start"), (("--method", "CanUse"), "like UpdateUser")):
        failed = run("audit", *arguments)
        assert (failed.status, failed.stdout) == (2, "")
        [line] = failed.stderr.splitlines()
        assert named in line
