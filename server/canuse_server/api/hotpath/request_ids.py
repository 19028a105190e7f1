"""The ids of the user and of the event in the bytes of a request, which are found without parsing it."""

from typing import Final

from canuse_server.api.hotpath.method import HotMethod
from canuse_server.api.hotpath.wire import LENGTH_DELIMITED, VARINT

_WIRE_TYPE: Final = 7
"""Mask of the wire type in a tag."""
_MORE: Final = 128
"""The bit of a varint's byte that is not its last; numbers below it take one byte."""

TemplateKey = tuple[int, int, int, bytes]
"""The method, the lengths of both ids, and the request without them."""

CutRequest = tuple[TemplateKey, bytes, bytes]
"""What remains of a request without its ids, and the ids of the user and the event. A named tuple is slower to make."""


def cut(method_id: int, method: HotMethod, payload: bytes) -> CutRequest | None:
    """Cut the ids out of a request; None unless it starts with the user id, as generated code writes it.

    The event id is empty if there is none, or if it is written in an unusual way.
    """
    if len(payload) < 2 or payload[0] != method.user_tag:
        return None
    length = payload[1]
    end = 2 + length
    if not 0 < length < _MORE or end > len(payload):
        return None
    user_id, rest, tag = payload[2:end], payload[end:], method.event_tag
    field = find_event_id(rest, tag) if tag in rest else None
    if field is None:
        return (method_id, length, 0, rest), user_id, b""
    field_at, id_at, end = field
    return (method_id, length, end - id_at, rest[:field_at] + rest[end:]), user_id, rest[id_at:end]


def find_event_id(fields: bytes, tag: int) -> tuple[int, int, int] | None:
    """Find the event id in fields by the tag of its field; None if there is none, or if the fields are unusual.

    Returns:
        The offsets of the field's tag, of the id, and of its end.
    """
    at, size = 0, len(fields)
    try:
        while at < size:
            key = fields[at]
            if key >= _MORE:
                return None
            if key & _WIRE_TYPE == LENGTH_DELIMITED:
                length = fields[at + 1]
                end = at + 2 + length
                if length >= _MORE or end > size:
                    return None
                if key == tag:
                    return (at, at + 2, end) if length else None
                at = end
            elif key & _WIRE_TYPE == VARINT:
                at += 1
                while fields[at] >= _MORE:
                    at += 1
                at += 1
            else:
                return None
    except IndexError:
        return None
    return None


def plain_text(encoded: bytes) -> str | None:
    """Return an id of fewer than 128 bytes if it is certainly valid, or None."""
    if not encoded.isascii():
        return None
    text = encoded.decode()
    return text if text.isprintable() else None
