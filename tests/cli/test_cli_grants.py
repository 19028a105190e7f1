"""The commands about grants, each run as a process."""

from uuid import uuid4

import pytest

from support.command_line import CommandLine, Subscriber
from support.message_clients import Client

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_grants_are_created_listed_and_revoked(run: CommandLine, subscriber: Subscriber) -> None:
    given = (
        "grants",
        "create",
        subscriber.user,
        "g1",
        subscriber.counted,
        "--amount",
        "2",
        "--note",
        "sorry for the trouble",
    )
    created = run(*given)
    assert (created.status, created.stderr) == (0, "")
    fields = [line.split(maxsplit=1) for line in created.stdout.splitlines()]
    assert ["amount", "2"] in fields
    assert ["note", "sorry for the trouble"] in fields
    assert run(*given).stdout == created.stdout
    times = ("--effective-at", "2125-01-01T00:00:00+02:00", "--expires-at", "2126-01-01T00:00:00Z", "--priority", "5")
    later = run("grants", "create", subscriber.user, "g2", subscriber.binary, "--unlimited", *times, "--json")
    assert "amount" not in later.json()
    assert (later.json()["effective_at"], later.json()["priority"]) == ("2124-12-31T22:00:00Z", 5)
    assert run("can-use", subscriber.user, subscriber.counted, "--delta", "5").status == 0

    rows = {row[0]: row[1:] for row in run("grants", "list", subscriber.user).rows()}
    assert rows["g1"][:3] == [subscriber.counted, "2", "0"]
    assert rows["g2"] == [subscriber.binary, "unlimited", "5", "2124-12-31T22:00:00Z", "2126-01-01T00:00:00Z"]
    assert run("grants", "revoke", subscriber.user, "g1").status == 0
    listed = {each["id"]: each for each in run("grants", "list", subscriber.user, "--json").json()}
    assert "revoked_at" in listed["g1"]
    assert "revoked_at" not in listed["g2"]
    assert len(run("grants", "list", subscriber.user, "--limit", "1", "--json").json()) == 1
    assert run("can-use", subscriber.user, subscriber.counted, "--delta", "5").status == 1


def test_a_grant_that_can_not_be_given_is_an_error(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    given = ("grants", "create", subscriber.user, "g", subscriber.counted)
    for wrong, message in (
        ((), "--amount"),
        (("--amount", "2", "--unlimited"), "--unlimited"),
        (("--amount", "0"), "grant.amount"),
        (("--amount", "2", "--expires-at", "tomorrow"), "tomorrow"),
        (("--amount", "2", "--expires-at", "2125-01-01T00:00:00"), "time zone"),
    ):
        failed = run(*given, *wrong)
        assert (failed.status, failed.stdout) == (2, "")
        assert message in failed.stderr
    assert list(client.list_grants(subscriber.user)) == []
    user = client.create_user(f"user-{uuid4().hex}").id
    assert run("grants", "list", user).stdout == "no grants\n"
