"""Metadata in forms: a pair on each line."""

from collections.abc import Mapping

from canuse_server.api.errors import invalid
from canuse_server.transport.http.console.actions.form import Field


def metadata_field(path: str, pairs: Mapping[str, str]) -> Field:
    """Return the field for some metadata. A line break in a value is shown as a space."""
    lines = (f"{key}={' '.join(value.splitlines())}" for key, value in sorted(pairs.items()))
    hint = "A pair on each line: name=value. At most 16."
    return Field("metadata", "Metadata", path, "textarea", "\n".join(lines), hint)


def read_metadata(field: Field) -> dict[str, str]:
    """Return the pairs that have been typed; raise ApiError."""
    pairs: dict[str, str] = {}
    for line in field.value.splitlines():
        if not line.strip():
            continue
        name, found, value = line.partition("=")
        if not found or not name.strip() or name.strip() in pairs:
            text = "a name is given twice" if found and name.strip() else "each line must be name=value"
            raise invalid([(field.api_field, f"{text}; {line[:40]!r} was sent")])
        pairs[name.strip()] = value.strip()
    return pairs
