"""Splitting of a batch into its items without parsing them: parsing millions of empty items takes too long."""

from typing import Final

from canuse.v1.entitlement_service_pb2 import BatchCanUseRequest
from canuse_server.api.bounds import MAX_BATCH_REQUESTS
from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.hotpath.wire import LENGTH_DELIMITED
from canuse_server.api.validation import malformed

MAX_COUNTED_ITEMS: Final = 2 * MAX_BATCH_REQUESTS
"""Maximum number of items that is counted exactly for an error."""
MAX_OTHER_FIELDS: Final = 1000
"""Maximum number of other fields, which newer clients may send."""
MAX_DEPTH: Final = 100
_ITEM: Final = BatchCanUseRequest.REQUESTS_FIELD_NUMBER << 3 | LENGTH_DELIMITED
"""The tag of `requests`, which has the same number in all batches."""


def batch_items(message_name: str, payload: bytes) -> list[bytes]:
    """Return the serialized items of a batch.

    Raises:
        ApiError: there are none or too many, or the bytes are not a valid message.
    """
    try:
        return _FieldParser(payload).items()
    except (IndexError, ValueError):
        raise malformed(message_name) from None


def wrong_count(sent: str) -> ApiError:
    """Return the error for a batch with no items, or too many."""
    return invalid([("requests", f"must be 1 to {MAX_BATCH_REQUESTS} requests; {sent} were sent")])


class _FieldParser:
    """Parses the fields of a message; raises IndexError or ValueError if the bytes are not a valid message."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._offset = 0
        self._other_fields = 0

    def items(self) -> list[bytes]:
        items = self._first_items()
        count = len(items)
        while self._offset < len(self._payload):
            tag = self._varint()
            if tag != _ITEM:
                self._skip(tag, 0)
                continue
            count += 1
            start = self._skip_bytes()
            if count <= MAX_BATCH_REQUESTS:
                items.append(self._payload[start : self._offset])
            elif count > MAX_COUNTED_ITEMS:
                raise wrong_count(f"more than {MAX_COUNTED_ITEMS}")
        if not 1 <= count <= MAX_BATCH_REQUESTS:
            raise wrong_count(str(count))
        return items

    def _first_items(self) -> list[bytes]:
        """Return the items before the first of 128 bytes or more and the first other field: nearly always all."""
        items: list[bytes] = []
        payload, offset, size = self._payload, 0, len(self._payload) - 1
        while offset < size and payload[offset] == _ITEM and len(items) < MAX_BATCH_REQUESTS:
            start = offset + 2
            offset = start + payload[offset + 1]
            if offset - start > 0x7F or offset - 1 > size:
                return items
            self._offset = offset
            items.append(payload[start:offset])
        return items

    def _skip(self, tag: int, depth: int) -> None:
        self._other_fields += 1
        if self._other_fields > MAX_OTHER_FIELDS:
            accepted = f"must have at most {MAX_OTHER_FIELDS} fields besides requests"
            raise invalid([("request", f"{accepted}; more were sent")])
        wire_type = tag & 7
        if not tag >> 3 or depth > MAX_DEPTH:
            raise ValueError
        if wire_type == 0:
            self._varint()
        elif wire_type == 1:
            self._advance(8)
        elif wire_type == 2:
            self._skip_bytes()
        elif wire_type == 3:
            while (inner := self._varint()) & 7 != 4:
                self._skip(inner, depth + 1)
            if inner >> 3 != tag >> 3:
                raise ValueError
        elif wire_type == 5:
            self._advance(4)
        else:
            raise ValueError

    def _skip_bytes(self) -> int:
        """Skip a length-delimited value; return the offset of its first byte."""
        size = self._varint()
        start = self._offset
        self._advance(size)
        return start

    def _advance(self, size: int) -> None:
        self._offset += size
        if self._offset > len(self._payload):
            raise ValueError

    def _varint(self) -> int:
        byte = self._payload[self._offset]
        if byte < 0x80:
            self._offset += 1
            return byte
        number = 0
        for shift in range(0, 70, 7):
            byte = self._payload[self._offset]
            self._offset += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError
