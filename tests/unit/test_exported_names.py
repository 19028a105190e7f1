"""The public surface: everything public is exported and nothing else, and both clients offer the same methods."""

import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import canuse
import canuse.testing
from canuse import AsyncClient, Client, v1

SERVICES = (
    "EntitlementService",
    "UsageService",
    "CatalogService",
    "UserService",
    "SubscriptionService",
    "ApiKeyService",
    "AuditService",
)


MORE = ("attach", "entitlements", "leases", "limited", "recorder", "using")
"""Methods for common jobs, which are no RPCs."""


def generated_names(package: ModuleType) -> set[str]:
    """Return every message, enum, enum value and stub of the generated modules in a package."""
    names: set[str] = set()
    for path in Path(str(package.__file__)).parent.glob("*_pb2*.py"):
        module = import_module(f"{package.__name__}.{path.stem}")
        if path.stem.endswith("_pb2_grpc"):
            names.update(name for name in vars(module) if name.endswith("Stub"))
            continue
        enums = module.DESCRIPTOR.enum_types_by_name
        names.update(module.DESCRIPTOR.message_types_by_name, enums)
        names.update(value for enum in enums.values() for value in enum.values_by_name)
    return names


def public_methods(kind: type) -> dict[str, inspect.Signature]:
    """Return the signatures of the public methods."""
    members = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(method) for name, method in members if not name.startswith("_")}


@pytest.mark.parametrize("package", [v1, canuse.testing.v1], ids=lambda package: package.__name__)
def test_a_package_of_the_api_exports_all_that_is_generated_and_nothing_else(package: ModuleType) -> None:
    assert set(package.__all__) == generated_names(package)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize(
    "package", [canuse, canuse.testing, v1, canuse.testing.v1], ids=lambda package: package.__name__
)
def test_exports_are_listed_once_and_exist(package: ModuleType) -> None:
    assert len(package.__all__) == len(set(package.__all__))
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert package.__doc__


def public_classes(module: ModuleType) -> set[str]:
    """Return the names of the public classes that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def test_the_client_library_exports_the_clients_the_answers_the_errors_and_the_api() -> None:
    classes = public_classes(canuse.errors) | public_classes(canuse.answers) | public_classes(canuse.enums)
    others = {"Client", "AsyncClient", "Tls", "channel_options", "service_config", "v1", "__version__"}
    others |= {"HeldLease", "HeldLeases", "Lease", "NewApiKey", "Retry", "Use", "UserToken"}
    assert set(canuse.__all__) == others | classes
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", canuse.__version__)


def test_every_class_and_every_method_says_what_it_is_for() -> None:
    classes = [value for name in canuse.__all__ if inspect.isclass(value := getattr(canuse, name))]
    for kind in classes:
        assert kind.__doc__, kind
        assert kind.__doc__ not in {base.__doc__ for base in kind.__mro__[1:]}, kind
    for kind in (Client, AsyncClient):
        assert [name for name in public_methods(kind) if not getattr(kind, name).__doc__] == []


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    sync, asynchronous = public_methods(Client), public_methods(AsyncClient)
    assert sync.keys() == asynchronous.keys()
    for name, signature in sync.items():
        assert signature.parameters == asynchronous[name].parameters, name


def test_both_clients_say_the_same_about_each_method() -> None:
    for name in ["__init__", *public_methods(Client)]:
        said = str(inspect.getdoc(getattr(Client, name)))
        assert "await" not in said, name
        assert "async" not in said, name
        assert str(inspect.getdoc(getattr(AsyncClient, name))).replace("async for", "for") == said, name


def snake_case(name: str) -> str:
    """Return the name of an RPC as the clients spell it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def modules_of(rpcs: Iterable[str]) -> str:
    """Return the modules in which the methods for some RPCs are written; for a new service the folder."""
    methods = [getattr(AsyncClient, snake_case(rpc), None) for rpc in rpcs]
    modules = {inspect.getmodule(inspect.unwrap(method)) for method in methods if method}
    names = [f"{module.__name__.replace('.', '/')}.py" for module in modules if module]
    return " or ".join(f"client/{name}" for name in sorted(names)) or (
        "a new module in client/canuse/_async, whose class is a base of both clients"
    )


def test_the_clients_have_a_method_for_every_rpc() -> None:
    files = [import_module(f"canuse.v1.{path.stem}") for path in Path(str(v1.__file__)).parent.glob("*_service_pb2.py")]
    services = {name: service for file in files for name, service in file.DESCRIPTOR.services_by_name.items()}
    assert set(services) == set(SERVICES)
    missing = [
        f"{service}.{rpc}: write {snake_case(rpc)} in {modules_of(descriptor.methods_by_name)}, then run `make protos`"
        for service, descriptor in services.items()
        for rpc in descriptor.methods_by_name
        if not hasattr(AsyncClient, snake_case(rpc))
    ]
    assert not missing, "\n".join(missing)
    rpcs = {rpc for descriptor in services.values() for rpc in descriptor.methods_by_name}
    assert public_methods(AsyncClient).keys() - {"close", *MORE} == set(map(snake_case, rpcs))
    assert public_methods(Client).keys() == public_methods(AsyncClient).keys(), "run `make protos`"
