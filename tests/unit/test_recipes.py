"""The recipes in CONTRIBUTING: a check fails for each file that is forgotten, and names it."""

import importlib
import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from canuse import v1
from canuse.v1 import user_service_pb2
from canuse_server.api import hotpath, ratelimit
from canuse_server.api.endpoints import handlers_of
from canuse_server.api.errors import ErrorReason
from canuse_server.api.hotpath.methods import HOT_METHODS
from canuse_server.api.methods import method_at, method_of
from canuse_server.api.scopes import SCOPES
from canuse_server.api.services.users import UserServicer
from canuse_server.app import servicers
from canuse_server.runtime.fairness import PageScheduler
from canuse_server.settings import Settings
from canuse_server.transport import native
from support.selection import TRANSPORTS
from support.tools import ROOT

SERVER = ROOT / "server/canuse_server"
USERS = user_service_pb2.DESCRIPTOR.services_by_name["UserService"]


def modules(package: ModuleType) -> list[ModuleType]:
    """Return the modules of a package."""
    return [
        importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    ]


# An RPC: its scope and its servicer here; its client in tests/unit/test_exported_names.py, its request in
# tests/conformance/test_api_key_matrix.py.


def test_a_method_that_no_servicer_implements_keeps_the_server_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(UserServicer, "get_user")
    with pytest.raises(
        LookupError, match=r"api/services/users\.py: UserServicer has no method get_user for .*/GetUser"
    ):
        handlers_of(USERS, UserServicer(), PageScheduler())


def test_every_method_of_the_api_has_a_scope_and_every_service_a_servicer() -> None:
    files = [import_module(f"canuse.v1.{path.stem}") for path in Path(str(v1.__file__)).parent.glob("*_service_pb2.py")]
    source = Path(str(servicers.__file__)).read_text(encoding="utf-8")
    for file in files:
        for name, service in file.DESCRIPTOR.services_by_name.items():
            assert f'"{name}"' in source, f"app/servicers.py does not serve {service.full_name}"
            assert all(method_of(method).scopes for method in service.methods)


def test_every_list_is_read_page_by_page_in_the_test_of_lists() -> None:
    source = (ROOT / "tests/conformance/test_listing.py").read_text(encoding="utf-8")
    lists = {path.rpartition("/")[2] for path in SCOPES if method_at(path).paged}
    # Keys are made on a server of their own (tests/conformance/test_api_keys.py).
    assert [name for name in sorted(lists - {"ListApiKeys"}) if f".{name}," not in source] == []


# A reason: its sentence here; its numbers in tests/unit/test_enums.py, the table in tests/docs/test_docs_match.py.


def test_every_reason_has_a_sentence_in_explanations() -> None:
    source = (SERVER / "api/hotpath/explanation_steps.py").read_text(encoding="utf-8")
    missing = [name for name, _ in v1.Reason.items() if f"Reason.{name.removeprefix('REASON_')}:" not in source]
    assert missing == ["REASON_UNSPECIFIED"], "api/hotpath/explanation_steps.py"


def test_every_reason_of_an_error_has_a_test_that_provokes_it() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    missing = {reason.name for reason in ErrorReason if not re.search(rf"\b{reason.name}\b", tests)}
    # The caller of a call whose deadline has passed has given up, and sees an error of its own.
    assert missing - {ErrorReason.DEADLINE_PASSED.name} == set()


# A hot method: its class, and its place in the table.


def test_every_hot_method_is_in_the_table_of_the_lane() -> None:
    found = {
        value
        for module in (*modules(hotpath), *modules(ratelimit))
        for value in vars(module).values()
        if inspect.isclass(value) and isinstance(getattr(value, "path", None), str)
    }
    assert found == {type(method) for method in HOT_METHODS.values()}, "api/hotpath/methods.py"


# A transport: the setting, its module, its targets in the tests.


def test_every_transport_of_the_settings_is_tested() -> None:
    annotation: Any = Settings.model_fields["transport"].annotation
    assert set(get_args(annotation)) - {"auto"} == set(TRANSPORTS), "TRANSPORTS in tests/support/selection.py"


def test_transports_have_no_part_in_each_other_and_none_of_the_domain() -> None:
    for path in (SERVER / "transport").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "canuse_server.domain.decision" not in source, path
        assert path.is_relative_to(Path(native.__path__[0])) or "transport.native" not in source, path


# The recipes themselves.


def test_every_file_that_a_recipe_names_exists() -> None:
    _, _, recipes = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Recipes")
    recipes, _, _ = recipes.partition("\n## ")
    named = set(re.findall(r"`((?:server|client|tests|protos|docs|tools)/[\w./]+)`", recipes))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
