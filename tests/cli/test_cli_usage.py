"""The commands that tell how an answer came about, what was recorded, and everything about a user."""

from uuid import uuid4

import pytest

from canuse import v1
from support.command_line import CommandLine, Subscriber
from support.message_clients import Client

# The commands are the same whatever serves: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_can_use_explained_lists_the_steps_in_order(run: CommandLine, world: Subscriber, client: Client) -> None:
    [subscription] = client.list_subscriptions(world.user)
    subscribed = f"Subscription '{subscription.id}' to version 1 of package '{world.package}'"
    told = run("can-use", world.user, world.counted, "--delta", "4", "--explain")
    assert (told.status, told.stderr) == (1, "")
    assert told.stdout.splitlines() == [
        "no: BUDGET_EXCEEDED, 0 of 3 used, 3 remaining, never resets",
        f"  1. User '{world.user}' is enabled.",
        f"  2. Feature '{world.counted}' is consumable, which is counted.",
        f"  3. {subscribed} is ACTIVE and counts; the package lists the feature.",
        f"  4. Package '{world.package}' gives 3 thing in all; this entry holds.",
        f"  5. In the current period, from {world.started_at} on, the user has used 0 of 3 thing.",
        "  6. The answer is no: 0 used and 4 more make 4, which passes the budget of 3.",
    ]
    steps = run("can-use", world.user, world.binary, "--explain", "--json").json()["explanation"]["steps"]
    assert [next(name for name in step if name != "text") for step in steps] == [
        *("user", "feature", "subscription", "package_entry", "decision"),
    ]


def test_events_are_a_table_newest_first(run: CommandLine, world: Subscriber, client: Client) -> None:
    assert run("events", world.user).stdout == f"nothing was recorded for {world.user}\n"
    client.create_usage_event(world.user, world.counted, 2, event_id="first", metadata={"b": "2", "a": "1"})
    client.create_usage_event(world.user, world.counted, -5)
    client.create_usage_event(world.user, world.counted, 4, action=v1.USAGE_ACTION_SET)
    client.create_usage_event(world.user, world.unlimited)
    events = list(client.list_usage_events(world.user))
    shown = run("events", world.user)
    assert (shown.status, shown.stderr) == (0, "")
    times = [event.time.ToJsonString() for event in events]
    counted, unlimited = world.counted, world.unlimited
    assert shown.rows() == [
        [times[0], unlimited, "+1", "UNLIMITED", "1", "unlimited", "unlimited", events[0].id],
        [times[1], counted, "=4", "(+4)", "BUDGET_EXCEEDED", "4", "3", "0", events[1].id],
        [times[2], counted, "-5", "(-2)", "WITHIN_BUDGET", "0", "3", "3", events[2].id],
        [times[3], counted, "+2", "WITHIN_BUDGET", "2", "3", "1", "first", "a=1,", "b=2"],
    ]
    filtered = run("events", world.user, "--feature", counted, "--limit", "2", "--json").json()
    assert [(event["delta"], event["applied_delta"], event["action"]) for event in filtered] == [
        (4, 4, "USAGE_ACTION_SET"),
        (-5, -2, "USAGE_ACTION_ADD"),
    ]
    assert run("events", world.user, "--feature", world.binary).stdout == (
        f"nothing was recorded for {world.user} of {world.binary}\n"
    )


def test_an_unknown_user_is_one_line_on_standard_error_with_status_2(run: CommandLine, world: Subscriber) -> None:
    missing = f"missing-{uuid4().hex}"
    for arguments in (
        ("events", missing),
        ("events", world.user, "--feature", missing),
        ("export-user", missing),
    ):
        failed = run(*arguments)
        assert (failed.status, failed.stdout) == (2, ""), arguments
        [line] = failed.stderr.splitlines()
        assert line.startswith("canuse: "), line
        assert missing in line
        assert line.endswith("_NOT_FOUND)"), line
