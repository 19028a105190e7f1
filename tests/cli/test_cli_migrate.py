"""`canuse migrate`, run as a process."""

import json
from collections.abc import Sequence
from typing import Final

import pytest

from canuse import v1
from support import fork_server
from support.message_clients import Client
from support.migrations import create_subscriber, of, publish, versions
from support.processes import Canuse
from support.resources import consumable, package, subscriber, unique

# The command does not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")

NAMED: Final = 20


def run(server: Canuse, *arguments: str) -> tuple[int, str, list[str]]:
    """Run `canuse migrate`; return its status, its standard output, and the lines of its standard error."""
    done = fork_server.run("migrate", *arguments, "--server", server.address)
    return done.returncode, done.stdout, done.stderr.splitlines()


def people_with_less(client: Client, count: int) -> tuple[str, Sequence[str]]:
    """Subscribe users to a package whose published version gives less by now; return the ids of both."""
    feature_id = consumable(client)
    package_id = package(client, [of(feature_id, 5)])
    people = [create_subscriber(client, package_id) for _ in range(count)]
    publish(client, package_id, of(feature_id, 4))
    return package_id, people


def test_a_dry_run_says_what_would_change_and_the_real_one_what_did(server: Canuse, client: Client) -> None:
    package_id, people = people_with_less(client, 2)
    status, output, _ = run(server, package_id, "--dry-run")
    counts, names = output.splitlines()
    assert status == 0
    assert counts.startswith("users processed: ")
    assert counts.endswith("subscriptions that would move: 2, users who would get less than before: 2")
    assert names.startswith("less than before: ")
    assert sorted(names.removeprefix("less than before: ").split(", ")) == sorted(people)
    assert versions(client, people[0]) == [1]

    status, output, _ = run(server, package_id)
    assert status == 0
    assert "subscriptions that moved: 2, users who get less than before: 2" in output
    assert versions(client, people[0]) == [2]
    _, output, _ = run(server, package_id)
    assert "subscriptions that moved: 0" in output
    assert len(output.splitlines()) == 1


def test_many_who_get_less_are_counted_and_only_some_are_named(server: Canuse, client: Client) -> None:
    package_id, people = people_with_less(client, NAMED + 3)
    _, output, _ = run(server, package_id)
    names = output.splitlines()[-1].removeprefix("less than before: ").removesuffix(" and 3 more, which --json lists")
    assert len(set(names.split(", ")) & set(people)) == NAMED


def test_json_is_a_line_a_message(server: Canuse, client: Client) -> None:
    package_id, people = people_with_less(client, 2)
    status, output, complaints = run(server, package_id, "--json")
    messages = [json.loads(line) for line in output.splitlines()]
    assert (status, complaints) == (0, [])
    assert [message["done"] for message in messages] == [False] * (len(messages) - 1) + [True]
    assert (messages[-1]["migrated"], messages[-1]["shrinking_users"]) == (2, 2)
    assert sorted(user_id for message in messages for user_id in message["shrinking_user_ids"]) == sorted(people)
    assert messages[-1]["resume_token"]


def test_the_versions_and_a_token_to_go_on_with_can_be_given(server: Canuse, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    for limit in (6, 7):
        publish(client, subscription.package_id, of(feature_id, limit))
    arguments = (subscription.package_id, "--from", "1", "--to", "2", "--json")
    _, output, _ = run(server, *arguments)
    first = json.loads(output.splitlines()[-1])
    assert (first["migrated"], versions(client, user_id)) == (1, [2])
    _, output, _ = run(server, *arguments, "--resume", first["resume_token"])
    again = json.loads(output.splitlines()[-1])
    assert (again["migrated"], again["users"] >= first["users"]) == (1, True)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_error_is_one_line_with_status_2(server: Canuse, client: Client, options: list[str]) -> None:
    missing = unique("missing")
    status, output, complaints = run(server, missing, *options)
    assert (status, output, len(complaints)) == (2, "", 1)
    assert complaints[0].startswith("canuse: ")
    assert missing in complaints[0]
    package_id = package(client, [v1.PackageFeature(feature_id=consumable(client))])
    status, _, complaints = run(server, package_id, "--to", "9", *options)
    assert (status, len(complaints)) == (2, 1)
    assert complaints[0].endswith("(PACKAGE_NOT_FOUND)")
