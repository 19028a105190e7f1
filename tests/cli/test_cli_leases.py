"""The commands that reserve amounts and settle leases."""

from datetime import timedelta

import pytest

from support.command_line import CommandLine, Subscriber
from support.message_clients import Client

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_what_is_granted_is_said_with_the_lease_and_nothing_is_status_1(
    run: CommandLine, subscriber: Subscriber
) -> None:
    granted = run("reserve", subscriber.user, subscriber.counted, "2", "--ttl", "3600")
    assert (granted.status, granted.stderr) == (0, "")
    counts, lease = granted.stdout.splitlines()
    assert counts == "granted 2: WITHIN_BUDGET, 0 of 3 used, 2 reserved, 1 remaining, never resets"
    assert lease.startswith("lease lease_")
    part = run("reserve", subscriber.user, subscriber.counted, "5")
    assert part.stdout.startswith("granted 1: WITHIN_BUDGET, 0 of 3 used, 3 reserved, 0 remaining, never resets\n")
    refused = run("reserve", subscriber.user, subscriber.counted, "5", "--min", "2")
    assert (refused.status, refused.stderr) == (1, "")
    assert refused.stdout == "granted 0: BUDGET_EXCEEDED, 0 of 3 used, 3 reserved, 0 remaining, never resets\n"
    [row] = [row for row in run("usage", subscriber.user).rows() if row[0] == subscriber.counted]
    assert row[1:] == ["no", "BUDGET_EXCEEDED", "0", "3", "3", "0", "never"]


def test_a_lease_is_settled_and_a_repeat_says_that_it_was(
    run: CommandLine, subscriber: Subscriber, client: Client
) -> None:
    lease_id = client.reserve(subscriber.user, subscriber.counted, 3).lease_id
    settled = run("settle", lease_id, "2", "--event-id", "job-1")
    assert (settled.status, settled.stderr) == (0, "")
    expected = "WITHIN_BUDGET, 2 of 3 used, 1 remaining, never resets\nevent id job-1\n"
    assert settled.stdout == f"settled: {expected}"
    repeated = run("settle", lease_id, "2", "--event-id", "job-1")
    assert repeated.stdout == f"settled, a repeat that was not counted again: {expected}"
    nothing = client.reserve(subscriber.user, subscriber.unlimited, 3).lease_id
    assert run("settle", nothing, "0").stdout.startswith("settled: UNLIMITED, 0 used, unlimited, resets at ")


def test_a_lease_is_extended_and_settled_in_parts(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    lease_id = client.reserve(subscriber.user, subscriber.counted, 1).lease_id
    more = run("extend-lease", lease_id, "--amount", "2", "--ttl", "3600")
    assert (more.status, more.stderr) == (0, "")
    counts, lease = more.stdout.splitlines()
    assert counts == "extended: WITHIN_BUDGET, 0 of 3 used, 3 reserved, 0 remaining, never resets"
    assert lease.startswith("reserves 3 until ")
    refused = run("extend-lease", lease_id, "--amount", "1")
    assert (refused.status, refused.stderr) == (1, "")
    assert refused.stdout.startswith("not extended: BUDGET_EXCEEDED, 0 of 3 used, 3 reserved")
    assert run("extend-lease", lease_id, "--ttl", "60", "--json").json()["granted"] == 3
    part = run("settle", lease_id, "1", "--part")
    assert part.stdout.startswith("settled: WITHIN_BUDGET, 1 of 3 used, 2 reserved, 0 remaining")
    assert run("settle", lease_id, "1").stdout.startswith("settled: WITHIN_BUDGET, 2 of 3 used, 1 remaining")


def test_leases_are_json_on_demand(run: CommandLine, subscriber: Subscriber) -> None:
    granted = run("reserve", subscriber.user, subscriber.counted, "2", "--event-id", "e", "--json").json()
    assert (granted["granted"], granted["reason"], granted["event_id"]) == (2, "REASON_WITHIN_BUDGET", "e")
    assert granted["consumption"]["reserved"] == 2
    settled = run("settle", granted["lease_id"], "1", "--json").json()
    assert (settled["recorded"], settled["late"], settled["consumption"]["used"]) == (True, False, 1)


def test_open_leases_are_listed_those_that_expire_first_come_first(
    run: CommandLine, subscriber: Subscriber, client: Client
) -> None:
    assert run("leases", subscriber.user).stdout == f"no open leases of {subscriber.user}\n"
    late = client.reserve(subscriber.user, subscriber.unlimited, 7, ttl=timedelta(hours=2)).lease_id
    soon = client.reserve(subscriber.user, subscriber.counted, 2, ttl=timedelta(hours=1)).lease_id
    listed = run("leases", subscriber.user)
    assert (listed.status, listed.stderr) == (0, "")
    assert [row[:3] for row in listed.rows()] == [
        [soon, subscriber.counted, "2"],
        [late, subscriber.unlimited, "7"],
    ]
    assert [row[0] for row in run("leases", subscriber.user, "--limit", "1").rows()] == [soon]
    [of_one] = run("leases", subscriber.user, "--feature", subscriber.unlimited, "--json").json()
    assert (of_one["id"], of_one["feature_id"], of_one["amount"]) == (late, subscriber.unlimited, 7)
    assert of_one["expires_at"].endswith("Z")
    client.settle(soon, 0)
    empty = run("leases", subscriber.user, "--feature", subscriber.counted)
    assert empty.stdout == f"no open leases of {subscriber.user} of {subscriber.counted}\n"
    assert run("leases", "nobody").status == 2


def test_an_error_is_one_line_on_standard_error_with_status_2(run: CommandLine, subscriber: Subscriber) -> None:
    for arguments, reason in (
        (("settle", "lease_unknown", "1"), "LEASE_NOT_FOUND"),
        (("extend-lease", "lease_unknown", "--ttl", "60"), "LEASE_NOT_FOUND"),
        (("reserve", subscriber.user, subscriber.binary, "1"), "FEATURE_NOT_CONSUMABLE"),
        (("reserve", subscriber.user, subscriber.counted, "0"), "INVALID_FIELD"),
    ):
        failed = run(*arguments)
        assert (failed.status, failed.stdout) == (2, "")
        [line] = failed.stderr.splitlines()
        assert line.startswith("canuse: ")
        assert line.endswith(f"({reason})")
    for ttl in ("0.5", "700000", "inf", "nan"):
        failed = run("reserve", subscriber.user, subscriber.counted, "1", "--ttl", ttl)
        assert (failed.status, failed.stdout) == (2, ""), ttl
        assert "Traceback" not in failed.stderr
