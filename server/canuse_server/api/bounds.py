"""How large a request may be: the one table of the bounds of its fields, and what follows from it for each method.

Reading a message takes longer the more there is in it, whether it is accepted or not. So a request is refused by its
size before it is read, and by the number of its items before one of them is looked at.
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

REQUEST_BYTES: Final = 4 << 20
"""The largest request of any method, in bytes."""
SPARE_BYTES: Final = 256 << 10
"""What a request may have beyond a quarter more than its largest valid form: fields that a newer client knows, and what
is too long, so that it can be named."""

MAX_CHARGES: Final = 32
MAX_BATCH_REQUESTS: Final = 1000
MAX_PACKAGE_FEATURES: Final = 1000
MAX_SUBSCRIBED_PACKAGES: Final = 32
MAX_KEY_SCOPES: Final = 32
MAX_DESCRIPTORS: Final = 64
MAX_DESCRIPTOR_ENTRIES: Final = 32

_TEXTS: Final[Mapping[str, int]] = {
    # Ids and what is like them.
    **dict.fromkeys(("id", "user_id", "feature_id", "package_id", "package_ids", "grant_id", "api_key_id"), ID_BYTES),
    **dict.fromkeys(("event_id", "scopes", "canuse.v1.ApiKey.name"), ID_BYTES),
    **dict.fromkeys(("subscription_id", "canuse.v1.Subscription.id"), subscription_tokens.LENGTH),
    "lease_id": lease_tokens.LENGTH,
    # Texts for people.
    **dict.fromkeys(("name", "unit_label", "unit_label_plural", "email", "billing_id", "note"), TEXT_BYTES),
    "page_token": page_tokens.LENGTH,
    "resume_token": migration_tokens.LENGTH,
    "google.protobuf.FieldMask.paths": MASK_PATH_BYTES,
    # What Envoy sends besides the ids can be longer: only the request as a whole is held to this.
    **dict.fromkeys(("domain", "key", "value"), ID_BYTES),
}
"""The most bytes of a text field, by the name of the field, or by its full name where that differs."""
_COUNTS: Final[Mapping[str, int]] = {
    "canuse.v1.UseFeaturesRequest.charges": MAX_CHARGES,
    "canuse.v1.BatchCanUseRequest.requests": MAX_BATCH_REQUESTS,
    "canuse.v1.BatchCreateUsageEventsRequest.requests": MAX_BATCH_REQUESTS,
    "canuse.v1.Package.features": MAX_PACKAGE_FEATURES,
    "canuse.v1.SubscribeRequest.package_ids": MAX_SUBSCRIBED_PACKAGES,
    "canuse.v1.ApiKey.scopes": MAX_KEY_SCOPES,
    "google.protobuf.FieldMask.paths": MASK_PATHS,
    "envoy.service.ratelimit.v3.RateLimitRequest.descriptors": MAX_DESCRIPTORS,
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.entries": MAX_DESCRIPTOR_ENTRIES,
}
"""The most items of a repeated field, by its full name."""
_MAPS: Final[Mapping[str, tuple[int, int]]] = {"metadata": (METADATA_PAIRS, METADATA_BYTES)}
"""The most pairs of a map, and the most bytes of all its keys and values, by the name of the field."""

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


def most_items(field: FieldDescriptor) -> int:
    """Return how many items a repeated field or pairs a map may have; LookupError where the table has no bound."""
    return _bound(_MAPS, field)[0] if is_map(field) else _bound(_COUNTS, field)


def most_text_bytes(field: FieldDescriptor) -> int:
    """Return how many bytes a text field may have; LookupError where the table has no bound."""
    return _bound(_TEXTS, field)


def most_map_bytes(field: FieldDescriptor) -> int:
    """Return how many bytes the keys and values of a map may have in all; LookupError where there is no bound."""
    return _bound(_MAPS, field)[1]


def _bound(table: Mapping[str, _Bound], field: FieldDescriptor) -> _Bound:
    found = table.get(field.full_name) or table.get(field.name)
    if found is None:
        raise LookupError(f"the field {field.full_name} has no bound")
    return found


def largest_bytes(message: Descriptor) -> int:
    """Return how many bytes the largest valid message of a type can have, or some more."""
    return sum(_field_bytes(field) for field in message.fields)


def _field_bytes(field: FieldDescriptor) -> int:
    tag = _varint_bytes(field.number << 3)
    if is_map(field):
        # Of each pair: its tag and length, and those of its key and its value.
        key_and_value = 2 * (1 + _varint_bytes(most_map_bytes(field)))
        pair = tag + _varint_bytes(most_map_bytes(field) + key_and_value) + key_and_value
        return most_items(field) * pair + most_map_bytes(field)
    if field.message_type is not None:
        size = _with_length(largest_bytes(field.message_type))
    elif field.type in _TEXT_TYPES:
        size = _with_length(most_text_bytes(field))
    else:
        size = _FIXED_BYTES.get(field.type, _VARINT_BYTES)
    return (tag + size) * (most_items(field) if field.is_repeated else 1)


def _with_length(size: int) -> int:
    return _varint_bytes(size) + size


def _varint_bytes(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))


def accepted_bytes(message: Descriptor) -> int:
    """Return how many bytes a request of a type may have."""
    return min(largest_bytes(message) * 5 // 4 + SPARE_BYTES, REQUEST_BYTES)


@cache
def method_bytes(path: str) -> int:
    """Return how many bytes a request of a method of the server may have, by its path."""
    return accepted_bytes(method_at(path).input_type)


def check_size(path: str, size: int) -> None:
    """Raise INVALID_FIELD where a request of a method has more bytes than any valid one."""
    if size > method_bytes(path):
        raise too_large(path, size)


def too_large(path: str, size: int) -> ApiError:
    """Return the error for a request of a method that has so many bytes."""
    accepted = f"must be at most {method_bytes(path)} bytes for {path.rpartition('/')[2]}"
    return invalid([("request", f"{accepted}; {size} were sent")])


class _Counted(NamedTuple):
    """A field of a message that is repeated, or has such fields in it."""

    name: str
    most: int | None
    """How many items it may have; None: it is one message."""
    nested: bool
    """Whether there are such fields in it."""


@cache
def _counted(message: Descriptor) -> tuple[_Counted, ...]:
    found = []
    for field in message.fields:
        most = most_items(field) if field.is_repeated else None
        nested = not is_map(field) and field.message_type is not None and bool(_counted(field.message_type))
        if most is not None or nested:
            found.append(_Counted(field.name, most, nested))
    return tuple(found)


def check_counts(request: Message) -> None:
    """Raise INVALID_FIELD where a repeated field or a map has too many items; none of them is looked at before."""
    if found := [*_too_many(request, "")]:
        raise invalid(found)


def _too_many(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for name, most, nested in _counted(message.DESCRIPTOR):
        path = prefix + name
        if most is None:
            if message.HasField(name):
                yield from _too_many(getattr(message, name), f"{path}.")
            continue
        items = getattr(message, name)
        if len(items) > most:
            yield path, f"must be at most {most}; {len(items)} were sent"
        elif nested:
            for index, item in enumerate(items):
                yield from _too_many(item, f"{path}[{index}].")
