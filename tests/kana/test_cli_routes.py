"""The routes of Kana's command line: pull, validate and publish."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from canuse import v1
from support.authenticated_server import authenticated_server
from support.load import running
from support.message_clients import Client
from support.processes import Canuse

ANY_PORT = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
TYPE = {"content-type": "application/json"}
CONSUMABLE, BINARY = v1.FEATURE_TYPE_CONSUMABLE, v1.FEATURE_TYPE_BINARY


class Command:
    """Kana's command line, as far as the server sees it."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def pull(self) -> dict[str, Any]:
        """Return the file."""
        answer = self._http.get("/cli/pull", headers=TYPE)
        assert answer.status_code == 200
        config: dict[str, Any] = answer.json()
        return config

    def validate(self, config: object) -> list[str]:
        """Return the lines for a file."""
        answer = self._http.post("/cli/validate", json=config)
        assert answer.status_code == 200, answer.text
        lines: list[str] = answer.json()["data"]
        return lines

    def publish(self, config: object) -> dict[str, Any]:
        """Publish a file and return what it is then."""
        answer = self._http.post("/cli/publish", json=config)
        assert answer.status_code == 200, answer.text
        published: dict[str, Any] = answer.json()
        return published

    def refused(self, config: object) -> list[str]:
        """Return why a file is not published."""
        answer = self._http.post("/cli/publish", json=config)
        assert answer.status_code == 400
        lines: list[str] = answer.json()["data"]
        assert all(line.startswith("[ERROR] ") for line in lines)
        return lines


@pytest.fixture(scope="module")
def canuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server whose catalogue has everything that Kana's file has no word for. No test changes it."""
    folder = tmp_path_factory.mktemp("kana")
    with running(Canuse(folder, env=ANY_PORT)) as canuse, Client(canuse.address) as client:
        fill(client)
        yield canuse


@pytest.fixture
def client(canuse: Canuse) -> Iterator[Client]:
    """A client over gRPC."""
    with Client(canuse.address) as client:
        yield client


@pytest.fixture
def command(canuse: Canuse) -> Iterator[Command]:
    """The command line."""
    with httpx.Client(base_url=canuse.http_url, timeout=60) as http:
        yield Command(http)


def entry(feature_id: str, limit: int | None = None, **more: Any) -> v1.PackageFeature:
    """Return the entry of a feature in a package."""
    return v1.PackageFeature(feature_id=feature_id, limit=limit, **more)


def fill(client: Client) -> None:
    """Make a catalogue with everything that Kana's file has no word for."""
    client.create_feature(
        "calls",
        type=CONSUMABLE,
        name="Calls",
        unit_label="call",
        metadata={"a": "b"},
        on_unavailable=v1.ON_UNAVAILABLE_ALLOW,
    )
    client.create_feature("seats", type=CONSUMABLE)
    client.create_feature("sso", type=BINARY)
    client.create_feature("old", type=BINARY)
    weekly = entry("calls", 100, reset_period=v1.RESET_PERIOD_WEEK, overage_enabled=True)
    client.create_package("team", [weekly, entry("seats"), entry("sso")], name="Team", metadata={"tier": "2"})
    client.publish_package("team")
    client.update_package("team", features=[entry("calls", 200, reset_period=v1.RESET_PERIOD_HOUR)])
    client.create_package("free", [entry("calls", 5, reset_period=v1.RESET_PERIOD_DAY)])
    client.create_package("extra", [entry("seats", 3)], type=v1.PACKAGE_TYPE_ADD_ON)
    client.publish_package("extra")
    client.create_package("gone", [entry("old")])
    client.archive_package("gone")
    client.archive_feature("old")


def everything(client: Client) -> list[v1.Feature | v1.Package]:
    """Return all of the catalogue."""
    packages = list(client.list_packages())
    published = [
        client.get_package(each.id, version=each.published_version) for each in packages if each.published_version
    ]
    return [*client.list_features(), *packages, *published]


def test_the_file_has_features_packages_and_add_ons(client: Client, command: Command) -> None:
    team = [{"id": "calls", "limit": 100, "overage_enabled": True}, {"id": "seats", "limit": None}, {"id": "sso"}]
    free = [{"id": "calls", "limit": 5, "reset_period": "DAY"}]
    extra = {"id": "extra", "name": "extra", "base_packages": [], "features": [{"id": "seats", "limit": 3}]}
    assert command.pull() == {
        "version": "1.0.0",
        "app": "canuse",
        "features": [
            {"id": "calls", "name": "Calls", "type": "CONSUMABLE"},
            {"id": "seats", "name": "seats", "type": "CONSUMABLE"},
            {"id": "sso", "name": "sso", "type": "BINARY"},
        ],
        "packages": {
            "draft": [{"id": "free", "name": "free", "features": free}],
            "published": [{"id": "team", "name": "Team", "features": team}],
        },
        "addons": {"draft": [], "published": [extra]},
    }


@pytest.mark.parametrize("with_addons", [True, False])
def test_a_round_trip_changes_nothing(client: Client, command: Command, with_addons: bool) -> None:
    before, config = everything(client), command.pull()
    sent = copy.deepcopy(config)
    del sent["app"]
    if not with_addons:
        # Kana's command line never writes them.
        del sent["addons"]
    assert command.validate(sent) == []
    assert command.publish(sent) == config
    assert everything(client) == before


def test_drafts_and_published_packages_become_what_the_file_says(tmp_path: Path) -> None:
    with (
        running(Canuse(tmp_path, env=ANY_PORT)) as canuse,
        Client(canuse.address) as client,
        httpx.Client(base_url=canuse.http_url, timeout=60) as http,
    ):
        fill(client)
        check_publishing(client, Command(http))


def check_publishing(client: Client, command: Command) -> None:
    """Publish a file with changes of every kind."""
    config = command.pull()
    config["features"].append({"id": "sms", "name": "SMS", "type": "CONSUMABLE"})
    drafts, published = config["packages"]["draft"], config["packages"]["published"]
    published[0]["features"][0]["limit"] = 150
    published.append({**drafts.pop(), "name": "Free"})
    drafts.append({"id": "new", "name": "New", "features": [{"id": "sms", "limit": 10, "reset_period": "YEAR"}]})
    lines = command.validate(config)
    assert "feature 'sms' will be created" in lines
    assert "package 'new' will be created" in lines
    assert "package 'team': features[calls].limit will change from 100 to 150" in lines
    assert any(line.startswith("[WARNING] package 'team': version ") for line in lines)
    assert not [line for line in lines if line.startswith("[ERROR]")]
    shown = command.publish(config)
    published.sort(key=lambda each: str(each["id"]))
    assert shown["packages"] == config["packages"]
    assert command.validate(shown) == []
    team = client.get_package("team")
    assert (team.status, team.features[0].limit, team.features[0].reset_period) == (
        v1.PACKAGE_STATUS_DRAFT,
        200,
        v1.RESET_PERIOD_HOUR,
    )
    team = client.get_package("team", version=team.published_version)
    assert (team.features[0].limit, team.features[0].reset_period) == (150, v1.RESET_PERIOD_WEEK)
    assert dict(team.metadata) == {"tier": "2"}
    assert client.get_package("free").status == v1.PACKAGE_STATUS_PUBLISHED
    assert client.get_package("new").status == v1.PACKAGE_STATUS_DRAFT


def test_what_is_missing_in_the_file_stays_and_is_told(client: Client, command: Command) -> None:
    before, config = everything(client), command.pull()
    del config["addons"]
    config["packages"]["draft"].clear()
    config["features"].pop()
    assert command.validate(config) == [
        "[WARNING] feature 'sso' is not in the file; it stays as it is",
        "[WARNING] package 'free' is not in the file; it stays as it is",
    ]
    command.publish(config)
    assert everything(client) == before


def swap_types(config: dict[str, Any]) -> None:
    """Make what is counted binary."""
    config["features"][0]["type"] = "BINARY"
    for packages in config["packages"].values():
        packages[0]["features"] = [{"id": "calls"}]


def drafts(config: dict[str, Any]) -> Any:
    """Return the drafts of a file."""
    return config["packages"]["draft"]


def published(config: dict[str, Any]) -> Any:
    """Return the published packages of a file."""
    return config["packages"]["published"]


def calls(config: dict[str, Any]) -> Any:
    """Return the first entry of a published package."""
    return published(config)[0]["features"][0]


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a package twice": (lambda file: drafts(file).append(published(file)[0]), "package 'team' is listed twice"),
    "a feature twice": (lambda file: file["features"].append(file["features"][0]), "feature 'calls' is listed twice"),
    "an entry twice": (
        lambda file: published(file)[0]["features"].append(calls(file)),
        "package 'team', feature 'calls': it is listed twice",
    ),
    "a reference to nothing": (
        lambda file: calls(file).update(id="nothing"),
        "package 'team', feature 'nothing': there is no such feature",
    ),
    "a base package that is not there": (
        lambda file: file["addons"]["published"][0].update(base_packages=["team", "nothing"]),
        "add-on 'extra': the base package 'nothing' is not in the file",
    ),
    "a list as a base package": (
        lambda file: file["addons"]["published"][0].update(base_packages=[["team"]]),
        "add-on 'extra': the base package ['team'] is not in the file",
    ),
    "an object as a base package": (
        lambda file: file["addons"]["published"][0].update(base_packages=[{"id": "team"}]),
        "add-on 'extra': the base package {'id': 'team'} is not in the file",
    ),
    "a published package as a draft": (
        lambda file: drafts(file).append(published(file).pop()),
        "package 'team' is published and cannot become a draft again",
    ),
    "another type of a feature": (swap_types, "feature 'calls'.type: must stay CONSUMABLE"),
    "another type of a package": (
        lambda file: file["addons"]["published"].append(published(file).pop()),
        "package 'team' was published as BASE; its type cannot change",
    ),
    "an id like a path": (
        lambda file: file["features"].append({"id": "features[99]\n", "type": "BINARY"}),
        "feature 'features[99]\\n'.id: must be 1 to 128 bytes",
    ),
    "no limit": (lambda file: calls(file).pop("limit"), "limit is missing; null means unlimited"),
    "a negative limit": (lambda file: calls(file).update(limit=-1), "limit must be null or a whole number from 0"),
    "a text as a limit": (lambda file: calls(file).update(limit="5"), "limit must be null or a whole number from 0"),
    "too large a limit": (lambda file: calls(file).update(limit=1 << 60), "package 'team', feature 'calls'"),
    "a number beyond 64 bits": (lambda file: calls(file).update(limit=1 << 70), "limit must be null or a whole number"),
    "an unknown period": (
        lambda file: calls(file).update(reset_period="WEEK"),
        "reset_period must be one of DAY, MONTH, YEAR, or absent",
    ),
    "a text for overage": (
        lambda file: calls(file).update(overage_enabled="yes"),
        "overage_enabled must be true or false",
    ),
    "an unknown word": (lambda file: calls(file).update(limits=5), "'limits' is unknown"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_with_a_mistake_changes_nothing(client: Client, command: Command, what: str) -> None:
    before, config = everything(client), command.pull()
    config["features"].append({"id": "valid", "name": "valid", "type": "BINARY"})
    make, text = WRONG[what]
    make(config)
    for lines in (command.validate(config), command.refused(config)):
        assert any(line.startswith("[ERROR] ") and text in line for line in lines), lines
    assert everything(client) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"features": [], "features": []}',
        rb'{"features": [{"id": "\ud800", "type": "BINARY"}]}',
        rb'{"features": [{"id": "a", "name": "\udfff", "type": "BINARY"}]}',
    ],
)
def test_what_is_no_file_is_an_error_line(canuse: Canuse, body: bytes) -> None:
    for route in ("validate", "publish"):
        answer = httpx.post(f"{canuse.http_url}/cli/{route}", content=body)
        assert answer.status_code == 400
        assert answer.json()["data"][0].startswith("[ERROR] ")
    assert httpx.post(f"{canuse.http_url}/cli/pull").status_code == 405
    assert httpx.get(f"{canuse.http_url}/cli/publish").json()["data"][0].startswith("[ERROR] ")


@pytest.mark.parametrize(
    "config", [{}, {"features": {}}, {"features": [1]}, {"packages": []}, {"packages": {"draft": {}}}, {"addons": 1}]
)
def test_a_file_of_another_form_has_error_lines_and_an_empty_one_has_none(command: Command, config: object) -> None:
    assert any(line.startswith("[ERROR]") for line in command.validate(config)) is (config != {})


@pytest.mark.parametrize(
    "body",
    [
        '{"features": [{"id": "\\ud800", "name": "A", "type": "BINARY"}]}',
        '{"features": [{"id": "a", "name": "\\udfff", "type": "BINARY"}]}',
        '{"addons": {"draft": [{"id": "a", "name": "A", "features": [], "base_packages": [[]]}]}}',
    ],
)
@pytest.mark.parametrize("route", ["validate", "publish"])
def test_values_that_are_no_ids_are_error_lines(canuse: Canuse, route: str, body: str) -> None:
    """They were internal errors."""
    answer = httpx.post(f"{canuse.http_url}/cli/{route}", content=body, timeout=60)
    assert answer.status_code in (200, 400)
    assert answer.json()["data"][0].startswith("[ERROR] ")


def test_a_field_twice_among_very_many_is_found_soon(canuse: Canuse) -> None:
    """It took time by the square of their number: minutes."""
    fields = ", ".join(f'"{index:x}": 0' for index in range(150_000))
    answer = httpx.post(f"{canuse.http_url}/cli/validate", content=f'{{{fields}, "249ef": 0}}', timeout=60)
    assert answer.json()["data"] == ["[ERROR] 249ef: must be sent once in an object; it was sent twice"]


def test_of_very_many_lines_only_the_first_are_answered(command: Command) -> None:
    lines = command.validate({"features": [1] * 50_000})
    assert len(lines) == 1001
    assert lines[-1] == "[ERROR] and 49000 more"


def test_the_routes_demand_keys_with_their_scopes(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("guarded")
    with authenticated_server(Canuse(folder, env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"})) as server:
        reader = server.key(("catalog:read",)).secret
        with httpx.Client(base_url=server.canuse.http_url) as http:
            for key, statuses in ((None, (401, 401)), (reader, (200, 403)), (server.admin, (200, 200))):
                headers = {"authorization": key} if key else {}
                pulled = http.get("/cli/pull", headers=headers)
                validated = http.post("/cli/validate", json={}, headers=headers)
                assert (pulled.status_code, validated.status_code) == statuses
                assert ("kana pull needs an API key" in pulled.text) is (key is None)
                assert isinstance(validated.json()["data"], list)
