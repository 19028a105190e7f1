"""What is kept of the catalogue and of profiles: JSON, so that a person can read it with redis-cli."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

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


def encode(item: Feature | Package | Profile | Grant) -> bytes:
    """Return an item as it is kept: fields that hold nothing are left out."""
    fields = {name: value for name, value in asdict(item).items() if not _is_empty(value)}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


@lru_cache(maxsize=4096)
def decode_feature(value: bytes) -> Feature:
    """Read a feature; the same bytes may give the same object."""
    fields = _fields(value)
    on_unavailable = OnUnavailable(fields.get("on_unavailable", OnUnavailable.DENY))
    return Feature(**{**fields, "type": FeatureType(fields["type"]), "on_unavailable": on_unavailable})


def decode_package(value: bytes) -> Package:
    """Read a package."""
    fields = _fields(value)
    features = tuple(
        PackageFeature(**{**entry, "reset_period": ResetPeriod(entry["reset_period"])}) for entry in fields["features"]
    )
    enums = {"type": PackageType(fields["type"]), "status": PackageStatus(fields["status"])}
    return Package(**{**fields, "features": features, **enums})


def decode_grant(value: bytes) -> Grant:
    """Read a grant."""
    return Grant(**{"amount": None, **_fields(value)})


def decode_profile(value: bytes) -> Profile:
    """Read a profile."""
    return Profile(**_fields(value))


def _fields(value: bytes) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = json.loads(value)
    return fields


def _is_empty(value: object) -> bool:
    """Whether a field need not be kept; a time of 0 has to be, although it equals False.

    DENY is not kept, so that a feature from before there was anything else is still the same bytes.
    """
    return value is None or value is False or value is OnUnavailable.DENY or value in ("", {})
