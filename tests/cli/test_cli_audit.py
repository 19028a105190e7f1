"""The command that lists the audit log."""

import json
import os
import signal
import subprocess
import sys

import pytest

from support.command_line import CommandLine, Subscriber
from support.load import MAX_WAIT_SECONDS
from support.message_clients import Client
from support.processes import Canuse

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = [
    pytest.mark.extended,
    pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session"),
]


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


# A background job, as CI may be, inherits that SIGINT is ignored.
HEEDING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


def test_changes_are_followed_until_ctrl_c(server: Canuse, subscriber: Subscriber, client: Client) -> None:
    first = next(client.list_audit_entries(user_id=subscriber.user, method="CreateUser"))
    options = ("--follow", "--json", "--start", first.time.ToJsonString(), "--user", subscriber.user)
    with subprocess.Popen(
        (sys.executable, "-c", HEEDING, sys.executable, "-m", "canuse_server", "audit", *options),
        env=os.environ | {"CANUSE_SERVER": server.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        shown = [json.loads(next(process.stdout))["method"] for _ in range(2)]
        for name in ("Ada", "Countess"):
            client.update_user(subscriber.user, name=name)
            shown.append(json.loads(next(process.stdout))["fields"])
        process.send_signal(signal.SIGINT)
        assert process.wait(MAX_WAIT_SECONDS) == 130
        assert process.stdout.read() == ""
    assert shown == ["canuse.v1.UserService/CreateUser", "canuse.v1.SubscriptionService/Subscribe", ["name"], ["name"]]


def test_following_has_no_end_and_needs_a_server(run: CommandLine) -> None:
    for arguments, named in ((("--end", "2026-07-01T00:00:00Z"), "--follow"), (("--limit", "1"), "--follow")):
        failed = run("audit", "--follow", *arguments)
        assert (failed.status, failed.stdout) == (2, "")
        assert named in failed.stderr
    failed = run("audit", "--follow", "--server", "127.0.0.1:1")
    assert (failed.status, failed.stdout) == (2, "")
    assert "no answer from 127.0.0.1:1" in failed.stderr
