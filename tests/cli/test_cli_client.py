"""The commands that call a running server, each run as a process."""

import json
import re
import socket
from contextlib import closing
from uuid import uuid4

import pytest

from canuse import service_config, v1
from support.command_line import CommandLine, Subscriber
from support.message_clients import Client
from support.resources import subscriber as daily_subscriber

# The commands do not depend on transport or store: one kind of server is enough.
pytestmark = pytest.mark.parametrize("server", ["grpcio-valkey"], indirect=True, scope="session")


def test_can_use_says_yes_with_status_0_and_no_with_status_1(run: CommandLine, subscriber: Subscriber) -> None:
    yes = run("can-use", subscriber.user, subscriber.counted, "--delta", "3")
    assert (yes.status, yes.stderr) == (0, "")
    assert yes.stdout == "yes: WITHIN_BUDGET, 0 of 3 used, 3 remaining, never resets\n"
    no = run("can-use", subscriber.user, subscriber.counted, "--delta", "4")
    assert (no.status, no.stderr) == (1, "")
    assert no.stdout == "no: BUDGET_EXCEEDED, 0 of 3 used, 3 remaining, never resets\n"


def test_a_no_says_when_it_will_be_a_yes(run: CommandLine, client: Client) -> None:
    user, feature = daily_subscriber(client, 3, v1.RESET_PERIOD_DAY)
    client.create_usage_event(user, feature, 3)
    for arguments in (("can-use", user, feature), ("reserve", user, feature, "1")):
        asked = run(*arguments)
        assert asked.status == 1
        assert re.search(r", a yes in (1 d|23 h 59 min( \d+ s)?) if nothing else changes\n$", asked.stdout)
    assert float(run("can-use", user, feature, "--json").json()["retry_after"].removesuffix("s")) > 86_000
    assert "a yes in" not in run("can-use", user, feature, "--delta", "4").stdout


def test_can_use_of_what_is_not_counted(run: CommandLine, subscriber: Subscriber) -> None:
    assert run("can-use", subscriber.user, subscriber.binary).stdout == "yes: INCLUDED\n"
    assert run("can-use", subscriber.user, subscriber.unlimited).stdout.startswith(
        "yes: UNLIMITED, 0 used, unlimited, resets at "
    )


def test_can_use_as_json_has_numbers_and_the_same_status(run: CommandLine, subscriber: Subscriber) -> None:
    yes = run("can-use", subscriber.user, subscriber.counted, "--json")
    assert yes.status == 0
    assert yes.json()["access"] is True
    assert yes.json()["reason"] == "REASON_WITHIN_BUDGET"
    assert yes.json()["consumption"]["used"] == 0
    assert yes.json()["consumption"]["remaining"] == 3
    no = run("can-use", subscriber.user, subscriber.counted, "--delta", "4", "--json")
    assert (no.status, no.json()["access"]) == (1, False)


def test_an_error_is_one_line_on_standard_error_with_status_2(run: CommandLine, subscriber: Subscriber) -> None:
    missing = f"missing-{uuid4().hex}"
    for arguments in (
        ("can-use", missing, subscriber.counted),
        ("can-use", missing, subscriber.counted, "--json"),
        ("record", missing, subscriber.counted),
        ("usage", missing),
        ("users", "show", missing),
        ("features", "show", missing),
        ("packages", "show", missing),
        ("grants", "list", missing),
        ("grants", "create", missing, "g", subscriber.counted, "--unlimited"),
        ("grants", "revoke", subscriber.user, missing),
    ):
        failed = run(*arguments)
        assert (failed.status, failed.stdout) == (2, ""), arguments
        [line] = failed.stderr.splitlines()
        assert line.startswith("canuse: "), line
        assert missing in line
        assert line.endswith("_NOT_FOUND)"), line


def test_bad_input_is_an_error_that_names_the_field(run: CommandLine, subscriber: Subscriber) -> None:
    for delta in ("0", str(2**53), str(2**80)):
        failed = run("can-use", subscriber.user, subscriber.counted, "--delta", delta)
        assert (failed.status, failed.stdout, len(failed.stderr.splitlines())) == (2, "", 1)
    assert "delta" in run("can-use", subscriber.user, subscriber.counted, "--delta", "0").stderr
    assert run("can-use", subscriber.user).status == 2


def test_a_server_that_is_not_there_is_an_error_that_names_the_address(run: CommandLine) -> None:
    with closing(socket.socket()) as port:
        port.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{port.getsockname()[1]}"
    failed = run("can-use", "u", "f", "--server", address)
    assert (failed.status, failed.stdout) == (2, "")
    [line] = failed.stderr.splitlines()
    assert line.startswith("canuse: ")
    assert address in line


def test_an_api_key_that_cannot_be_sent_is_refused_without_showing_it(run: CommandLine) -> None:
    failed = run("users", "list", CANUSE_API_KEY="ck live 123")
    assert failed.status == 2
    assert "api_key" in failed.stderr
    assert "ck live 123" not in failed.stderr


def test_record_adds_takes_back_and_sets(run: CommandLine, subscriber: Subscriber) -> None:
    added = run("record", subscriber.user, subscriber.counted)
    assert added.status == 0
    assert added.stdout.startswith("recorded +1: WITHIN_BUDGET, 1 of 3 used, 2 remaining, never resets\n")
    assert run("record", subscriber.user, subscriber.counted, "--delta", "9").stdout.startswith(
        "recorded +9: BUDGET_EXCEEDED, 10 "
    )
    assert run("record", subscriber.user, subscriber.counted, "--delta", "-9").stdout.startswith(
        "recorded -9: WITHIN_BUDGET, 1 "
    )
    total = run("record", subscriber.user, subscriber.counted, "--set", "--delta", "3", "--json")
    assert total.status == 0
    assert (total.json()["applied_delta"], total.json()["consumption"]["used"]) == (2, 3)
    without = run("record", subscriber.user, subscriber.counted, "--set")
    assert without.status == 2
    assert "delta" in without.stderr


def test_record_with_an_event_id_counts_once(run: CommandLine, subscriber: Subscriber) -> None:
    arguments = ("record", subscriber.user, subscriber.counted, "--event-id", "evt-1")
    assert "event id evt-1" in run(*arguments).stdout
    again = run(*arguments)
    assert "a repeat that was not counted again" in again.stdout
    assert "1 of 3 used" in again.stdout
    assert run(*arguments, "--delta", "2").status == 2


def test_record_without_an_entitlement_has_status_1(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    user = client.create_user(f"user-{uuid4().hex}").id
    refused = run("record", user, subscriber.counted)
    assert (refused.status, refused.stdout) == (1, "not recorded: NOT_ENTITLED\n")


def test_usage_of_a_user_is_a_table_of_all_features(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    client.create_usage_event(subscriber.user, subscriber.counted, 2)
    shown = run("usage", subscriber.user)
    assert shown.status == 0
    rows = {row[0]: row[1:] for row in shown.rows()}
    assert rows[subscriber.binary] == ["yes", "INCLUDED"]
    assert rows[subscriber.counted] == ["yes", "WITHIN_BUDGET", "2", "0", "3", "1", "never"]
    assert rows[subscriber.unlimited][:6] == ["yes", "UNLIMITED", "0", "0", "unlimited", "unlimited"]
    assert rows[subscriber.unlimited][6].endswith("Z")

    listed = run("usage", subscriber.user, "--json").json()
    assert [entitlement["feature_id"] for entitlement in listed] == sorted(rows)
    assert {each["feature_id"]: each.get("consumption", {}).get("used") for each in listed} == {
        subscriber.binary: None,
        subscriber.counted: 2,
        subscriber.unlimited: 0,
    }


def test_usage_shows_what_the_user_does_not_have_on_request(
    run: CommandLine, subscriber: Subscriber, client: Client
) -> None:
    user = client.create_user(f"user-{uuid4().hex}").id
    rows = {row[0]: row[1:] for row in run("usage", user, "--locked").rows()}
    assert rows[subscriber.counted] == ["no", "NOT_ENTITLED", subscriber.package]
    assert run("usage", user).stdout == f"{user} has no entitlements\n"
    listed = {each["feature_id"]: each for each in run("usage", user, "--locked", "--json").json()}
    assert listed[subscriber.counted]["package_ids"] == [subscriber.package]


def test_usage_of_a_user_without_entitlements_is_a_sentence(run: CommandLine, client: Client) -> None:
    user = client.create_user(f"user-{uuid4().hex}").id
    assert run("usage", user).stdout == f"{user} has no entitlements\n"
    assert run("usage", user, "--json").json() == []


def test_usage_of_one_feature_shows_its_periods(run: CommandLine, subscriber: Subscriber, client: Client) -> None:
    client.create_usage_event(subscriber.user, subscriber.counted, 2)
    shown = run("usage", subscriber.user, subscriber.counted)
    assert shown.rows() == [["current", subscriber.started_at, "never", "2", "0", "3", "1"]]
    values = run("usage", subscriber.user, subscriber.counted, "--json").json()
    assert values["current"]["used"] == 2
    assert values["past"] == []


def test_users_are_listed_and_shown(run: CommandLine, subscriber: Subscriber) -> None:
    assert subscriber.user in run("users", "list").stdout
    listed = run("users", "list", "--json").json()
    assert [user["name"] for user in listed if user["id"] == subscriber.user] == ["Ada Lovelace"]
    assert len(run("users", "list", "--limit", "1", "--json").json()) == 1

    shown = run("users", "show", subscriber.user)
    assert "ada@example.org" in shown.stdout
    [row] = shown.rows()
    assert row[1:] == [subscriber.package, "1", "ACTIVE", subscriber.started_at]
    values = run("users", "show", subscriber.user, "--json").json()
    assert (values["id"], values["disabled"]) == (subscriber.user, False)
    assert [each["package_id"] for each in values["subscriptions"]] == [subscriber.package]


def test_features_are_listed_and_shown(run: CommandLine, subscriber: Subscriber) -> None:
    rows = {row[0]: row[1:] for row in run("features", "list").rows()}
    assert rows[subscriber.counted] == ["Counted", "things", "CONSUMABLE", "thing", "no"]
    assert subscriber.binary in {feature["id"] for feature in run("features", "list", "--json").json()}
    assert "Counted things" in run("features", "show", subscriber.counted).stdout
    assert run("features", "show", subscriber.counted, "--json").json()["type"] == "FEATURE_TYPE_CONSUMABLE"


def test_packages_are_listed_and_shown(run: CommandLine, subscriber: Subscriber) -> None:
    rows = {row[0]: row[1:] for row in run("packages", "list").rows()}
    assert rows[subscriber.package][:5] == ["A", "package", "BASE", "PUBLISHED", "1"]
    assert subscriber.package in {package["id"] for package in run("packages", "list", "--json").json()}

    shown = run("packages", "show", subscriber.package)
    assert "tier=2" in shown.stdout
    limits = {row[0]: row[1:] for row in shown.rows()}
    assert limits[subscriber.counted] == ["3", "NEVER", "no"]
    assert limits[subscriber.unlimited] == ["unlimited", "MONTH", "no"]
    features = run("packages", "show", subscriber.package, "--json").json()["features"]
    assert [feature["limit"] for feature in features if feature["feature_id"] == subscriber.counted] == [3]


def test_the_option_wins_over_the_environment(run: CommandLine, subscriber: Subscriber) -> None:
    result = run("can-use", subscriber.user, subscriber.counted, "--server", run.address, CANUSE_SERVER="127.0.0.1:1")
    assert result.status == 0


def test_the_service_config_for_other_languages_is_that_of_the_python_clients(run: CommandLine) -> None:
    assert run("service-config").json() == json.loads(service_config())
    assert run("service-config", "--retry-uses").json() == json.loads(service_config(retry_uses=True))
