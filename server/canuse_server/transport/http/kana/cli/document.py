"""A file of Kana as a document for ApplyCatalog, with what is wrong with it."""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from canuse import v1
from canuse_server.api.errors import ApiError
from canuse_server.kana.config import Config, read_config
from canuse_server.kana.document import Stored, build
from canuse_server.transport.http.calls import in_worker
from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.cli.state import State

_PATH: Final = re.compile(r"packages\[(?P<package>\d+)\](?:\.features\[(?P<entry>\d+)\])?|features\[(?P<feature>\d+)\]")


class Document(NamedTuple):
    """What a file makes of the catalogue."""

    request: v1.ApplyCatalogRequest
    problems: list[str]
    missing: list[str]
    """What is in the catalogue and not in the file. It stays."""


async def read_document(calls: Calls, sent: dict[str, Any]) -> Document:
    """Return what a file makes of the catalogue as it is."""
    return await in_worker(_document, sent, await State.read(calls))


def _document(sent: dict[str, Any], state: State) -> Document:
    config = read_config(sent, {feature.id: feature.type for feature in state.features.values()})
    request, problems = build(config, Stored(state.features, state.latest, state.shown))
    return Document(request, problems, list(_missing(config, state)))


def _missing(config: Config, state: State) -> Iterator[str]:
    features = {feature_id for feature_id, _, _ in config.features}
    packages = {package.id for package in config.packages}
    for feature in state.listed_features():
        if feature.id not in features:
            yield f"feature {feature.id!r}"
    for package in state.listed_packages():
        is_addon = package.type == v1.PACKAGE_TYPE_ADD_ON
        if package.id not in packages and (config.has_addons or not is_addon):
            yield f"package {package.id!r}"


def problems_of(error: ApiError, request: v1.ApplyCatalogRequest) -> list[str]:
    """Return what is wrong with a request, with the names of packages and features in place of their paths."""
    if not error.violations:
        return [error.message]
    listed = "; ".join(f"{field}: {text}" for field, text in error.violations)
    unlisted = error.message[len(listed) :].removeprefix("; ")
    problems = [f"{_named(field, request)}: {text}" for field, text in error.violations]
    return [*problems, unlisted] if unlisted else problems


def _named(field: str, request: v1.ApplyCatalogRequest) -> str:
    found = _PATH.match(field)
    if found is None:
        return field
    rest = field[found.end() :]
    if found["package"] is None:
        return f"feature {request.features[int(found['feature'])].id!r}{rest}"
    package = request.packages[int(found["package"])]
    if found["entry"] is None:
        return f"package {package.id!r}{rest}"
    return f"package {package.id!r}, feature {package.features[int(found['entry'])].feature_id!r}{rest}"
