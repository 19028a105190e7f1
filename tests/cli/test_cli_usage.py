"""The commands that explain an answer, list events, and show everything about a user."""

from uuid import uuid4

import pytest

from canuse import v1
from support.command_line import CommandLine, Subscriber
from support.message_clients import Client

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_can_use_explained_lists_the_steps_in_order(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    [subscription] = client.list_subscriptions(subscriber.user)
    subscribed = f"Subscription '{subscription.id}' to version 1 of package '{subscriber.package}'"
    explained = run("can-use", subscriber.user, subscriber.counted, "--delta", "4", "--explain")
    assert (explained.status, explained.stderr) == (1, "")
    assert explained.stdout.splitlines() == [
        "no: BUDGET_EXCEEDED, 0 of 3 used, 3 remaining, never resets",
        f"  1. User '{subscriber.user}' is enabled.",
        f"  2. Feature '{subscriber.counted}' is consumable: its use is counted.",
        f"  3. {subscribed} is ACTIVE and counts; the package lists the feature.",
        f"  4. Package '{subscriber.package}' gives 3 thing in total; this entry applies.",
        f"  5. In the current period, from {subscriber.started_at} on, the user has used 0 of 3 thing.",
        "  6. The answer is no: 0 used and 4 more make 4, above the budget of 3.",
    ]
    steps = run("can-use", subscriber.user, subscriber.binary, "--explain", "--json").json()["explanation"]["steps"]
    assert [next(name for name in step if name != "text") for step in steps] == [
        *("user", "feature", "subscription", "package_entry", "decision"),
    ]


def test_events_are_a_table_newest_first(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    assert run("events", subscriber.user).stdout == f"nothing was recorded for {subscriber.user}\n"
    client.create_usage_event(subscriber.user, subscriber.counted, 2, event_id="first", metadata={"b": "2", "a": "1"})
    client.create_usage_event(subscriber.user, subscriber.counted, -5)
    client.create_usage_event(subscriber.user, subscriber.counted, 4, action=v1.USAGE_ACTION_SET)
    client.create_usage_event(subscriber.user, subscriber.unlimited)
    events = list(client.list_usage_events(subscriber.user))
    shown = run("events", subscriber.user)
    assert (shown.status, shown.stderr) == (0, "")
    times = [event.time.ToJsonString() for event in events]
    counted, unlimited = subscriber.counted, subscriber.unlimited
    assert shown.rows() == [
        [times[0], unlimited, "+1", "UNLIMITED", "1", "unlimited", "unlimited", events[0].id],
        [times[1], counted, "=4", "(+4)", "BUDGET_EXCEEDED", "4", "3", "0", events[1].id],
        [times[2], counted, "-5", "(-2)", "WITHIN_BUDGET", "0", "3", "3", events[2].id],
        [times[3], counted, "+2", "WITHIN_BUDGET", "2", "3", "1", "first", "a=1,", "b=2"],
    ]
    filtered = run("events", subscriber.user, "--feature", counted, "--limit", "2", "--json").json()
    assert [(event["delta"], event["applied_delta"], event["action"]) for event in filtered] == [
        (4, 4, "USAGE_ACTION_SET"),
        (-5, -2, "USAGE_ACTION_ADD"),
    ]
    assert run("events", subscriber.user, "--feature", subscriber.binary).stdout == (
        f"nothing was recorded for {subscriber.user} of {subscriber.binary}\n"
    )


def test_an_unknown_user_is_one_line_on_standard_error_with_status_2(run: CommandLine, subscriber: Subscriber) -> None:
    missing = f"missing-{uuid4().hex}"
    for arguments in (
        ("events", missing),
        ("events", subscriber.user, "--feature", missing),
        ("export-user", missing),
    ):
        failed = run(*arguments)
        assert (failed.status, failed.stdout) == (2, ""), arguments
        [line] = failed.stderr.splitlines()
        assert line.startswith("canuse: "), line
        assert missing in line
        assert line.endswith("_NOT_FOUND)"), line
