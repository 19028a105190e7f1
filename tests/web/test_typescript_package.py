"""The package for TypeScript as its callers see it: its types, its README, and what it has in common with Python."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import AccessDenied, CanUseAnswer, Reason, v1
from support.browser import Site
from support.documented_code import code_blocks
from support.load import running
from support.message_clients import Client
from support.npm import PACKAGES, Npm
from support.processes import Canuse

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

README: Final = "client/typescript/README.md"
PRINTED: Final = """\
used
Hello,-Ada
false
false BUDGET_EXCEEDED 3
You have 3 messages left, which is not enough. BUDGET_EXCEEDED
NOT_FOUND nobody
the service answered
API calls, Messages, Single sign-on
"""


@pytest.fixture(scope="module")
def demo(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with the example data, which the pages of one origin may call."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_CORS_ORIGINS": site.origin}
    with running(Canuse(tmp_path_factory.mktemp("demo"), "--demo", env=env)) as canuse:
        yield canuse


def test_a_caller_compiles_with_the_strictest_options_and_mistakes_do_not(npm: Npm, package: Path) -> None:
    folder = package / "caller"
    folder.mkdir()
    (folder / "caller.ts").write_bytes((PACKAGES / "caller.ts").read_bytes())
    options = {
        "target": "ES2022",
        "module": "NodeNext",
        "lib": ["ES2022", "DOM"],
        "types": [],
        "strict": True,
        "exactOptionalPropertyTypes": True,
        "noUncheckedIndexedAccess": True,
        "noPropertyAccessFromIndexSignature": True,
        "noEmit": True,
    }
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options}), encoding="utf-8")
    npm.run("tsc", "--project", folder)


def test_the_readme_is_one_program_that_does_what_it_says(npm: Npm, programs: Path, demo: Canuse) -> None:
    source = programs / "readme.ts"
    source.write_text("\n".join(code_blocks(README, "ts")), encoding="utf-8")
    npm.run("tsc", "--project", programs)
    printed = npm.node(programs / "readme.js", env={"CANUSE_URL": demo.http_url, "CANUSE_API_KEY": ""}).stdout
    assert printed == PRINTED


async def test_the_page_of_the_readme_shows_what_its_user_may_use(
    npm: Npm, programs: Path, demo: Canuse, site: Site, page: "Page"
) -> None:
    [example] = code_blocks(README, "js")
    assert "http://127.0.0.1:50052" in example
    source = programs / "readme_page.js"
    source.write_text(example.replace("http://127.0.0.1:50052", demo.http_url), encoding="utf-8")
    body = '<button id="send" disabled>Send</button><p id="sso"></p>'
    path = site.add("readme-page", npm.bundle(source, programs / "bundle" / "readme_page.js"), body)
    with Client(demo.address) as client:
        token = client.generate_user_token("124").token

    async def answer(route: "Route") -> None:
        await route.fulfill(body=token)

    await page.route("**/token", answer)
    await page.goto(site.origin + path)
    await page.wait_for_function("document.querySelector('#sso').textContent === 'in pro'")
    assert await page.is_enabled("#send")


def test_the_sentences_for_end_users_are_those_of_python(npm: Npm, programs: Path) -> None:
    at = Timestamp(seconds=1_738_326_600)
    counts = [
        None,
        v1.Consumption(used=3),
        v1.Consumption(budget=0, remaining=0),
        v1.Consumption(used=3, budget=5, remaining=2, resets_at=at),
        v1.Consumption(used=3, budget=5, remaining=0, reserved=2, resets_at=at),
        v1.Consumption(used=5, budget=5, remaining=0, resets_at=at),
        v1.Consumption(used=5, budget=5, remaining=0),
    ]
    names: list[str | None] = [None, "API calls"]
    asked, expected = [], []
    for (name, reason), consumption, feature_name in product(v1.Reason.items(), counts, names):
        answer = CanUseAnswer.from_message(v1.CanUseResponse(reason=reason, consumption=consumption), "api-calls_x")
        with pytest.raises(AccessDenied) as denied:
            answer.raise_if_denied(feature_name)
        expected.append(str(denied.value))
        shown = None if consumption is None else as_answer(consumption)
        short = name.removeprefix("REASON_")
        asked.append(
            [{"access": False, "reason": short, "consumption": shown, "featureId": "api-calls_x"}, feature_name]
        )
    assert len(set(expected)) > len(Reason)
    script = programs / "sentences.mjs"
    script.write_text(
        """\
import { readFileSync } from "node:fs";
import { throwIfDenied } from "canuse";
const said = JSON.parse(readFileSync(process.argv[2], "utf8")).map(([answer, name]) => {
  const { resetsAt } = answer.consumption ?? {};
  if (resetsAt) answer.consumption.resetsAt = new Date(resetsAt);
  try {
    throwIfDenied(answer, name ?? undefined);
  } catch (error) {
    return error.message;
  }
});
console.log(JSON.stringify(said));
""",
        encoding="utf-8",
    )
    (programs / "answers.json").write_text(json.dumps(asked), encoding="utf-8")
    assert json.loads(npm.node(script, str(programs / "answers.json")).stdout) == expected


def as_answer(consumption: v1.Consumption) -> dict[str, object]:
    """Return counts as the answers of the client for TypeScript have them."""
    as_json = MessageToDict(consumption, always_print_fields_with_no_presence=True)
    numbers = {name: int(as_json[name]) if name in as_json else None for name in ("used", "budget", "remaining")}
    return {**numbers, "resetsAt": as_json.get("resetsAt")}
