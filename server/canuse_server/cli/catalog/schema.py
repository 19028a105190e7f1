"""The JSON schema of a catalogue's file."""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

Path = tuple[str, ...]
"""The keys that lead to a place in the file."""

REDUNDANT: Final = ("per", "reset_period")
MAX_SHOWN: Final = 40
"""Maximum number of characters of a wrong value that are told."""


def text() -> str:
    """Return the schema as it is packaged."""
    return (files("canuse_server.cli.catalog") / "schema.json").read_text(encoding="utf-8")


@cache
def schema() -> dict[str, Any]:
    """Return the schema."""
    found: dict[str, Any] = json.loads(text())
    return found


def problems_of(document: Any) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong in a document, with its place."""
    for error in Draft202012Validator(schema()).iter_errors(document):
        place = tuple(map(str, error.absolute_path))
        if error.validator == "additionalProperties":
            yield from _unknown_keys(error, place)
        else:
            yield place, _text(error)
    if isinstance(document, dict):
        yield from _contradictions(document)


def _unknown_keys(error: ValidationError, place: Path) -> Iterator[tuple[Path, str]]:
    accepted, found = cast("Any", error.schema)["properties"], cast("dict[str, Any]", error.instance)
    for key in found:
        if key not in accepted:
            yield (*place, key), f"unknown; accepted here are {', '.join(accepted)}"


_KINDS: Final = {
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "a text, in quotes if it looks like something else",
}


def _text(error: ValidationError) -> str:
    """Return what is accepted at a place, and what is there."""
    failed = cast("Any", error)
    validator, rule, found, part = failed.validator, failed.validator_value, failed.instance, failed.schema
    if validator == "required":
        missing = next(key for key in rule if key not in found)
        choices = part["properties"][missing].get("enum", ())
        return f"{missing} is missing" + (f": {_one_of(choices)}" if choices else "")
    if validator == "enum":
        accepted = _one_of(rule)
    elif validator == "type":
        kind = rule if isinstance(rule, str) else rule[0]
        accepted = _mapping(part) if kind == "object" else _KINDS[kind]
    elif validator in ("minimum", "maximum"):
        accepted = f"{part['minimum']} to 2^53 - 1"
    else:
        return error.message
    return f"must be {accepted}; {_shown(found)} was given"


def _mapping(part: Any) -> str:
    if keys := part.get("properties"):
        return f"a mapping with {', '.join(keys)}"
    what = part["description"].split(".")[0]
    return f"a mapping: {what[0].lower()}{what[1:]}"


def _one_of(choices: Sequence[str]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def _shown(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", type(None): "nothing", bool: str(value).lower()}
    text = kinds.get(type(value)) or repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _contradictions(document: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for package_id, package in _items(document.get("packages")):
        place = ("packages", package_id)
        if "draft" in package and package.get("status", "published") != "published":
            yield (*place, "draft"), "only for a package whose status is published"
        versions = [(place, package), ((*place, "draft"), package.get("draft"))]
        for version_place, version in versions:
            if not isinstance(version, dict):
                continue
            for feature_id, entry in _items(version.get("features")):
                if set(REDUNDANT) <= entry.keys():
                    yield (*version_place, "features", feature_id, "per"), "give either per or reset_period"


def _items(value: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(key, item) for key, item in value.items() if isinstance(item, dict)] if isinstance(value, dict) else []
