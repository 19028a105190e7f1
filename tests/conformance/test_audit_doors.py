"""The audit log and the log have one entry each of a change, by whatever protocol or command it was made."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import pytest

from canuse import NewApiKey, v1
from support.audited_changes import with_new_entries
from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.command_line import CommandLine
from support.load import until
from support.processes import Canuse
from support.resources import unique

pytestmark = pytest.mark.extended

CREATE: Final = "mutation m($input: CreateUserInput!) { createUser(input: $input) { id } }"
REQUEST_ID: Final = "req-1:a"
Door = Callable[[AuthenticatedServer, str, str], object]
"""Makes a change with a key and a new id."""


def over_grpc(server: AuthenticatedServer, secret: str, new_id: str) -> None:
    with grpc.insecure_channel(server.canuse.address) as channel:
        metadata = (("authorization", f"Bearer {secret}"), ("x-request-id", REQUEST_ID))
        v1.UserServiceStub(channel).CreateUser(v1.CreateUserRequest(user=v1.User(id=new_id)), metadata=metadata)


def post(server: AuthenticatedServer, secret: str, path: str, body: Any) -> Any:
    """Post JSON with a key and a request id; return the answer."""
    headers = {"authorization": f"Bearer {secret}", "x-request-id": REQUEST_ID}
    answer = httpx.post(server.canuse.http_url + path, json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def over_connect(server: AuthenticatedServer, secret: str, new_id: str) -> None:
    post(server, secret, "/canuse.v1.UserService/CreateUser", {"user": {"id": new_id}})


def over_graphql(server: AuthenticatedServer, secret: str, new_id: str) -> None:
    answer = post(server, secret, "/graphql", {"query": CREATE, "variables": {"input": {"id": new_id}}})
    assert answer == {"data": {"createUser": {"id": new_id}}}


def over_the_routes_of_kanas_command(server: AuthenticatedServer, secret: str, new_id: str) -> None:
    config = httpx.get(f"{server.canuse.http_url}/cli/pull", headers={"authorization": f"Bearer {secret}"}).json()
    if new_id not in [feature["id"] for feature in config["features"]]:
        config["features"].append({"id": new_id, "name": "F", "type": "BINARY"})
    post(server, secret, "/cli/publish", config)


def by_command(server: AuthenticatedServer, secret: str, new_id: str) -> None:
    done = CommandLine(server.canuse.address)("users", "ensure", new_id, CANUSE_API_KEY=secret)
    assert done.status == 0, done.stderr


OF_USER: Final[dict[str, Door]] = {
    "gRPC": over_grpc,
    "Connect": over_connect,
    "GraphQL": over_graphql,
    "command": by_command,
}


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server with keys and all protocols."""
    folder: Path = tmp_path_factory.mktemp("doors")
    options = ("--transport", request.param)
    with authenticated_server(Canuse(folder, *options, env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"})) as server:
        yield server


def lines(server: AuthenticatedServer, key: NewApiKey) -> list[dict[str, Any]]:
    """Return the lines of the log about changes by callers with a key, which must be able to make one more."""
    with server.client(key.secret) as client:
        client.create_user(unique("last"), metadata={"a": "b"})

    def found() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in server.canuse.log.splitlines() if '"event": "change"' in line]
        return [line for line in lines if line["key_id"] == key.api_key.id]

    # A thread of its own writes them, in order.
    until(lambda: any(line["fields"] == ["metadata"] for line in found()))
    return found()[:-1]


@pytest.mark.parametrize("door", OF_USER)
def test_a_user_is_created_once_and_so_the_logs_say(server: AuthenticatedServer, door: str) -> None:
    key, new_id = server.key(), unique("user")
    with server.client() as client:
        _, entries = with_new_entries(client, lambda: OF_USER[door](server, key.secret, new_id))
    [entry] = entries
    method, request_id = ("EnsureUser", "") if door == "command" else ("CreateUser", REQUEST_ID)
    assert (entry.method, entry.user_id, entry.user_created) == (f"canuse.v1.UserService/{method}", new_id, True)
    assert (entry.caller_key_id, entry.request_id) == (key.api_key.id, request_id)
    [line] = lines(server, key)
    assert (line["method"], line["environment"], line["request_id"]) == (entry.method, "live", request_id or None)
    assert new_id not in server.canuse.log


def test_a_file_of_kana_is_one_change_and_publishing_it_again_none(server: AuthenticatedServer) -> None:
    key, new_id = server.key(), unique("feature")
    with server.client() as client:
        for expected in (1, 0):
            action = lambda: over_the_routes_of_kanas_command(server, key.secret, new_id)  # noqa: E731
            _, entries = with_new_entries(client, action)
            assert len(entries) == expected
            assert [list(entry.feature_ids) for entry in entries] == [[new_id]] * expected
    [line] = lines(server, key)
    assert line["method"] == "canuse.v1.CatalogService/ApplyCatalog"


@pytest.mark.parametrize("sent", ["ada@example.com", "a b", "x" * 129, ""])
def test_a_request_id_that_is_not_safe_to_log_is_left_out(server: AuthenticatedServer, sent: str) -> None:
    user_id = unique("user")
    with grpc.insecure_channel(server.canuse.address) as channel, server.client() as client:
        metadata = (("authorization", f"Bearer {server.admin}"), ("x-request-id", sent))
        v1.UserServiceStub(channel).CreateUser(v1.CreateUserRequest(user=v1.User(id=user_id)), metadata=metadata)
        [entry] = client.list_audit_entries(user_id=user_id)
    assert entry.request_id == ""
