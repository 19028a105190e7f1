"""The commands about API keys, each run as a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.authenticated_server import SCOPES, AuthenticatedServer, authenticated_server
from support.command_line import CommandLine
from support.load import running
from support.message_clients import Client
from support.processes import Canuse


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that demands keys."""
    with authenticated_server(Canuse(tmp_path_factory.mktemp("guarded"))) as server:
        yield server


@pytest.fixture
def run(server: AuthenticatedServer) -> CommandLine:
    """Return a function that runs commands against the server, without a key unless one is given."""
    return CommandLine(server.canuse.address)


def test_keys_are_created_listed_and_revoked(run: CommandLine, server: AuthenticatedServer) -> None:
    key = {"CANUSE_API_KEY": server.admin}
    times = ("--expires-at", "2125-01-01T00:00:00+02:00", "--environment", "test")
    created = run("keys", "create", "billing", "--scope", "usage:write", "--scope", "entitlements:read", *times, **key)
    assert (created.status, created.stderr) == (0, "")
    fields = [line.split(maxsplit=1) for line in created.stdout.splitlines()]
    assert ["name", "billing"] in fields
    assert ["environment", "test"] in fields
    assert ["scopes", "entitlements:read usage:write"] in fields
    [secret] = (words[0] for words in fields if words and words[0].startswith("sk_"))
    assert secret.startswith("sk_test_")

    row = next(row for row in run("keys", "list", **key).rows() if row[1] == "billing")
    assert row[2:5] == ["test", "entitlements:read", "usage:write"]
    assert row[6] == "2124-12-31T22:00:00Z"
    listed = run("keys", "list", "--json", **key)
    assert [each["scopes"] for each in listed.json()] == [sorted(SCOPES), ["entitlements:read", "usage:write"]]
    assert secret not in listed.stdout
    assert len(run("keys", "list", "--limit", "1", "--json", **key).json()) == 1

    with server.client(secret) as client, pytest.raises(Exception, match="nothing"):
        client.can_use("nobody", "nothing")
    assert run("keys", "revoke", row[0], **key).stdout == f"revoked {row[0]} (billing)\n"
    assert run("can-use", "nobody", "nothing", CANUSE_API_KEY=secret).status == 2
    assert "API_KEY_NOT_FOUND" in run("keys", "revoke", row[0], **key).stderr


def test_a_key_for_users_may_read_them_and_no_packages(run: CommandLine, server: AuthenticatedServer) -> None:
    created = run("keys", "create", "sign-up", "--scope", "users:write", "--json", CANUSE_API_KEY=server.admin).json()
    key = {"CANUSE_API_KEY": created["secret"]}
    assert run("users", "list", **key).status == 0
    assert "catalog:read" in run("packages", "list", **key).stderr
    run("keys", "revoke", created["api_key"]["id"], CANUSE_API_KEY=server.admin)


def test_the_first_key_is_made_with_one_command(tmp_path: Path) -> None:
    with running(Canuse(tmp_path)) as canuse:
        run = CommandLine(canuse.address)
        created = run("keys", "create", "me", "--all-scopes", "--json").json()
        assert created["api_key"]["scopes"] == sorted(SCOPES)
        assert run("users", "list").status == 2
        assert run("users", "list", "--api-key", created["secret"]).status == 0
        with Client(canuse.address, api_key=created["secret"]) as client:
            assert [key.id for key in client.list_api_keys()] == [created["api_key"]["id"]]


@pytest.mark.extended
def test_every_command_that_asks_a_server_takes_a_key(run: CommandLine, server: AuthenticatedServer) -> None:
    """And none of them prints it."""
    user, feature = "u", "f"
    for command in (
        ("can-use", user, feature),
        ("record", user, feature),
        ("reserve", user, feature, "1"),
        ("settle", "lease", "1"),
        ("usage", user),
        ("usage", user, feature),
        ("events", user),
        ("export-user", user),
        ("migrate", "package"),
        ("users", "list"),
        ("users", "ensure", user),
        ("users", "change-package", user, "package"),
        ("features", "list"),
        ("packages", "list"),
        ("grants", "list", user),
        ("keys", "list"),
    ):
        without, with_one = run(*command), run(*command, "--api-key", server.admin)
        assert "API_KEY_MISSING" in without.stderr, command
        assert "API_KEY" not in with_one.stderr, command
        assert server.admin not in with_one.stdout + with_one.stderr


def test_a_key_that_can_not_be_made_is_an_error(run: CommandLine, server: AuthenticatedServer) -> None:
    key = {"CANUSE_API_KEY": server.admin}
    for wrong, message in (
        ((), "--scope"),
        (("--scope", "usage:write", "--all-scopes"), "--all-scopes"),
        (("--scope", "usage:read"), "api_key.scopes[0]"),
        (("--all-scopes", "--environment", "staging"), "staging"),
        (("--all-scopes", "--expires-at", "tomorrow"), "tomorrow"),
        (("--all-scopes", "--expires-at", "2125-01-01T00:00:00"), "time zone"),
    ):
        failed = run("keys", "create", "me", *wrong, **key)
        assert (failed.status, failed.stdout) == (2, "")
        assert message in failed.stderr
