"""/openapi.json, the API for programs, and /docs, a page that shows it and calls it."""

import json
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from canuse import v1
from canuse_server.transport.http.reference import ASSETS
from support.load import running
from support.message_clients import Client
from support.processes import Canuse
from support.tools import ROOT

ANY_PORT: Final = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
PROTOS: Final = sorted((ROOT / "protos/canuse/v1").glob("*.proto")) + sorted(
    (ROOT / "protos/canuse/testing").rglob("*.proto")
)
COMMENT: Final = re.compile(r"(?:^[ ]*//.*\n)+", re.MULTILINE)
CLOCK: Final = "/canuse.testing.v1.ClockService/"


@pytest.fixture(scope="module")
def canuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with the example data, on the manual clock."""
    folder = tmp_path_factory.mktemp("reference")
    with running(Canuse(folder, "--demo", "--clock", "manual", env=ANY_PORT)) as canuse:
        yield canuse


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    """The document, as a program gets it."""
    answer = http.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json()
    return found


def plain(text: str) -> str:
    """Return a text with its words as they follow each other."""
    return " ".join(text.split())


def texts(value: Any) -> Iterator[str]:
    """Yield the texts of a document for people."""
    if isinstance(value, dict):
        yield from (plain(text) for key, text in value.items() if key == "description" and isinstance(text, str))
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


@pytest.mark.parametrize("name", ["Int64", "google.protobuf.UInt64Value"])
def test_the_pattern_of_a_long_number_fits_its_bounds(document: dict[str, Any], name: str) -> None:
    """The patterns had 18 digits, so that answers with more did not match them."""
    schema = document["components"]["schemas"][name]
    low, high = schema["minimum"], schema["maximum"]
    for number in (low, high, 10**18, 0, 7):
        assert re.search(schema["pattern"], str(number))
    for text in (f"{high}0", "01", "", "+1", "1.0", "--1"):
        assert not re.search(schema["pattern"], text)


def test_every_comment_of_the_definitions_is_in_the_document(document: dict[str, Any]) -> None:
    described = "\n".join(texts(document))
    comments = [
        plain(comment.replace("//", " "))
        for path in PROTOS
        for comment in COMMENT.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(comments) > 400
    assert [comment for comment in comments if comment not in described] == []


def test_every_method_is_in_the_document_and_reads_with_get_as_well(
    document: dict[str, Any], http: httpx.Client
) -> None:
    assert {path.split("/")[1] for path in document["paths"]} == {
        "canuse.v1.EntitlementService",
        "canuse.v1.UsageService",
        "canuse.v1.CatalogService",
        "canuse.v1.UserService",
        "canuse.v1.SubscriptionService",
        "canuse.v1.ApiKeyService",
        "canuse.v1.AuditService",
        "canuse.testing.v1.ClockService",
        "canuse.testing.v1.StoreService",
        "envoy.service.ratelimit.v3.RateLimitService",
    }
    for path, item in document["paths"].items():
        allowed = http.put(path).headers["allow"]
        assert {name.upper() for name in item} == set(allowed.split(", "))


def test_a_server_on_the_system_clock_has_no_methods_that_set_it(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, env=ANY_PORT)) as canuse:
        document = httpx.get(f"{canuse.http_url}/openapi.json").json()
    assert [path for path in document["paths"] if path.startswith(CLOCK)] == []
    assert "ClockService" not in [tag["name"] for tag in document["tags"]]


def test_the_server_understands_every_example_of_a_request(document: dict[str, Any], http: httpx.Client) -> None:
    not_understood = {}
    for path, item in document["paths"].items():
        content = item["post"]["requestBody"]["content"].get("application/json")
        if (
            content is not None
            and (example := content["example"])
            and "…" not in json.dumps(example, ensure_ascii=False)
        ):
            answer = http.post(path, json=example).json()
            if answer.get("code") in ("invalid_argument", "not_found", "unimplemented"):
                not_understood[path] = answer["message"]
    assert not_understood == {}


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_other_script(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy.pop("frame-ancestors") == policy.pop("default-src") == "'none'"
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert not re.search(
        r"<style|style=|\bon\w+=|<script(?! type=\"module\" src=\"/docs/docs.js\"></script>)", page.text
    )
    loaded = set(re.findall(r'(?:src|href)="(/[^"]*)"', page.text)) - {"/openapi.json"}
    assert loaded <= {f"/docs/{name}" for name in ASSETS}
    for name, media_type in ASSETS.items():
        asset = http.get(f"/docs/{name}")
        assert (asset.status_code, asset.headers["content-type"]) == (200, with_charset(media_type))
        assert asset.headers["x-content-type-options"] == "nosniff"
        assert re.findall(r"https?://[^\"]*", asset.text) == (
            ["http://www.w3.org/2000/svg"] if name == "icon.svg" else []
        )
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", asset.text)


def with_charset(media_type: str) -> str:
    """Return a content type as it is sent."""
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def test_everybody_may_read_it_also_where_calls_need_a_key(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, env=ANY_PORT)) as canuse, Client(canuse.address) as client:
        client.create_api_key("first", ["keys:admin"], environment=v1.ENVIRONMENT_LIVE)
        with httpx.Client(base_url=canuse.http_url) as http:
            assert http.post("/canuse.v1.UserService/ListUsers", json={}).status_code == 401
            assert http.get("/docs").status_code == http.get("/openapi.json").status_code == 200
            assert http.head("/docs").status_code == 200
            written = http.post("/openapi.json", json={})
            assert (written.status_code, written.headers["allow"]) == (405, "GET, HEAD")


FOLLOWED: Final = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def test_a_link_on_another_site_may_lead_to_the_page_and_to_nothing_else(http: httpx.Client) -> None:
    assert http.get("/docs", headers=FOLLOWED).status_code == 200
    for path in ("/openapi.json", "/docs/docs.js", "/canuse.v1.UserService/ListUsers?encoding=json&message={}"):
        assert http.get(path, headers=FOLLOWED).status_code == 403
    for shown in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "no-cors"}, {"sec-fetch-dest": "image"}):
        assert http.get("/docs", headers={**FOLLOWED, **shown}).status_code == 403
    assert http.post("/docs", headers=FOLLOWED).status_code == 403
    assert http.get("/docs", headers={**FOLLOWED, "origin": "https://elsewhere.example"}).status_code == 403


@pytest.mark.extended
def test_the_document_is_valid(document: dict[str, Any]) -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator, validate  # noqa: PLC0415 - `make test` has it not

    validate(document, cls=OpenAPIV31SpecValidator)


MAX_SECONDS: Final = 500
SETTINGS: Final = """
# A deadline may be too short, and a disk too busy, for any call.
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", 503, 504]
[[operations]]
# Its requests would have to be envelopes.
include-path = "/canuse.v1.CatalogService/MigrateSubscriptions"
enabled = false
"""
OPTIONS: Final = (
    "--no-color",
    "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
    "--phases=examples,coverage,fuzzing",
    "--max-examples=3",
    "--seed=20261130",
)


@pytest.mark.extended
def test_the_server_does_what_the_document_says(canuse: Canuse, tmp_path: Path) -> None:
    """Schemathesis makes calls from the document, with right and wrong requests, and checks each answer."""
    program = Path(sysconfig.get_path("scripts"), "schemathesis")
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    completed = subprocess.run(
        [program, "run", f"{canuse.http_url}/openapi.json", *OPTIONS],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=MAX_SECONDS,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout[-8000:] + completed.stderr
    assert not canuse.failed_unexpectedly()
