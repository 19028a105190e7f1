"""`canuse catalog`, run as a process: a file that is pulled, planned and applied."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from canuse import v1
from canuse_server.cli.catalog.schema import schema
from support import fork_server
from support.load import MAX_WAIT_SECONDS, running
from support.message_clients import Client
from support.migrations import create_subscriber, versions
from support.processes import Canuse
from support.tools import ROOT

# Nearly each starts a server of its own: the catalogue is one document, and others would change it.
pytestmark = pytest.mark.extended

EXAMPLE: Final = ROOT / "docs" / "examples" / "catalog.yaml"
ENUMS: Final[dict[tuple[str, str], Any]] = {
    ("feature", "type"): v1.FeatureType,
    ("feature", "on_unavailable"): v1.OnUnavailable,
    ("package", "type"): v1.PackageType,
    ("package", "status"): v1.PackageStatus,
}
SET_BY_THE_SERVER: Final = {"id", "created_at", "version", "published_version"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Canuse]:
    """A server with an empty catalogue."""
    with running(Canuse(tmp_path, "--transport", "grpcio")) as server:
        yield server


@pytest.fixture
def client(server: Canuse) -> Iterator[Client]:
    with Client(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        yield client


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of the example."""
    path = tmp_path / "catalog.yaml"
    path.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def run(server: Canuse, *arguments: object) -> tuple[int, str, str]:
    """Run `canuse catalog`; return its status, its standard output and its standard error."""
    done = fork_server.run("catalog", *map(str, arguments), "--server", server.address)
    return done.returncode, done.stdout, done.stderr


def edit(file: Path, old: str, new: str) -> None:
    """Replace the one place where a file has a text."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_the_example_is_planned_and_applied_and_then_there_is_nothing_to_change(
    server: Canuse, client: Client, file: Path
) -> None:
    status, planned, complaints = run(server, "plan", file)
    assert (status, complaints) == (0, "")
    assert not list(client.list_features())
    lines = planned.splitlines()
    assert lines[0] == "+ feature api-calls: create"
    assert "+ package pro: create version 1, publish version 1, change version 2" in lines
    assert "    features[api-calls].limit: 100000 -> 200000" in lines
    assert lines[-1] == "7 items to change, etag 0"
    status, applied, complaints = run(server, "apply", file)
    assert (status, complaints) == (0, "")
    assert applied.splitlines()[:-1] == lines[:-1]
    assert applied.splitlines()[-1].startswith("7 items changed, etag ")
    for command in ("plan", "apply"):
        assert run(server, command, file) == (0, "no changes: the catalogue is as the file says\n", "")
    pro = client.get_package("pro", version=1)
    assert [(each.feature_id, each.limit, each.overage_enabled) for each in pro.features] == [
        ("api-calls", 100000, True),
        ("messages", 0, False),
        ("sso", 0, False),
    ]
    assert [each.HasField("limit") for each in pro.features] == [True, False, False]
    assert dict(client.get_package("pro").metadata) == {"tier": "2"}
    assert client.get_package("enterprise").status == v1.PACKAGE_STATUS_DRAFT
    assert client.get_package("more-messages").type == v1.PACKAGE_TYPE_ADD_ON
    assert client.get_feature("api-calls").on_unavailable == v1.ON_UNAVAILABLE_LAST_KNOWN


def test_what_is_pulled_is_what_was_applied(server: Canuse, file: Path, tmp_path: Path) -> None:
    run(server, "apply", file)
    before = file.read_text(encoding="utf-8")
    status, said, _ = run(server, "pull", file)
    assert (status, said) == (0, f"{file}: as the catalogue is\n")
    assert file.read_text(encoding="utf-8") == before
    new = tmp_path / "new.yaml"
    status, said, _ = run(server, "pull", new)
    assert (status, said) == (0, f"{new}: 7 added, 0 changed, 0 removed\n")
    text = new.read_text(encoding="utf-8")
    assert text.startswith("# The catalogue of canuse")
    assert "messages: {limit: 5, reset_period: day}" in text
    assert run(server, "plan", new)[:2] == (0, "no changes: the catalogue is as the file says\n")
    # Applied elsewhere, it makes the same catalogue.
    (tmp_path / "other").mkdir()
    with running(Canuse(tmp_path / "other", "--transport", "grpcio")) as other:
        assert run(other, "apply", new)[0] == 0
        assert run(other, "plan", file)[1] == "no changes: the catalogue is as the file says\n"


PULLED: Final = {
    "seats": """\
  seats:
    type: consumable
    metadata: {by: seat}
""",
    "draft": """\
    draft:
      features:
        api-calls: {limit: 1000, reset_period: month}
        messages: {limit: 5, reset_period: week}
""",
    "team": """\
  team:
    status: draft
    features:
      seats: {limit: 5}
""",
}
CHANGES: Final = [
    ("  messages:\n    type: consumable\n", "  messages:\n    type: consumable\n    name: Messages\n"),
    ("name: Single sign-on", "name: Sign-on"),
    ("    type: binary  # not counted\n", f"    type: binary  # not counted\n{PULLED['seats']}"),
    ("      messages: {limit: 5, per: day}\n", f"      messages: {{limit: 5, per: day}}\n{PULLED['draft']}"),
    ("      messages: {limit: 500, per: month}\n", "      messages: {limit: 500, per: month}\n    status: archived\n"),
    (
        "    status: draft\n    features:\n      sso:\n",
        f"    status: draft\n    features:\n      sso:\n{PULLED['team']}",
    ),
    ("api-calls: {limit: 100000,", "api-calls: {limit: 200000,"),
]
"""What pulling the changes of the test does to the file: old and new texts."""


def test_pulling_keeps_comments_order_and_form(server: Canuse, client: Client, file: Path) -> None:
    run(server, "apply", file)
    edit(file, "    type: binary\n\npackages:", "    type: binary  # not counted\n\n# What is sold.\npackages:")
    before = file.read_text(encoding="utf-8")
    client.create_feature("seats", type=v1.FEATURE_TYPE_CONSUMABLE, metadata={"by": "seat"})
    client.update_feature("sso", name="Sign-on")
    client.update_feature("messages", name="Messages")
    client.archive_package("more-messages")
    client.publish_package("pro")
    client.create_package("team", [v1.PackageFeature(feature_id="seats", limit=5)])
    starter = client.get_package("starter")
    starter.features[1].reset_period = v1.RESET_PERIOD_WEEK
    client.update_package("starter", features=starter.features)
    status, said, _ = run(server, "pull", file)
    assert (status, said) == (0, f"{file}: 2 added, 5 changed, 0 removed\n")
    expected = before
    for old, new in CHANGES:
        assert expected.count(old) == 1, old
        expected = expected.replace(old, new)
    # The draft is gone; the comment about it stays.
    head, _, rest = expected.partition("    draft:\n      features:\n        api-calls: {limit: 200000")
    expected = head + rest[rest.index("\n\n") + 1 :]
    assert file.read_text(encoding="utf-8") == expected
    assert run(server, "plan", file)[1] == "no changes: the catalogue is as the file says\n"
    client.archive_feature("seats")
    client.archive_package("team")
    run(server, "pull", file)
    assert "status: archived" in file.read_text(encoding="utf-8").partition("  team:")[2]


def test_archived_items_are_pulled_only_if_the_file_or_a_package_names_them(
    server: Canuse, client: Client, tmp_path: Path
) -> None:
    for feature_id in ("used", "unused"):
        client.create_feature(feature_id, type=v1.FEATURE_TYPE_BINARY)
    client.create_package("plan", [v1.PackageFeature(feature_id="used")])
    client.create_package("gone")
    client.archive_package("gone")
    client.archive_feature("used")
    client.archive_feature("unused")
    new = tmp_path / "new.yaml"
    assert run(server, "pull", new)[1] == f"{new}: 2 added, 0 changed, 0 removed\n"
    text = new.read_text(encoding="utf-8")
    assert ("used:\n    type: binary\n    archived: true" in text, "gone" in text) == (True, False)
    assert run(server, "plan", new)[:2] == (0, "no changes: the catalogue is as the file says\n")


def test_a_file_that_was_not_changed_is_not_written_and_a_link_stays_one(
    server: Canuse, client: Client, file: Path, tmp_path: Path
) -> None:
    run(server, "apply", file)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    file.chmod(0o640)
    os.utime(file, (1, 1))
    assert run(server, "pull", link)[0] == 0
    assert file.stat().st_mtime == 1
    client.update_feature("sso", name="Sign-on")
    assert run(server, "pull", link)[0] == 0
    assert (link.is_symlink(), file.stat().st_mode & 0o777) == (True, 0o640)
    assert "name: Sign-on" in file.read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir() if "yaml" in path.name) == ["catalog.yaml", "link.yaml"]


@pytest.fixture
def shrinking(server: Canuse, client: Client, file: Path) -> str:
    """Give the file a lower limit than a subscriber has; return the user's id."""
    run(server, "apply", file)
    user_id = create_subscriber(client, "starter")
    edit(file, "messages: {limit: 5, per: day}", "messages: {limit: 4, per: day}")
    return user_id


def test_where_users_would_lose_access_the_status_of_a_plan_says_so(
    server: Canuse, client: Client, file: Path, shrinking: str
) -> None:
    status, planned, complaints = run(server, "plan", file)
    assert (status, complaints) == (3, "")
    assert planned.splitlines()[:-1] == [
        "~ package starter: change version 2, publish version 2",
        "    features[messages].limit: 5 -> 4",
        "! 1 user would get less of messages when package starter is migrated",
    ]
    status, planned, _ = run(server, "plan", file, "--users", "10")
    assert (status, planned.splitlines()[-2]) == (3, f"    user {shrinking}: messages: 5/day -> 4/day")
    status, planned, _ = run(server, "plan", file, "--json")
    answer = json.loads(planned)
    assert (status, answer["access_losses"]) == (
        3,
        [{"feature_id": "messages", "package_id": "starter", "users": 1}],
    )
    assert answer["changes"][0]["fields"] == [{"field": "features[messages].limit", "old_value": "5", "new_value": "4"}]
    assert versions(client, shrinking) == [1]


def test_where_users_would_lose_access_nothing_is_applied_unless_it_is_allowed(
    server: Canuse, client: Client, file: Path, shrinking: str
) -> None:
    status, said, complaints = run(server, "apply", file)
    assert status == 3
    assert "! 1 user would get less of messages when package starter is migrated" in said
    assert complaints == (
        "canuse: nothing was changed: 1 user would get less of messages when package starter is migrated; "
        "--allow-shrinking applies it nevertheless\n"
    )
    assert client.get_package("starter").version == 1
    status, said, complaints = run(server, "apply", file, "--allow-shrinking")
    assert (status, complaints) == (0, "")
    assert "publish version 2" in said
    assert client.get_package("starter").published_version == 2
    # Its subscriber has the old version until the migration.
    assert versions(client, shrinking) == [1]


def test_a_plan_can_be_applied_only_to_the_catalogue_that_it_was_made_for(
    server: Canuse, client: Client, file: Path
) -> None:
    _, planned, _ = run(server, "plan", file, "--json")
    etag = json.loads(planned)["etag"]
    client.create_feature("other", type=v1.FEATURE_TYPE_BINARY)
    for options in ((), ("--allow-shrinking",)):
        status, said, complaints = run(server, "apply", file, "--etag", etag, *options)
        assert (status, said) == (2, "")
        assert complaints.endswith("(CATALOG_CHANGED)\n")
    etag = json.loads(run(server, "plan", file, "--json")[1])["etag"]
    assert run(server, "apply", file, "--etag", etag)[0] == 0


def test_what_the_file_does_not_name_is_archived_if_that_is_asked_for(
    server: Canuse, client: Client, file: Path
) -> None:
    client.create_feature("other", type=v1.FEATURE_TYPE_BINARY)
    assert "other" not in run(server, "plan", file)[1]
    assert "- feature other: archive\n" in run(server, "plan", file, "--archive-missing")[1]
    assert run(server, "apply", file, "--archive-missing")[0] == 0
    assert client.get_feature("other").archived


MORE: Final = "packages.more-messages"
PROBLEMS: Final[dict[str, tuple[str, str, str]]] = {
    "a wrong word": ("type: add_on", "type: addon", f"{MORE}.type: must be base or add_on; 'addon' was given"),
    "an unknown key": (
        "limit: 500,",
        "limt: 500,",
        f"{MORE}.features.messages.limt: unknown; accepted here are limit, reset_period, per, overage_enabled",
    ),
    "no type": ("type: binary", "unit_label: x", "features.sso: type is missing: binary or consumable"),
    "a text for a number": (
        "limit: 500",
        "limit: lots",
        f"{MORE}.features.messages.limit: must be a whole number; 'lots' was given",
    ),
    "a negative number": (
        "limit: 500",
        "limit: -1",
        f"{MORE}.features.messages.limit: must be 0 to 2^53 - 1; -1 was given",
    ),
    "both names of a period": (
        "limit: 500, per: month",
        "limit: 500, per: month, reset_period: month",
        f"{MORE}.features.messages.per: give either per or reset_period",
    ),
    "a number for a text": (
        'tier: "2"',
        "tier: 2",
        "packages.pro.metadata.tier: must be a text, in quotes if it looks like something else; 2 was given",
    ),
    "a list for a mapping": (
        "      messages: {limit: 500",
        "      - messages: {limit: 500",
        f"{MORE}.features: must be a mapping: what the package gives, by feature id; a list was given",
    ),
    "a draft of a draft": (
        "    status: draft\n",
        "    status: draft\n    draft: {}\n",
        "packages.enterprise.draft: only for a package whose status is published",
    ),
    "a number for an id": ("  enterprise:\n", "  124:\n", "packages: the key 124 must be a string: put it in quotes"),
    "an id twice": ("  enterprise:\n", "  starter:\n", 'found duplicate key "starter"'),
    "no YAML": ("    status: draft\n", "    status: [draft\n", "expected ',' or ']'"),
    "refused by the server: a limit": (
        "      sso:\n    metadata",
        "      sso: {limit: 1}\n    metadata",
        "packages.pro.features.sso.limit: must not be given for the binary feature 'sso'",
    ),
    "refused by the server: an unknown feature": (
        "      messages: {limit: 500",
        "      mesages: {limit: 500",
        f"{MORE}.features.mesages: feature 'mesages' does not exist",
    ),
    "refused by the server: in a draft": (
        "        messages:\n        sso:\n",
        "        mesages:\n        sso:\n",
        "packages.pro.draft.features.mesages: feature 'mesages' does not exist",
    ),
    "refused by the server: an id": (
        "  enterprise:\n",
        f"  {'x' * 129}:\n",
        f"packages.{'x' * 129}: must be 1 to 128 bytes",
    ),
    "refused by the server: metadata": (
        'tier: "2"',
        f'tier: "{"x" * 2050}"',
        "packages.pro.metadata: must be at most 16 pairs",
    ),
}
"""A text of the example, what it is replaced by, and what is told."""
NOT_AT_THE_KEY: Final = ("no YAML", "an id twice", "a number for an id")
"""Problems whose line is not that of the last key of their place."""


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_of_the_file_is_told_with_its_line(server: Canuse, client: Client, file: Path, name: str) -> None:
    old, new, expected = PROBLEMS[name]
    edit(file, old, new)
    status, said, complaints = run(server, "plan", file)
    assert (status, said) == (2, "")
    [line] = [line for line in complaints.splitlines() if expected in line]
    at = re.match(rf"canuse: {re.escape(str(file))}:(\d+): ", line)
    assert at is not None, line
    told = file.read_text(encoding="utf-8").splitlines()[int(at[1]) - 1]
    if name not in NOT_AT_THE_KEY:
        assert f"{expected.partition(': ')[0].rpartition('.')[2]}:" in told
    assert not list(client.list_features())


def test_every_problem_of_a_file_is_a_line_in_its_order(server: Canuse, file: Path) -> None:
    edit(file, "type: add_on", "type: addon")
    edit(file, "on_unavailable: last_known", "on_unavailable: maybe")
    status, _, complaints = run(server, "apply", file)
    assert status == 2
    numbers = [int(line.split(":")[2]) for line in complaints.splitlines()]
    assert len(numbers) == 2
    assert numbers == sorted(numbers)
    wrong = "".join(f"      x{number}: 1\n" for number in range(30))
    edit(file, "      sso:\n    metadata", f"      sso:\n{wrong}    metadata")
    *lines, last = run(server, "apply", file)[2].splitlines()
    assert (len(lines), last) == (20, f"canuse: {file}: and 12 more")


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_file_that_cannot_be_read_is_an_error(server: Canuse, tmp_path: Path, command: str) -> None:
    missing = tmp_path / "missing.yaml"
    assert run(server, command, missing) == (2, "", f"canuse: {missing}: No such file or directory\n")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    assert run(server, command, binary) == (2, "", f"canuse: {binary}: not UTF-8\n")
    (tmp_path / "list.yaml").write_text("- a\n", encoding="utf-8")
    status, _, complaints = run(server, command, tmp_path / "list.yaml")
    where = f"{tmp_path / 'list.yaml'}:1"
    assert (status, complaints) == (
        2,
        f"canuse: {where}: must be a mapping with features, packages; a list was given\n",
    )


def test_an_empty_file_changes_nothing(server: Canuse, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    for text in ("", "# nothing yet\n", "features:\npackages:\n"):
        empty.write_text(text, encoding="utf-8")
        assert run(server, "apply", empty) == (0, "no changes: the catalogue is as the file says\n", "")


def test_pulling_into_a_folder_that_does_not_exist_is_an_error(server: Canuse, tmp_path: Path) -> None:
    path = tmp_path / "no" / "catalog.yaml"
    assert run(server, "pull", path) == (2, "", f"canuse: {path}: No such file or directory\n")


def test_the_schema_is_printed_and_has_the_fields_and_values_of_the_api() -> None:
    printed = json.loads(fork_server.run("catalog", "schema").stdout)
    assert printed == schema()
    kinds = printed["$defs"]
    messages: dict[str, Any] = {"feature": v1.Feature, "package": v1.Package, "entry": v1.PackageFeature}
    for name, message in messages.items():
        fields = set(message.DESCRIPTOR.fields_by_name) - SET_BY_THE_SERVER - {"feature_id"}
        assert set(kinds[name]["properties"]) == fields | {"package": {"draft"}, "entry": {"per"}}.get(name, set())
    for (name, field), kind in ENUMS.items():
        assert set(kinds[name]["properties"][field]["enum"]) == words(kind)
    assert set(kinds["reset_period"]["enum"]) == words(v1.ResetPeriod)


def words(kind: Any) -> set[str]:
    """Return the values of an enum as a file has them."""
    prefix = re.sub("(?<!^)(?=[A-Z])", "_", kind.DESCRIPTOR.name).upper()
    return {name.removeprefix(f"{prefix}_").lower() for name in kind.DESCRIPTOR.values_by_name} - {"unspecified"}
