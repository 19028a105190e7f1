"""Maximum sizes of requests: the table of the bounds of all fields, and the maximum size of each method's requests.

Parsing costs time in proportion to the size of a message, even if it is then refused. So the size of a request is
checked before it is parsed, and the number of its items before any of them is validated.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, NamedTuple, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.methods import method_at
from canuse_server.api.tokens import lease as lease_tokens
from canuse_server.api.tokens import migration as migration_tokens
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.tokens import subscription as subscription_tokens
from canuse_server.api.validation import (
    ID_BYTES,
    MASK_PATH_BYTES,
    MASK_PATHS,
    METADATA_BYTES,
    METADATA_PAIRS,
    TEXT_BYTES,
)
from canuse_server.store.repositories.stamps import STAMP_BYTES

MAX_REQUEST_BYTES: Final = 4 << 20
"""Maximum size of a request of any method."""
SPARE_BYTES: Final = 256 << 10
"""Size that a request may have beyond its largest valid form plus a quarter: for fields of newer clients, and so that
an error can name a field that is too long."""

MAX_CHARGES: Final = 32
MAX_BATCH_REQUESTS: Final = 1000
MAX_PACKAGE_FEATURES: Final = 1000
MAX_CATALOG_FEATURES: Final = 2000
MAX_CATALOG_PACKAGES: Final = 1000
MAX_CATALOG_ENTRIES: Final = 20_000
"""Maximum number of entries of all packages of a catalogue together."""
MAX_SUBSCRIBED_PACKAGES: Final = 32
MAX_KEY_SCOPES: Final = 32
MAX_DESCRIPTORS: Final = 64
MAX_DESCRIPTOR_ENTRIES: Final = 32

_TEXTS: Final[Mapping[str, int]] = {
    # Ids and similar values.
    **dict.fromkeys(("id", "user_id", "feature_id", "package_id", "package_ids", "grant_id", "api_key_id"), ID_BYTES),
    **dict.fromkeys(("method", "caller_key_id"), ID_BYTES),
    **dict.fromkeys(("event_id", "scopes", "canuse.v1.ApiKey.name", "id_prefix"), ID_BYTES),
    **dict.fromkeys(("subscription_id", "canuse.v1.Subscription.id"), subscription_tokens.LENGTH),
    "lease_id": lease_tokens.LENGTH,
    # Texts for people.
    **dict.fromkeys(("name", "unit_label", "unit_label_plural", "email", "billing_id", "note"), TEXT_BYTES),
    "etag": STAMP_BYTES,
    "page_token": page_tokens.LENGTH,
    "resume_token": migration_tokens.LENGTH,
    "google.protobuf.FieldMask.paths": MASK_PATH_BYTES,
    # Values from Envoy other than ids can be longer; the bound only limits the request as a whole.
    **dict.fromkeys(("domain", "key", "value"), ID_BYTES),
}
"""Maximum size of a text field in bytes, by name, or by full name if that of a message differs."""
_COUNTS: Final[Mapping[str, int]] = {
    "canuse.v1.UseFeaturesRequest.charges": MAX_CHARGES,
    "canuse.v1.BatchCanUseRequest.requests": MAX_BATCH_REQUESTS,
    "canuse.v1.BatchCreateUsageEventsRequest.requests": MAX_BATCH_REQUESTS,
    "canuse.v1.BatchUseFeatureRequest.requests": MAX_BATCH_REQUESTS,
    "canuse.v1.Package.features": MAX_PACKAGE_FEATURES,
    "canuse.v1.ApplyCatalogRequest.features": MAX_CATALOG_FEATURES,
    "canuse.v1.ApplyCatalogRequest.packages": MAX_CATALOG_PACKAGES,
    "canuse.v1.SubscribeRequest.package_ids": MAX_SUBSCRIBED_PACKAGES,
    "canuse.v1.ApiKey.scopes": MAX_KEY_SCOPES,
    "google.protobuf.FieldMask.paths": MASK_PATHS,
    "envoy.service.ratelimit.v3.RateLimitRequest.descriptors": MAX_DESCRIPTORS,
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.entries": MAX_DESCRIPTOR_ENTRIES,
}
"""Maximum number of items of a repeated field, by full name."""
_MAPS: Final[Mapping[str, tuple[int, int]]] = {"metadata": (METADATA_PAIRS, METADATA_BYTES)}
"""Maximum number of pairs of a map and maximum total size of its keys and values, by name."""

_WHOLE: Final[Mapping[str, int]] = {"canuse.v1.ApplyCatalogRequest": 2 << 20}
"""Maximum size of a request that would be too large with all its fields at their bounds, by message name."""

_VARINT_BYTES: Final = 10
_FIXED_BYTES: Final = {
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
    FieldDescriptor.TYPE_BOOL: 1,
}
_Bound = TypeVar("_Bound")
_TEXT_TYPES: Final = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map; on the wire it is a repeated message."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def max_items(field: FieldDescriptor) -> int:
    """Return the maximum number of items of a repeated field or pairs of a map; raise LookupError if it is missing."""
    return _bound(_MAPS, field)[0] if is_map(field) else _bound(_COUNTS, field)


def max_text_bytes(field: FieldDescriptor) -> int:
    """Return the maximum size of a text field in bytes; raise LookupError if it is missing."""
    return _bound(_TEXTS, field)


def max_map_bytes(field: FieldDescriptor) -> int:
    """Return the maximum total size of the keys and values of a map; raise LookupError if it is missing."""
    return _bound(_MAPS, field)[1]


def _bound(table: Mapping[str, _Bound], field: FieldDescriptor) -> _Bound:
    bound = table.get(field.full_name) or table.get(field.name)
    if bound is None:
        raise LookupError(f"the field {field.full_name} has no bound")
    return bound


def max_message_bytes(message: Descriptor) -> int:
    """Return an upper bound of the size of a valid message of a type, in bytes."""
    return sum(_field_bytes(field) for field in message.fields)


def _field_bytes(field: FieldDescriptor) -> int:
    tag = _varint_bytes(field.number << 3)
    if is_map(field):
        # Each pair has a tag and a length, and so have its key and its value.
        key_and_value = 2 * (1 + _varint_bytes(max_map_bytes(field)))
        pair = tag + _varint_bytes(max_map_bytes(field) + key_and_value) + key_and_value
        return max_items(field) * pair + max_map_bytes(field)
    if field.message_type is not None:
        size = _with_length(max_message_bytes(field.message_type))
    elif field.type in _TEXT_TYPES:
        size = _with_length(max_text_bytes(field))
    else:
        size = _FIXED_BYTES.get(field.type, _VARINT_BYTES)
    return (tag + size) * (max_items(field) if field.is_repeated else 1)


def _with_length(size: int) -> int:
    return _varint_bytes(size) + size


def _varint_bytes(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))


def max_request_bytes(message: Descriptor) -> int:
    """Return the maximum accepted size of a request of a type, in bytes."""
    return _WHOLE.get(message.full_name) or min(max_message_bytes(message) * 5 // 4 + SPARE_BYTES, MAX_REQUEST_BYTES)


@cache
def method_bytes(path: str) -> int:
    """Return the maximum accepted size of a request of a method, in bytes."""
    return max_request_bytes(method_at(path).input_type)


def check_size(path: str, size: int) -> None:
    """Raise INVALID_FIELD if a request of a method is too large."""
    if size > method_bytes(path):
        raise too_large(path, size)


def too_large(path: str, size: int) -> ApiError:
    """Return the error for a request of this size."""
    accepted = f"must be at most {method_bytes(path)} bytes for {path.rpartition('/')[2]}"
    return invalid([("request", f"{accepted}; {size} were sent")])


class _BoundedField(NamedTuple):
    """A repeated field, or a field whose message contains repeated fields."""

    name: str
    max_items: int | None
    """None: the field is a single message."""
    nested: bool
    """Whether its messages contain repeated fields."""


@cache
def _bounded_fields(message: Descriptor) -> tuple[_BoundedField, ...]:
    fields = []
    for field in message.fields:
        limit = max_items(field) if field.is_repeated else None
        nested = not is_map(field) and field.message_type is not None and bool(_bounded_fields(field.message_type))
        if limit is not None or nested:
            fields.append(_BoundedField(field.name, limit, nested))
    return tuple(fields)


def check_counts(request: Message) -> None:
    """Raise INVALID_FIELD if a repeated field or a map has too many items. The items themselves are not validated."""
    if violations := [*_too_many(request, "")]:
        raise invalid(violations)


def _too_many(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for name, limit, nested in _bounded_fields(message.DESCRIPTOR):
        path = prefix + name
        if limit is None:
            if message.HasField(name):
                yield from _too_many(getattr(message, name), f"{path}.")
            continue
        items = getattr(message, name)
        if len(items) > limit:
            yield path, f"must be at most {limit}; {len(items)} were sent"
        elif nested:
            for index, item in enumerate(items):
                yield from _too_many(item, f"{path}[{index}].")
