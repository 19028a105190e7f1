"""The programs in docs/languages.md that run in Node.js, on the example data."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documented_code import documented_program
from support.load import running
from support.npm import Npm
from support.processes import Canuse
from support.tools import ROOT


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with the example data."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
    with running(Canuse(tmp_path_factory.mktemp("demo"), "--demo", env=env)) as canuse:
        yield canuse


def test_the_program_in_typescript_has_strict_types_and_reads_an_answer_and_an_error(
    npm: Npm, programs: Path, demo: Canuse
) -> None:
    source = programs / "documented.ts"
    source.write_text(
        documented_program("docs/languages.md", "ts", {"http://127.0.0.1:50052": demo.http_url}), encoding="utf-8"
    )
    npm.run("tsc", "--project", programs)
    assert npm.node(programs / "documented.js").stdout == "true WITHIN_BUDGET 5n\nNotFound FEATURE_NOT_FOUND\n"


def test_the_program_without_generated_code_reads_an_answer(npm: Npm, programs: Path, demo: Canuse) -> None:
    script = programs / "documented_grpc.js"
    changes = {"127.0.0.1:50051": demo.address, '"protos"': f'"{ROOT / "protos"}"'}
    script.write_text(documented_program("docs/languages.md", "js", changes), encoding="utf-8")
    assert npm.node(script).stdout == "true REASON_WITHIN_BUDGET\n"
