"""The commands about user tokens and publishable keys."""

import re
from collections.abc import Iterator

import pytest

from support.authenticated_server import PUBLISHABLE_KEYS, AuthenticatedServer, authenticated_server
from support.command_line import CommandLine
from support.processes import Canuse
from support.resources import subscriber


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that allows publishable keys."""
    with authenticated_server(Canuse(tmp_path_factory.mktemp("tokens"), env=PUBLISHABLE_KEYS)) as server:
        yield server


def test_tokens_are_created_and_revoked(server: AuthenticatedServer) -> None:
    run, admin = CommandLine(server.canuse.address), {"CANUSE_API_KEY": server.admin}
    with server.client() as client:
        user, feature = subscriber(client, 5)
    created = run("tokens", "create", user, "--ttl", "60", **admin)
    assert (created.status, created.stderr) == (0, "")
    token, _, said = created.stdout.splitlines()
    assert re.fullmatch(rf"This token reads what {user} may use, until [\d-]+T[\d:.]+Z\.", said)
    generated = run("tokens", "create", user, "--json", **admin).json()
    assert generated["expires_at"].endswith("Z")
    for secret in (token, generated["token"]):
        assert run("can-use", user, feature, CANUSE_API_KEY=secret).status == 0
        assert "USER_MISMATCH" in run("can-use", "nobody", feature, CANUSE_API_KEY=secret).stderr
    revoked = run("tokens", "revoke", user, **admin)
    assert (revoked.status, revoked.stdout) == (0, f"revoked the tokens of {user}\n")
    assert "USER_TOKEN_INVALID" in run("can-use", user, feature, CANUSE_API_KEY=token).stderr
    assert "USER_NOT_FOUND" in run("tokens", "create", "nobody", **admin).stderr
    assert run("tokens", "create", user, "--ttl", "59", **admin).status == 2


def test_a_publishable_key_is_created_with_one_option_and_shown_as_such(server: AuthenticatedServer) -> None:
    run, admin = CommandLine(server.canuse.address), {"CANUSE_API_KEY": server.admin}
    created = run("keys", "create", "page", "--publishable", "--environment", "test", **admin)
    assert (created.status, created.stderr) == (0, "")
    assert re.search(r"^pk_test_[0-9a-f]{64}$", created.stdout, re.MULTILINE)
    assert "whoever has it can read what any user may use" in created.stdout
    assert [(row[1], row[-1]) for row in run("keys", "list", **admin).rows()] == [
        ("admin", "secret"),
        ("page", "publishable"),
    ]
    both = run("keys", "create", "page", "--publishable", "--scope", "entitlements:read", **admin)
    assert (both.status, "--publishable" in both.stderr) == (2, True)
