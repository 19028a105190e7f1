"""The tables in the docs match the code: settings, errors, reasons."""

import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from grpc import StatusCode

from canuse import v1
from canuse_server.api.errors import ErrorReason
from canuse_server.cli.connection import Connection
from canuse_server.cli.operations.ops_port import Ops
from canuse_server.settings import Settings
from canuse_server.transport.http.errors import CODES
from canuse_server.transport.http.ofrep.errors import ErrorCode
from support.tools import ROOT

PAGES = {
    "settings": "docs/settings.md",
    "errors": "docs/errors.md",
    "reasons": "docs/api.md",
    "scopes": "docs/api.md",
    "public-methods": "docs/security.md",
    "metrics": "docs/metrics.md",
}

CHART_SCHEMA = "deploy/helm/canuse/values.schema.json"

TOOL = ROOT / "tools" / "docs_tables.py"


def docs_tables(*arguments: str) -> str:
    """Run the tool that writes the tables, and return its complaints."""
    try:
        runpy.run_path(str(TOOL))["main"](arguments)
    except SystemExit as end:
        return str(end.code)
    return ""


def rows(page: Path, name: str) -> list[list[str]]:
    """Return the cells of a table between its markers, without the header."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", text, re.DOTALL)
    assert found
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()[2:]]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the docs with all tables written anew."""
    folder = tmp_path_factory.mktemp("docs")
    for page in (*PAGES.values(), CHART_SCHEMA):
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / page, folder / page)
    assert docs_tables("--root", str(folder)) == ""
    return folder


def test_the_tables_in_the_docs_are_what_the_code_says() -> None:
    completed = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr


def test_every_setting_is_listed_with_its_names_and_its_default(written: Path) -> None:
    listed = {row[0].strip("`"): row for row in rows(written / "docs/settings.md", "settings")}
    assert list(listed) == list(Settings.model_fields)
    for name, row in listed.items():
        assert row[2] == f"`CANUSE_{name.upper()}`"
        assert row[4].startswith(Settings.model_fields[name].description or "?")
    assert listed["listen"][1:4] == ["`--listen`", "`CANUSE_LISTEN`", "`127.0.0.1:50051`"]
    assert listed["redis_url"][3] == "none"
    assert listed["http_cors_origins"][3] == '`""`'
    assert listed["demo"][3] == "`false`"
    assert listed["durability_replicas"][1] == ""
    assert listed["durability_replicas"][3] == "`1`"
    assert listed["durability_replicas"][4].endswith(" 1 to 100.")
    assert listed["fsync"][4].endswith("One of `everysec`, `always`.")
    assert listed["store_timeout_seconds"][4].endswith("More than 0, at most 60.")


def test_every_error_is_listed_with_its_status_and_what_to_do(written: Path) -> None:
    assert rows(written / "docs/errors.md", "errors") == [
        [f"`{reason.name}`", f"`{reason.status.name}`", str(CODES[reason.status].http_status), reason.value.advice]
        for reason in ErrorReason
    ]


def test_every_reason_is_listed_with_what_to_do(written: Path) -> None:
    listed = {row[0].strip("`"): row for row in rows(written / "docs/api.md", "reasons")}
    assert {name: int(row[1]) for name, row in listed.items()} == dict(v1.Reason.items()[1:])
    for name, row in listed.items():
        number = v1.Reason.Value(name)
        assert row[2].startswith("Yes: " if number < 10 else "No: " if number < 20 else "Either: ")
        assert row[2].endswith(".")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_table_that_is_not_what_the_code_says_is_found(written: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    assert docs_tables("--check", "--root", str(tmp_path)) == ""
    page = tmp_path / PAGES[name]
    page.write_text(page.read_text(encoding="utf-8").replace(f"<!-- {name}:end -->", f"| x |\n<!-- {name}:end -->"))
    complaint = docs_tables("--check", "--root", str(tmp_path))
    assert complaint.splitlines()[1:] == [f"{PAGES[name]}: {name}"]
    page.write_text(page.read_text(encoding="utf-8").replace(f"<!-- {name}:begin -->", ""))
    assert f"<!-- {name}:begin -->" in docs_tables("--check", "--root", str(tmp_path))


def test_the_sample_of_all_settings_has_the_defaults(tmp_path: Path) -> None:
    """As it is, and with every setting that has a default given."""
    sample = ROOT / "deploy/canuse.toml"
    assert Settings.load(sample, {}).model_dump() == Settings.load(None, {}).model_dump()
    given = re.sub(r"^#(?=\w)", "", sample.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert list(tomllib.loads(given)) == list(Settings.model_fields)
    config = tmp_path / "canuse.toml"
    config.write_text(re.sub(r'^(?!http_listen|ops_listen)\w+ = ""$', "", given, flags=re.MULTILINE))
    settings = Settings.load(config, {})
    assert settings.model_dump() == Settings.load(None, {}).model_dump()
    assert len(settings.model_fields_set) > len(Settings.model_fields) / 2


def test_every_setting_reason_and_error_that_a_page_speaks_of_is_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    known = {reason.name for reason in ErrorReason} | {name for name, _ in v1.Reason.items()}
    known |= {name.removeprefix("REASON_") for name, _ in v1.Reason.items()}
    known |= {status.name for status in StatusCode} | {code.value for code in ErrorCode}
    known |= {f"CANUSE_{name.upper()}" for name in Settings.model_fields}
    known |= {get_args(option.type)[1].envvar for option in fields(Connection)} | {"CANUSE_CONFIG"}
    known.add(get_args(Ops)[1].envvar)
    for module in (ROOT / "client" / "canuse" / "django").rglob("*.py"):
        known |= set(re.findall(r'"(CANUSE_[A-Z_]+)"', module.read_text(encoding="utf-8")))
    suffixes = ("_FOUND", "_EXISTS", "_REUSED", "_UNAVAILABLE", "_UNKNOWN", "_EXCEEDED", "_ENTITLED", "_OUT_OF_RANGE")
    for page in pages:
        for word in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", page.read_text(encoding="utf-8")):
            if word.startswith(("REASON_", "CANUSE_")) or word.endswith(suffixes):
                assert word in known, f"{page.name}: {word}"


def test_the_chart_accepts_the_settings_that_exist_and_no_others(written: Path, tmp_path: Path) -> None:
    settings = json.loads((written / CHART_SCHEMA).read_text(encoding="utf-8"))["properties"]["settings"]
    assert settings["additionalProperties"] is False
    assert set(settings["properties"]) < set(Settings.model_fields)
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    schema = tmp_path / CHART_SCHEMA
    schema.write_text(schema.read_text(encoding="utf-8").replace('"maximum": 256', '"maximum": 257'), encoding="utf-8")
    assert docs_tables("--check", "--root", str(tmp_path)).splitlines()[1:] == [CHART_SCHEMA]
