"""The sessions in the README and in other pages are run line by line, and the README's Python as a program."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documented_code import code_blocks
from support.load import used
from support.message_clients import Client
from support.processes import Canuse
from support.tools import ROOT, tool


def story(page: str) -> list[tuple[str, list[str]]]:
    """Return the commands of the session on a page, each with the text that its output must contain."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(r"<!-- story:begin -->\n```sh\n(.*?)```\n<!-- story:end -->", text, re.DOTALL)
    assert found
    steps: list[tuple[str, list[str]]] = []
    command = ""
    for line in found[1].splitlines(keepends=True):
        if line.startswith("#> "):
            steps[-1][1].append(line[3:].strip())
        elif line.startswith("#") or not line.strip():
            continue
        else:
            command += line
            if command.count("'") % 2 == 0:
                steps.append((command, []))
                command = ""
    return steps


@pytest.fixture
def empty_server(tmp_path: Path) -> Iterator[Canuse]:
    """An empty server on the manual clock."""
    server = Canuse(tmp_path, "--clock", "manual", env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}).start()
    yield server
    server.stop()


def test_the_session_in_the_readme_happens_as_it_says(empty_server: Canuse) -> None:
    replaced = {"127.0.0.1:50051": empty_server.address, "grpcurl ": f"{tool('grpcurl')} "}
    assert checked_outputs("README.md", replaced) == 8


def test_the_session_with_curl_happens_as_it_says(empty_server: Canuse) -> None:
    replaced = {"http://127.0.0.1:50052": empty_server.http_url, "curl ": f"{tool('curl')} "}
    assert checked_outputs("docs/http.md", replaced) == 10


def test_the_session_with_kanas_graphql_happens_as_it_says(empty_server: Canuse) -> None:
    replaced = {"http://127.0.0.1:50052": empty_server.http_url, "curl ": f"{tool('curl')} "}
    assert checked_outputs("docs/kana.md", replaced) == 5


def checked_outputs(page: str, replaced: dict[str, str]) -> int:
    """Run the session on a page with some texts replaced; return how many texts were found in its output."""
    steps = story(page)
    definition = steps[0][0]
    for command, outputs in steps[1:]:
        script = f"{definition}\n{command}"
        for old, new in replaced.items():
            script = script.replace(old, new)
        completed = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
        assert completed.returncode == 0, completed.stderr
        for output in outputs:
            assert output in completed.stdout
    return sum(len(outputs) for _, outputs in steps)


@pytest.fixture
def demo_server(tmp_path: Path) -> Iterator[Canuse]:
    """A server with the example data."""
    server = Canuse(tmp_path, "--demo", env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}).start()
    yield server
    server.stop()


def test_the_call_with_curl_in_the_readme_is_answered(demo_server: Canuse) -> None:
    found = re.search(r"^curl .*?\}'\n", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    command = found[0].replace("http://127.0.0.1:50052", demo_server.http_url).replace("curl ", f"{tool('curl')} -sS ")
    answer = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert '"access": true' in answer


def test_the_python_in_the_readme_runs_on_the_example_data(demo_server: Canuse) -> None:
    [program] = code_blocks("README.md", "python")
    env = {**os.environ, "CANUSE_SERVER": demo_server.address}
    outputs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env).stdout
        for _ in range(6)
    ]
    # The example user has 5 messages a day.
    assert outputs[:5] == [""] * 5
    assert outputs[5].startswith("REASON_BUDGET_EXCEEDED Consumption(used=5")
    with Client(demo_server.address) as client:
        assert used(client, "124", "api-calls") == 18


def test_the_python_and_the_call_with_curl_about_openfeature_run_on_the_example_data(demo_server: Canuse) -> None:
    def here(text: str) -> str:
        return text.replace("http://127.0.0.1:50052", demo_server.http_url)

    page = "docs/openfeature.md"
    [program] = code_blocks(page, "python")
    printed = subprocess.run([sys.executable, "-c", here(program)], capture_output=True, text=True, check=True).stdout
    assert printed == "True WITHIN_BUDGET 5\n"
    [command] = code_blocks(page, "sh")
    command = here(command).replace("curl ", f"{tool('curl')} -sS ")
    answer = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout
    [shown] = [json.loads(block) for block in code_blocks(page, "json")]
    shown["metadata"]["resets_at"] = json.loads(answer)["metadata"]["resets_at"]
    assert json.loads(answer) == shown
