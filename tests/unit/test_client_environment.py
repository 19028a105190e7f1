"""Settings of clients from the environment, by the names that the command has."""

from dataclasses import fields
from typing import Any, get_args

import pytest

from canuse import AsyncClient, BadArgument, Client, _environment
from canuse_server.cli.connection import Connection
from support.scripted_server import scripted_server


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all of them."""
    for name in names():
        monkeypatch.delenv(name, raising=False)


def names() -> set[str]:
    """Return the variables of the clients."""
    texts = {value for value in vars(_environment).values() if isinstance(value, str)}
    return {text for text in texts if text.startswith("CANUSE_")}


def test_the_command_has_the_same_variables() -> None:
    assert names() == {get_args(option.type)[1].envvar for option in fields(Connection)}


async def test_what_is_not_given_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server() as server:
        monkeypatch.setenv("CANUSE_SERVER", server.address)
        monkeypatch.setenv("CANUSE_API_KEY", "sk_test_1")
        with Client() as client:
            client.get_user("u")
        async with AsyncClient() as asynchronous:
            await asynchronous.get_user("u")
        with Client("127.0.0.1:1", retry=False) as elsewhere, pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
            elsewhere.get_user("u")
        with Client(api_key="") as without:
            without.get_user("u")
        with Client(api_key="sk_test_2") as other:
            other.get_user("u")
        assert server.keys == ["Bearer sk_test_1", "Bearer sk_test_1", "", "Bearer sk_test_2"]


@pytest.mark.parametrize("name", sorted(names()))
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert repr(Client()) == "<canuse.Client 127.0.0.1:50051>"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CANUSE_SERVER": "http://canuse:50051"}, "CANUSE_SERVER: 'http://canuse:50051' is a URL; expected host:port"),
        ({"CANUSE_SERVER": "canuse"}, "CANUSE_SERVER: 'canuse' has no port"),
        ({"CANUSE_API_KEY": "two words"}, "CANUSE_API_KEY: an api_key is a str of printable ASCII"),
        ({"CANUSE_CLIENT_TLS": "maybe"}, "CANUSE_CLIENT_TLS: 'maybe' is not accepted; expected true or false"),
        ({"CANUSE_CLIENT_TLS_KEY": "k"}, "CANUSE_CLIENT_TLS_CERTIFICATE: certificate and key must be set together"),
        ({"CANUSE_CLIENT_TLS_CERTIFICATE": "c"}, "CANUSE_CLIENT_TLS_KEY: certificate and key must be set together"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadArgument, match=f"^{message}"):
        Client()


@pytest.mark.parametrize("settings", [{"tls": False}, {"tls": True}])
def test_tls_that_is_given_is_not_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setenv("CANUSE_CLIENT_TLS_CA", "/nowhere/ca.pem")
    with pytest.raises(OSError, match=r"/nowhere/ca\.pem"):
        Client()
    Client(**settings).close()
