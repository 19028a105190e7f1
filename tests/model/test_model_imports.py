"""The model shares no code with the server that it is compared with."""

import ast
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
HARNESS: Final = {
    "base_machine",
    "conversion",
    "lease_rules",
    "machine",
    "package_rules",
    "runner",
    "strategies",
    "system_under_test",
}
"""Modules that connect the server with the model."""


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports from; of other packages the first part of the name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return {name if name.startswith("model.") else name.partition(".")[0] for name in found}


def test_the_model_imports_python_itself_the_api_s_numbers_and_nothing_of_the_server() -> None:
    seen, ahead = set(), ["model"]
    while ahead:
        name = ahead.pop()
        seen.add(name)
        for module in imported(FOLDER / f"{name}.py") - sys.stdlib_module_names:
            assert module == "canuse" or module.startswith("model."), f"{name} imports {module}"
            if module.startswith("model.") and (other := module.removeprefix("model.")) not in seen:
                ahead.append(other)
    assert not seen & HARNESS
