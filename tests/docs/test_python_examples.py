"""The Python in the docs and in the docstrings of the clients runs on the example data."""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import canuse
from support.documented_code import code_blocks
from support.load import running
from support.processes import Canuse

pytestmark = pytest.mark.extended

CALLS_OF_THE_PAGE = """
from starlette.testclient import TestClient

client.ensure_user("grace", package_id="team")
with TestClient(app) as page:
    answers = [page.post("/users/grace/reports?title=Costs") for _ in range(3)]
assert [answer.status_code for answer in answers] == [200, 200, 402], answers
assert answers[2].json()["detail"].startswith("You have used all 2 reports. You get more on ")
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with the example data."""
    with running(Canuse(tmp_path_factory.mktemp("demo"), "--demo")) as server:
        yield server


def output(program: str, server: Canuse) -> list[str]:
    """Run a program that finds the server by its environment, and return what it printed."""
    env = {**os.environ, "CANUSE_SERVER": server.address}
    command = [sys.executable, "-W", "ignore", "-c", program]
    completed = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.splitlines()


def test_the_quick_start_is_one_program_that_does_what_it_says(demo: Canuse) -> None:
    denied, *features = output("\n".join(code_blocks("docs/python.md", "python")) + CALLS_OF_THE_PAGE, demo)
    assert denied.startswith("You have used all 2 reports. You get more on ")
    assert features == [
        "api-calls REASON_NOT_ENTITLED pro starter",
        "messages REASON_NOT_ENTITLED pro starter",
        "reports REASON_BUDGET_EXCEEDED",
        "sso REASON_NOT_ENTITLED pro",
    ]


def test_the_examples_of_the_client_s_page_are_one_program(demo: Canuse) -> None:
    program = "\n".join(code_blocks("docs/client.md", "python")).replace("127.0.0.1:50051", demo.address)
    used, asynchronous, error, stub = output(program, demo)
    assert used.startswith("2 used, 3 left until 20")
    assert error.startswith("FEATURE_NOT_FOUND ")
    assert (asynchronous, stub) == ("True", "True")


def test_the_examples_of_local_decisions_are_one_program(tmp_path: Path) -> None:
    # They use all calls of the user, which other examples need.
    with running(Canuse(tmp_path, "--demo")) as demo:
        assert output("\n".join(code_blocks("docs/leases.md", "python")), demo) == ["0 0"]


def test_the_examples_of_answers_without_canuse_run(demo: Canuse, tmp_path: Path) -> None:
    for program, printed in zip(
        code_blocks("docs/unavailable.md", "python"), ("not checked: SOURCE_FALLBACK ", "recorded later: "), strict=True
    ):
        here = "import canuse\n" + program.replace("usage-spool", str(tmp_path / "spool"))
        # The recorder ends when it is closed, and the program with it.
        end = "\nrecorder.close(0)" if "recorder" in program else ""
        assert output(here + end, demo) == []
        nobody = here.replace("canuse.Client(", "canuse.Client('127.0.0.1:1', ").replace("', )", "')")
        assert output(nobody + end, demo)[0].startswith(printed)


def documented() -> dict[str, Any]:
    """Return everything public of the package that has a docstring, by name."""
    found: dict[str, Any] = {"canuse": canuse}
    for name in canuse.__all__:
        value = getattr(canuse, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            found[name] = value
        if inspect.isclass(value) and issubclass(value, canuse.Client | canuse.AsyncClient):
            methods = inspect.getmembers(value, inspect.isfunction)
            found |= {f"{name}.{each}": method for each, method in methods if not each.startswith("_")}
    return found


def examples() -> Iterator[Any]:
    """Yield the indented paragraphs of docstrings; sections like `Args:` have no empty line before them."""
    for name, value in documented().items():
        for paragraph in re.split(r"\n[ \t]*\n", inspect.getdoc(value) or ""):
            if paragraph.startswith("    "):
                yield pytest.param(textwrap.dedent(paragraph), name.startswith("AsyncClient"), id=name)


EXAMPLES = list(examples())


def test_the_docstrings_have_examples() -> None:
    assert {"canuse", "Client", "AsyncClient", "Client.limited"} <= {example.id for example in EXAMPLES}


@pytest.mark.parametrize(("example", "asynchronous"), EXAMPLES)
async def test_an_example_in_a_docstring_runs(demo: Canuse, example: str, asynchronous: bool) -> None:
    if example.startswith("@"):
        example += "\ndef function(user_id): ..." if not asynchronous else "\nasync def function(user_id): ..."
    program = example.replace("localhost:50051", demo.address)
    code = compile(program, "docstring", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    client = canuse.AsyncClient(demo.address) if asynchronous else canuse.Client(demo.address)
    names: dict[str, Any] = {"canuse": canuse, "client": client, "target": demo.address}
    exec("import grpc\nimport grpc.aio", names)
    result = eval(code, names)
    if asyncio.iscoroutine(result):
        await result
    for closed in {id(names["client"]): names["client"], id(client): client}.values():
        if isinstance(closed, canuse.AsyncClient):
            await closed.close()
        else:
            closed.close()
