"""The command that lists what all users have used by period."""

import pytest

from support.command_line import CommandLine, Subscriber
from support.message_clients import Client

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_totals_are_a_table_or_json(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    arguments = ("totals", "--feature", subscriber.counted)
    assert run(*arguments).stdout == "nothing was used\n"
    client.create_usage_event(subscriber.user, subscriber.counted, 5)
    shown = run(*arguments)
    assert (shown.status, shown.stderr) == (0, "")
    [row] = shown.rows()
    start = subscriber.started_at
    assert row == [subscriber.user, subscriber.counted, start, "never", "5", "3", "0", "2", "no"]
    [total] = run(*arguments, "--json", "--limit", "1").json()
    assert (total["used"], total["budget"], total["overage"], total["complete"]) == (5, 3, 2, False)
    assert run(*arguments, "--start", start).rows() == [row]
    assert run(*arguments, "--end", start).stdout == "nothing was used\n"


def test_an_invalid_time_or_feature_is_one_line_with_status_2(run: CommandLine, subscriber: Subscriber) -> None:
    for arguments, named in (
        (("--start", "2026-06-01"), "--start"),
        (("--end", "soon"), "--end"),
        (("--feature", f"{subscriber.counted}-missing"), "_NOT_FOUND"),
        (("--feature", subscriber.binary), "FEATURE_NOT_CONSUMABLE"),
    ):
        failed = run("totals", *arguments)
        assert (failed.status, failed.stdout) == (2, "")
        [line] = failed.stderr.splitlines()
        assert named in line
