"""The examples of docs/frameworks.md are whole programs, and do what they say."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest
from httpx import ASGITransport, AsyncClient

import canuse
from canuse.testing import CanuseServer
from support.documented_code import code_blocks
from support.tools import ROOT

EXAMPLES = {path.name: path.read_text() for path in (ROOT / "examples/frameworks").glob("[!_]*.py")}


@pytest.fixture
def server(canuse_server: CanuseServer) -> CanuseServer:
    """A server with a user who may use each feature a few times."""
    features = {"reports": "1/month", "searches": "1/day", "emails": "2/day", "tokens": "100/never"}
    canuse_server.package("pro", features)
    canuse_server.user("124", "pro")
    return canuse_server


@pytest.fixture
def example(server: CanuseServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example that a test is named after, whose client calls the server."""
    name = f"examples.frameworks.{request.function.__name__.removeprefix('test_')}"
    # It may have been imported when CANUSE_SERVER was another one.
    monkeypatch.delitem(sys.modules, name, raising=False)
    return import_module(name)


DJANGO_CALLS = """
import django.test
from examples.frameworks import django_site

django.setup()
client = django.test.Client(headers={"Authorization": "Bearer 124"})
print(client.get("/").content, end=" ")
print(*[client.post(f"/reports?title={title}").status_code for title in ("", "Costs", "Sales")], end=" ")
print(client.get("/").content)
"""
"""Django's settings are those of a process: the example has one of its own."""


def test_each_example_is_short_and_in_the_docs() -> None:
    documented = code_blocks("docs/frameworks.md", "python")
    assert EXAMPLES
    for name, code in EXAMPLES.items():
        assert len(code.splitlines()) < 40, name
        assert code.rstrip() in {block.rstrip() for block in documented}, f"{name} differs from docs/frameworks.md"


async def test_fastapi_service(example: ModuleType) -> None:
    transport, headers = ASGITransport(example.app), {"Authorization": "Bearer 124"}
    async with AsyncClient(transport=transport, base_url="http://service", headers=headers) as page:
        codes = [(await page.post(f"/reports?title={title}")).status_code for title in ("", "Costs", "Sales")]
        searches = [await page.get(f"/search?text={text}") for text in ("nothing", "Costs")]
    assert codes == [422, 201, 402]
    assert [each.status_code for each in searches] == [200, 429]
    assert int(searches[1].headers["Retry-After"]) <= 24 * 60 * 60
    await example.app.state.canuse.close()


def test_the_site_of_django(server: CanuseServer) -> None:
    program = [sys.executable, "-c", DJANGO_CALLS]
    completed = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)
    assert completed.stdout == "b'<button>Create</button>' 422 201 402 b'Upgrade'\n", completed.stderr


def test_flask_service(example: ModuleType) -> None:
    with example.client:
        page = example.app.test_client()
        answers = [page.post(f"/reports?title={title}", headers={"X-User": "124"}) for title in ("", "Costs", "Sales")]
    assert [answer.status_code for answer in answers] == [422, 201, 402]
    assert answers[2].json["detail"].startswith("You have used all 1 reports.")
    assert answers[2].headers["RateLimit"].startswith('"reports";r=0;t=')


def test_celery_tasks(example: ModuleType, server: CanuseServer) -> None:
    task = example.send_email
    with example.client:
        results = [task.apply(("124", text), task_id=each).get() for text, each in (("a", "1"), ("a", "1"), ("b", "2"))]
        assert results == ["sent"] * 3
        assert task.apply(("124", "c"), task_id="3").get() == "REASON_BUDGET_EXCEEDED"
        server.jump_to_reset("124", "emails")
        failed = task.apply(("124", ""), task_id="4")
        assert isinstance(failed.result, ConnectionError)
    # Five retries later it is counted once.
    assert used(server, "emails") == (1, 0)


def test_model_tokens(example: ModuleType, server: CanuseServer) -> None:
    with example.client:
        assert example.answer_prompt("124", "hello " * 70) == ("hello " * 70).strip()
        with pytest.raises(ValueError, match="the prompt is empty"):
            example.answer_prompt("124", "")
        assert used(server, "tokens") == (70, 0)
        assert len(example.answer_prompt("124", "hello " * 70).split()) == 30
        with pytest.raises(canuse.AccessDenied, match="You have used all 100 tokens"):
            example.answer_prompt("124", "hello")
    assert used(server, "tokens") == (100, 0)


def used(server: CanuseServer, feature_id: str) -> tuple[int, int]:
    """Return what the user used and has reserved."""
    current = server.client.show_usage("124", feature_id).current
    assert current is not None
    return current.used, current.reserved
