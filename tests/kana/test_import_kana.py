"""`canuse import-kana`: what Kana exports, under the same ids."""

import json
from pathlib import Path
from typing import Any

from canuse import v1
from support.command_line import CommandLine
from support.message_clients import Client
from support.processes import Canuse

FILE = """\
# PROJECT: Example
version: 1.0.0
features:
  - id: imported-calls
    name: Calls
    type: CONSUMABLE
  - id: imported-sso
    name: SSO
    type: BINARY
packages:
  draft:
    - id: imported-next
      name: Next
      features:
        - id: imported-sso
  published:
    - id: imported-team
      name: Team
      features:
        - id: imported-calls
          limit: 100
          overage_enabled: true
          reset_period: MONTH
        - id: imported-sso
          reset_period: MONTH
"""
EXPORT: dict[str, Any] = {
    "data": {
        "features": [{"id": "imported-calls", "unitLabel": "call", "unitLabelPlural": None, "metadata": {"a": 1}}],
        "packages": [{"id": "imported-team", "metadata": {"tier": "2"}}],
        "users": [
            {"id": "imported-1", "name": "Ada", "email": "ada@example.com", "billingId": "cus_1", "metadata": {}},
            {"id": "imported-2", "name": None, "email": None, "billingId": None, "metadata": {"seats": 5}},
        ],
        "subscriptions": [
            {"id": "1", "userId": "imported-1", "status": "CANCELLED", "package": {"id": "imported-team"}},
            {"id": "2", "userId": "imported-1", "status": "ACTIVE", "package": {"id": "imported-team"}},
            {"id": "3", "userId": "imported-2", "status": "PAST_DUE", "package": {"id": "imported-team"}},
        ],
        "usage": [{"userId": "imported-1", "featureId": "imported-calls", "used": 7}],
    }
}


def test_everything_is_imported_and_a_second_time_changes_nothing(
    canuse: Canuse, client: Client, tmp_path: Path
) -> None:
    run = CommandLine(canuse.address)
    (tmp_path / "kana.yaml").write_text(FILE)
    (tmp_path / "export.json").write_text(json.dumps(EXPORT))
    files = [str(tmp_path / name) for name in ("kana.yaml", "export.json")]
    done = run("import-kana", *files)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        "users: 2 created or changed, 2 in total",
        "subscriptions: 2 created, 2 in total",
        "counts: 1 set",
    ]
    feature = client.get_feature("imported-calls")
    assert (feature.name, feature.unit_label, dict(feature.metadata)) == ("Calls", "call", {"kana_json": '{"a":1}'})
    team = client.get_package("imported-team")
    assert (team.name, team.status, dict(team.metadata)) == ("Team", v1.PACKAGE_STATUS_PUBLISHED, {"tier": "2"})
    [calls, sso] = team.features
    assert (calls.limit, calls.overage_enabled, calls.reset_period) == (100, True, v1.RESET_PERIOD_MONTH)
    assert sso == v1.PackageFeature(feature_id="imported-sso", reset_period=v1.RESET_PERIOD_NEVER)
    assert client.get_package("imported-next").status == v1.PACKAGE_STATUS_DRAFT
    user = client.get_user("imported-1")
    assert (user.name, user.email, user.billing_id) == ("Ada", "ada@example.com", "cus_1")
    assert client.can_use("imported-1", "imported-calls").consumption.used == 7
    assert client.can_use("imported-2", "imported-sso").reason == v1.REASON_SUBSCRIPTION_INACTIVE
    done = run("import-kana", *files)
    assert done.stdout.splitlines() == [
        "features and packages: 0 changes",
        "users: 0 created or changed, 2 in total",
        "subscriptions: 0 created, 2 in total",
        "counts: 1 set",
    ]
    assert client.can_use("imported-1", "imported-calls").consumption.used == 7
    assert len(list(client.list_subscriptions("imported-1"))) == 1


def test_a_draft_beside_a_published_version_stays(canuse: Canuse, client: Client, tmp_path: Path) -> None:
    run = CommandLine(canuse.address)
    (tmp_path / "kana.yaml").write_text(FILE.replace("imported", "drafted"))
    (tmp_path / "export.json").write_text(json.dumps({"packages": [{"id": "drafted-team", "metadata": {"tier": "3"}}]}))
    files = [str(tmp_path / name) for name in ("kana.yaml", "export.json")]
    assert run("import-kana", str(tmp_path / "kana.yaml")).status == 0
    draft = client.update_package("drafted-team", features=[v1.PackageFeature(feature_id="drafted-sso")], name="Next")
    assert run("import-kana", *files).status == 0
    latest = client.get_package("drafted-team")
    assert (latest.status, latest.name, latest.features) == (v1.PACKAGE_STATUS_DRAFT, "Next", draft.features)
    assert dict(latest.metadata) == {}
    published = client.get_package("drafted-team", version=latest.published_version)
    assert (published.name, len(published.features), dict(published.metadata)) == ("Team", 2, {"tier": "3"})
    moved = FILE.replace("imported", "drafted").replace("  published:\n", "")
    (tmp_path / "kana.yaml").write_text(moved)
    done = run("import-kana", *files)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == "canuse: package 'drafted-team' is published and cannot become a draft again\n"


def test_a_mistake_in_a_file_imports_nothing(canuse: Canuse, client: Client, tmp_path: Path) -> None:
    run = CommandLine(canuse.address)
    file, export = tmp_path / "kana.yaml", tmp_path / "export.json"
    wrong_id = FILE.replace("imported-sso\n          reset", "nothing\n          reset")
    file.write_text(wrong_id.replace("imported", "refused"))
    wrong: dict[str, Any] = {
        "users": [{"id": 124}, {"id": "refused-1"}],
        "usage": [{"userId": "u", "featureId": "f", "used": -1}],
    }
    wrong["subscriptions"] = [{"id": "1", "userId": "refused-1", "status": "ACTIVE", "package": {"id": "gone"}}]
    export.write_text(json.dumps(wrong))
    done = run("import-kana", str(file), str(export))
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"canuse: {export}: users[0].id: must be a string",
        f"canuse: {export}: usage[0].used: must be a whole number from 0",
        "canuse: package 'refused-team', feature 'nothing': there is no such feature",
        "canuse: user 'refused-1' is subscribed to package 'gone', which is in no file",
    ]
    assert [user.id for user in client.list_users(id_prefix="refused")] == []
    for text, problem in (
        ("- 1", "must be a configuration"),
        ("a: [", ":1: "),
        ("a: 1\na: 2", "found duplicate key"),
        (r'users: [{id: "\ud800"}]', "values that JSON has"),
        ("users: [{id: a, name: 2026-01-31}]", "values that JSON has"),
    ):
        file.write_text(text)
        done = run("import-kana", str(file))
        assert done.status == 2
        assert problem in done.stderr
    for text, problem in (
        (
            "version: 1.0.0\naddons:\n  draft:\n    - {id: refused-more, base_packages: [[a]]}\n",
            "['a'] is not in the file",
        ),
        ("version: 1.0.0\nfeatures:\n  - {id: refused-1, type: BINARY, 5: 6}\n", "'5' is unknown"),
        (
            "subscriptions:\n  - {userId: refused-1, package: {id: refused-team}}",
            "subscriptions[0].status: must be a string",
        ),
        (f"users: [{{id: refused-1, metadata: {'[' * 120}{']' * 120}}}]", "users[0].metadata: must be JSON of at most"),
    ):
        file.write_text(text)
        done = run("import-kana", str(file))
        assert (done.status, done.stdout) == (2, "")
        assert problem in done.stderr
    file.write_text(FILE.replace("imported", "refused"))
    export.write_text("version: 1.0.0\nfeatures: []\n")
    done = run("import-kana", str(file), str(export))
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == f"canuse: {export}: there is another configuration already: give the file of kana pull once\n"
    done = run("import-kana", str(tmp_path / "missing.yaml"))
    assert (done.status, done.stderr) == (2, f"canuse: {tmp_path / 'missing.yaml'}: No such file or directory\n")
