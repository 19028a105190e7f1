"""Imports in the server go one way, and no folder is too large."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import canuse_server

ROOT: Final = Path(str(canuse_server.__file__)).parent
LAYERS: Final = (
    "domain",
    "runtime",
    "store",
    "api",
    "kana",
    "settings",
    "auth",
    "metrics",
    "access_log",
    "transport",
    "traces",
    "app",
    "cli",
)
"""Each may import those before it; `app` and `cli` are one layer."""
RANK: Final = {name: rank for rank, name in enumerate(LAYERS)} | {"cli": LAYERS.index("app")}
STORE_LAYERS: Final = (
    "errors",
    "keys",
    "codec",
    "scripts",
    "redis",
    "repositories",
    "trimming",
    "preflight",
    "embedded",
    "backup",
    "diagnosis",
)
"""The parts of the store: each may import those before it."""
STORE_RANK: Final = {name: rank for rank, name in enumerate(STORE_LAYERS)}
MAX_ENTRIES: Final = 16
GENERATED: Final = ("_pb2.py", "_pb2_grpc.py")


def modules() -> Iterator[Path]:
    """Yield the handwritten modules of the server."""
    return (path for path in sorted(ROOT.rglob("*.py")) if not path.name.endswith(GENERATED))


def imported(path: Path) -> Iterator[str]:
    """Yield the names of the server's modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("canuse_server"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> str:
    """Return the layer of a module by its name within the server."""
    return name.split(".")[1]


def test_no_layer_imports_one_above_it() -> None:
    upwards = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules()
        for name in imported(path)
        if path.parent != ROOT or path.stem in RANK
        if (own := path.relative_to(ROOT).with_suffix("").parts[0]) in RANK
        if layer(name) in RANK
        if RANK[layer(name)] > RANK[own]
    ]
    assert upwards == []


def test_every_folder_is_in_a_layer() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in modules() if path.parent != ROOT}
    assert folders <= set(LAYERS)


def test_no_part_of_the_store_imports_one_above_it() -> None:
    upwards = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules()
        if path.is_relative_to(ROOT / "store") and path.parent != ROOT / "store"
        for name in imported(path)
        if name.startswith("canuse_server.store.")
        if STORE_RANK[name.split(".")[2]] > STORE_RANK[path.relative_to(ROOT / "store").parts[0]]
    ]
    assert upwards == []


@pytest.mark.extended
def test_a_door_of_the_http_port_can_be_deleted_alone() -> None:
    http = ROOT / "transport" / "http"
    doors = [folder for folder in http.iterdir() if (folder / "__init__.py").exists()]
    assert doors
    needed = [
        f"{path.relative_to(ROOT)} imports {name}"
        for door in doors
        for path in modules()
        if not path.is_relative_to(door) and path != http / "app.py"
        for name in imported(path)
        if f"{name}.".startswith(f"canuse_server.transport.http.{door.name}.")
    ]
    assert needed == []


def test_no_folder_has_more_modules_than_a_reader_takes_in() -> None:
    for folder in {path.parent for path in modules()}:
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MAX_ENTRIES, folder
    top = [path for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"]
    assert len([path for path in top if not path.name.startswith("__")]) <= MAX_ENTRIES
