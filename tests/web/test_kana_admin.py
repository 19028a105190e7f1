"""`KanaAdmin` of the package for TypeScript, which has the shape of Kana's admin SDK."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from canuse import v1
from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.documented_code import documented_program
from support.load import used
from support.message_clients import Client
from support.npm import Npm
from support.processes import Canuse, free_port
from support.resources import consumable, package, unique
from support.tools import tool

MESSAGES = "messages"
LIMIT = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that requires keys, with a feature and a package as in Kana's guides."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
    with authenticated_server(Canuse(tmp_path_factory.mktemp("kana"), env=env)) as server:
        with server.client() as client:
            client.create_feature(MESSAGES, type=v1.FEATURE_TYPE_CONSUMABLE)
        yield server


def subscriber(client: Client) -> str:
    """Create a user with a limit of messages; return the id."""
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=MESSAGES, limit=LIMIT)])])
    return user_id


def environment(server: AuthenticatedServer, key: str | None = None) -> dict[str, str]:
    """Return what a program written for Kana has in its environment."""
    return {"KANA_API_KEY": key or server.admin, "KANA_ENDPOINT": f"{server.canuse.http_url}/graphql"}


class Kana:
    """Calls the client in Node.js."""

    def __init__(self, npm: Npm, script: Path, env: dict[str, str]) -> None:
        self._npm = npm
        self._script = script
        self._env = env

    def __call__(self, *calls: list[Any]) -> tuple[list[Any], list[str]]:
        """Make calls; return what each resolves to, and the names of the errors that were told."""
        made = json.loads(self._npm.node(self._script, json.dumps(calls), env=self._env).stdout)
        return made["outcomes"], made["errors"]

    def data(self, *calls: list[Any]) -> list[Any]:
        """Make calls that have to succeed; return the data of each."""
        outcomes, _ = self(*calls)
        assert [outcome for outcome in outcomes if "error" in outcome] == []
        return [outcome["data"] for outcome in outcomes]


@pytest.fixture
def kana(npm: Npm, programs: Path, server: AuthenticatedServer) -> Kana:
    """The client, with a key."""
    return Kana(npm, programs / "kana.js", environment(server))


def test_usage_is_checked_recorded_and_shown_as_in_kanas_guides(kana: Kana, server: AuthenticatedServer) -> None:
    with server.client() as client:
        user_id = subscriber(client)
    ids = {"userId": user_id, "featureId": MESSAGES}
    before, recorded, as_text, after, shown, total, by_id = kana.data(
        ["features.canUse", ids],
        ["features.recordUsage", {**ids, "delta": 1}],
        ["features.recordUsage", {**ids, "delta": "1"}],
        ["features.canUse", ids],
        ["features.showUsage", ids],
        ["features.recordUsage", {**ids, "delta": 1, "action": "SET"}],
        ["features.canUse", {"userId": user_id, "id": MESSAGES, "delta": 1}],
    )
    assert (before["access"], before["consumption"]) == (True, {"used": 0, "budget": 2, "overageEnabled": False})
    assert recorded["recorded"] is as_text["recorded"] is total["recorded"] is True
    assert (after["access"], shown["current"]["consumption"]["used"]) == (False, 2)
    assert (by_id["access"], by_id["consumption"]["used"]) == (True, 1)


def test_features_packages_users_and_subscriptions_are_created_changed_and_listed(
    kana: Kana, server: AuthenticatedServer
) -> None:
    feature, base, user, other = (unique(kind) for kind in ("feature", "package", "user", "user"))
    entry = {"id": feature, "entitlement": {"limit": 20, "resetPeriod": "MONTH"}}
    created, changed, draft, retrieved, drafts = kana.data(
        ["features.create", {"id": feature, "name": "F", "type": "CONSUMABLE", "unitLabel": "call"}],
        ["features.update", {"id": feature, "input": {"name": "G"}}],
        ["packages.create", {"id": base, "name": "P", "features": [entry]}],
        ["packages.retrieve", {"id": base, "includeFeatures": True}],
        ["packages.list", {"status": "DRAFT"}],
    )
    assert (created["name"], created["unitLabel"], changed["name"]) == ("F", "call", "G")
    assert (draft["status"], retrieved["features"][0]["limit"]) == ("DRAFT", 20)
    assert [each.get("features") for each in drafts if each["id"] == base] == [None]
    with server.client() as client:
        client.publish_package(base)
    [subscription] = kana.data(
        ["packages.update", {"id": base, "input": {"metadata": {"tier": "2"}}}],
        ["users.create", {"id": user, "name": "Ada", "email": "ada@example.org"}],
        ["users.create", {"input": {"id": other, "billingId": "cus_1"}}],
        ["users.update", user, {"name": "Ada Lovelace"}],
        ["subscriptions.create", {"packageIds": [base], "userId": user}],
    )[-1]
    listed, called, one, subscribed, of_user, everybody, features = kana.data(
        ["users.list"],
        ["users"],
        ["users.retrieve", {"id": user}],
        ["subscriptions.retrieve", {"id": subscription["id"]}],
        ["subscriptions.list", {"userId": user}],
        ["subscriptions.list"],
        ["features.list"],
    )
    assert listed == called
    assert {user, other} <= {each["id"] for each in listed}
    assert (one["name"], one["email"]) == ("Ada Lovelace", "ada@example.org")
    assert of_user == [subscribed] == [each for each in everybody if each["userId"] == user]
    assert (subscribed["status"], subscribed["package"]["metadata"]) == ("ACTIVE", {"tier": "2"})
    assert [each["packages"][0]["id"] for each in features if each["id"] == feature] == [base]


def test_a_token_of_a_user_opens_what_that_user_has(kana: Kana, server: AuthenticatedServer) -> None:
    with server.client() as client:
        user_id = subscriber(client)
    [token] = kana.data(["users.generateToken", {"userId": user_id}])
    with server.client(token) as client:
        assert client.can_use(user_id, MESSAGES).access


def test_errors_are_results_with_the_names_that_kana_gave_them(
    kana: Kana, npm: Npm, programs: Path, server: AuthenticatedServer
) -> None:
    with server.client() as client:
        user_id, draft = subscriber(client), unique("package")
        client.create_package(draft, [v1.PackageFeature(feature_id=consumable(client), limit=1)])
    calls: list[list[Any]] = [
        ["features.canUse", {"userId": user_id, "featureId": unique()}],
        ["users.retrieve", {"id": unique()}],
        ["packages.retrieve", {"id": unique()}],
        ["subscriptions.create", {"packageIds": [draft], "userId": user_id}],
        ["payments.generateLink", {"packageIds": []}],
    ]
    outcomes, told = kana(*calls)
    names = ["FeatureNotFoundError", "UserNotFoundError", "PackageNotFoundError", "SubscriptionError", "KanaError"]
    assert [outcome["error"][0] for outcome in outcomes] == names
    assert told == names
    listing = ["users.list"]
    [without_key], _ = Kana(npm, programs / "kana.js", environment(server, "prv_live_x"))(listing)
    assert without_key["error"][0] == "AuthenticationError"
    assert without_key["error"][1].startswith("Unauthenticated")


def test_only_calls_that_change_nothing_are_made_again_after_no_answer(npm: Npm, programs: Path) -> None:
    """A use that got no answer may have been recorded: made again, it would count twice."""
    with silent_server() as (endpoint, requests):
        kana = Kana(npm, programs / "kana.js", {"KANA_API_KEY": "x", "KANA_ENDPOINT": endpoint})
        ids = {"userId": "u", "featureId": "f"}
        outcomes, told = kana(["features.recordUsage", ids], ["features.canUse", ids])
        assert [outcome["error"][0] for outcome in outcomes] == told == ["NetworkError"] * 2
        assert requests == ["mutation"] + ["query"] * 3


@contextmanager
def silent_server() -> Iterator[tuple[str, list[str]]]:
    """Serve requests of GraphQL by closing the connection; yield the address, and the kinds of operations asked for."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(body["query"].partition(" ")[0])
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/graphql", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def express(script: Path, env: dict[str, str]) -> Iterator[httpx.Client]:
    """Run the server of Express in a script until the block ends; yield a client of it."""
    port = free_port()
    transport = httpx.HTTPTransport(retries=10)
    process = subprocess.Popen([tool("node"), script], env={**os.environ, **env, "PORT": str(port)})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def test_a_handler_of_express_blocks_who_has_used_up_the_budget(programs: Path, server: AuthenticatedServer) -> None:
    script = programs / "documented_express.js"
    script.write_text(documented_program("docs/languages.md", "javascript", {}), encoding="utf-8")
    with server.client() as client:
        user_id = subscriber(client)
        with express(script, environment(server)) as app:
            answers = [app.post(f"/users/{user_id}/messages") for _ in range(LIMIT + 1)]
            stranger = app.post(f"/users/{unique()}/messages")
        assert [answer.status_code for answer in answers] == [200] * LIMIT + [403]
        assert answers[0].text == "Message was successfully sent, and recorded: true"
        assert used(client, user_id, MESSAGES) == LIMIT
    assert (stranger.status_code, "does not exist" in stranger.text) == (500, True)
