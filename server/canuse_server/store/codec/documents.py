"""What is kept of the catalogue and of profiles: JSON, so that a person can read it with redis-cli.

A newer canuse on the same store may have written fields and enum values that this one does not know. Both are read,
kept and written back; `domain/model.py` says what they mean.
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
# Looking a member up by its number takes several times as long as this.
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
"""What a field holds, by its name; those that are not here hold integers."""
_OPTIONAL: Final = frozenset({"limit", "amount", "expires_at_ms", "revoked_at_ms"})
_INTEGER_MOST: Final = 2**53
_MOST: Final = dict.fromkeys(("version", "published_version", "priority"), 2**31 - 1)
"""The largest integer of a field that has fewer bits in the API."""
_TOLD: Final = Once()


class UnreadableError(StoreError):
    """A document in the store can't be read."""


def encode(item: Feature | Package | Profile | Grant) -> bytes:
    """Return an item as it is kept: fields that hold nothing are left out."""
    document = {name: value for name, value in _document(item).items() if not _is_empty(value)}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def decode_feature(value: bytes) -> Feature:
    """Read a feature; raises UnreadableError."""
    return _make(Feature, read_document(value))


def decode_package(value: bytes) -> Package:
    """Read a package; raises UnreadableError."""
    document = read_document(value)
    entries = document.get("features", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnreadableError("the features of a package are not a list of objects")
    package = _make(Package, {**document, "features": []})
    # Frozen, but nobody has seen it yet.
    object.__setattr__(package, "features", tuple([_make(PackageFeature, entry) for entry in entries]))
    return package


def decode_grant(value: bytes) -> Grant:
    """Read a grant; raises UnreadableError."""
    return _make(Grant, {"amount": None, **read_document(value)})


def decode_profile(value: bytes) -> Profile:
    """Read a profile; raises UnreadableError."""
    return _make(Profile, read_document(value))


def note_unreadable(what: str, item_id: str, error: UnreadableError) -> None:
    """Log, once, that a document can't be read."""
    if _TOLD.is_new((what, item_id, str(error))):
        log.error("a document in the store can't be read: it gives no access", what=what, id=item_id, cause=str(error))


def note_unknown(what: str, item_id: str, field: str, value: object) -> None:
    """Log, once, that a field holds what this version of canuse does not know."""
    if _TOLD.is_new((what, item_id, field, value)):
        text = "a value in the store is of a newer version of canuse: it gives no access"
        log.warning(text, what=what, id=item_id, field=field, value=value)


def _document(item: Feature | Package | PackageFeature | Profile | Grant) -> dict[str, Any]:
    document = {field.name: getattr(item, field.name) for field in fields(item) if field.name != "unknown"}
    if isinstance(item, Package):
        document["features"] = [_document(entry) for entry in item.features]
    return document | dict(item.unknown or {})


def read_document(value: bytes) -> dict[str, Any]:
    """Read a JSON object whose texts can all be sent in a message; raises UnreadableError, which quotes none of it."""
    try:
        document = json.loads(value)
        if b"\\u" in value:
            # Only an escape can hold half a surrogate pair, which is no text.
            json.dumps(document, ensure_ascii=False).encode()
    except ValueError as error:
        raise UnreadableError(f"it is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnreadableError("it is no JSON object")
    return document


def _make(kind: type[_Item], document: Mapping[str, Any]) -> _Item:
    """Return an item of its document: enum members for the numbers that are known, and what is unknown beside them."""
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
    wanted = _TYPES.get(name, int)
    if value is None and name in _OPTIONAL:
        return
    good = isinstance(value, wanted)
    if good and isinstance(value, int):
        good = -_INTEGER_MOST <= value <= _MOST.get(name, _INTEGER_MOST)
    elif good and isinstance(value, dict) and value:
        good = all(isinstance(text, str) for text in value.values())
    if not good:
        raise UnreadableError(f"its field {name} is not what it should be")


def _is_empty(value: object) -> bool:
    """Whether a field need not be kept; a time of 0 has to be, although it equals False.

    DENY is not kept, so that a feature from before there was anything else is still the same bytes.
    """
    return value is None or value is False or value is OnUnavailable.DENY or value in ("", {})
