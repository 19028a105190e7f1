"""The stored format of features, packages, grants and profiles: JSON, so that people can read it with redis-cli.

A newer canuse on the same store may have written fields and enum values that this version does not know. Both are read,
kept and written back; `domain/model.py` describes their effect.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from enum import IntEnum
from typing import Any, Final, TypeVar

import structlog

from canuse_server.domain.model import (
    Feature,
    FeatureType,
    Grant,
    OnUnavailable,
    Package,
    PackageFeature,
    PackageStatus,
    PackageType,
    Profile,
    ResetPeriod,
)
from canuse_server.runtime.once import Once
from canuse_server.store.errors import StoreError

log = structlog.get_logger(__name__)

_Item = TypeVar("_Item", Feature, Package, PackageFeature, Grant, Profile)
_Kind = type[Feature] | type[Package] | type[PackageFeature] | type[Grant] | type[Profile]
_ENUMS: Final[Mapping[_Kind, Mapping[str, type[IntEnum]]]] = {
    Feature: {"type": FeatureType, "on_unavailable": OnUnavailable},
    Package: {"type": PackageType, "status": PackageStatus},
    PackageFeature: {"reset_period": ResetPeriod},
    Grant: {},
    Profile: {},
}
# A dictionary is several times as fast as calling the enum.
_MEMBERS: Final[dict[type, dict[str, dict[int, IntEnum]]]] = {
    kind: {name: {member.value: member for member in enum} for name, enum in enums.items()}
    for kind, enums in _ENUMS.items()
}
_NAMES: Final[dict[type, frozenset[str]]] = {
    kind: frozenset(field.name for field in fields(kind)) - {"unknown"} for kind in _ENUMS
}
_TEXTS: Final = ("id", "feature_id", "name", "unit_label", "unit_label_plural", "email", "billing_id", "note")
_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("archived", "overage_enabled"), bool),
    "features": list,
    "metadata": dict,
}
"""The types of fields by name; other fields are integers."""
_OPTIONAL: Final = frozenset({"limit", "amount", "expires_at_ms", "revoked_at_ms"})
_MAX_INTEGER: Final = 2**53
_MAX_VALUES: Final = dict.fromkeys(("version", "published_version", "priority"), 2**31 - 1)
"""Maximum values of fields that have 32 bits in the API."""
_LOGGED: Final = Once()


class UnreadableError(StoreError):
    """A document in the store is unreadable."""


def encode(item: Feature | Package | Profile | Grant) -> bytes:
    """Return an item in its stored format, without empty fields."""
    document = {name: value for name, value in _document(item).items() if not _is_empty(value)}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def decode_feature(value: bytes) -> Feature:
    """Read a feature; raise UnreadableError."""
    return _make(Feature, read_document(value))


def decode_package(value: bytes) -> Package:
    """Read a package; raise UnreadableError."""
    document = read_document(value)
    entries = document.get("features", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnreadableError("the features of a package are not a list of objects")
    package = _make(Package, {**document, "features": []})
    # The package is frozen, but nothing else has a reference to it yet.
    object.__setattr__(package, "features", tuple([_make(PackageFeature, entry) for entry in entries]))
    return package


def decode_grant(value: bytes) -> Grant:
    """Read a grant; raise UnreadableError."""
    return _make(Grant, {"amount": None, **read_document(value)})


def decode_profile(value: bytes) -> Profile:
    """Read a profile; raise UnreadableError."""
    return _make(Profile, read_document(value))


def note_unreadable(kind: str, item_id: str, error: UnreadableError) -> None:
    """Log once that a document is unreadable."""
    if _LOGGED.is_new((kind, item_id, str(error))):
        log.error("unreadable document in the store: it gives no access", what=kind, id=item_id, cause=str(error))


def note_unknown(kind: str, item_id: str, field: str, value: object) -> None:
    """Log once that a field has a value that this version of canuse does not know."""
    if _LOGGED.is_new((kind, item_id, field, value)):
        text = "a value in the store comes from a newer version of canuse: it gives no access"
        log.warning(text, what=kind, id=item_id, field=field, value=value)


def _document(item: Feature | Package | PackageFeature | Profile | Grant) -> dict[str, Any]:
    document = {field.name: getattr(item, field.name) for field in fields(item) if field.name != "unknown"}
    if isinstance(item, Package):
        document["features"] = [_document(entry) for entry in item.features]
    return document | dict(item.unknown or {})


def read_document(value: bytes) -> dict[str, Any]:
    """Read a JSON object whose strings are valid UTF-8; raise UnreadableError, whose text quotes nothing of it."""
    try:
        document = json.loads(value)
        if b"\\u" in value:
            # Only an escape can produce a lone surrogate, which UTF-8 cannot encode.
            json.dumps(document, ensure_ascii=False).encode()
    except ValueError as error:
        raise UnreadableError(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnreadableError("it is not a JSON object")
    return document


def _make(kind: type[_Item], document: Mapping[str, Any]) -> _Item:
    """Return the item of a document, with enum members for known numbers, and with the unknown fields."""
    names, members = _NAMES[kind], _MEMBERS[kind]
    known = {name: value for name, value in document.items() if name in names}
    for name, value in known.items():
        _check(name, value)
        if name in members:
            known[name] = members[name].get(value, value)
            if value not in members[name]:
                note_unknown(kind.__name__.lower(), str(document.get("id", document.get("feature_id"))), name, value)
    if len(known) < len(document):
        known["unknown"] = {name: value for name, value in document.items() if name not in names}
    try:
        return kind(**known)
    except TypeError as error:
        raise UnreadableError(f"a field is missing: {error}") from None


def _check(name: str, value: object) -> None:
    expected = _TYPES.get(name, int)
    if value is None and name in _OPTIONAL:
        return
    valid = isinstance(value, expected)
    if valid and isinstance(value, int):
        valid = -_MAX_INTEGER <= value <= _MAX_VALUES.get(name, _MAX_INTEGER)
    elif valid and isinstance(value, dict) and value:
        valid = all(isinstance(text, str) for text in value.values())
    if not valid:
        raise UnreadableError(f"its field {name} has an invalid value")


def _is_empty(value: object) -> bool:
    """Whether a field is left out. A time of 0 is not, although it equals False.

    DENY is left out, so that features from before `on_unavailable` existed keep their bytes.
    """
    return value is None or value is False or value is OnUnavailable.DENY or value in ("", {})
