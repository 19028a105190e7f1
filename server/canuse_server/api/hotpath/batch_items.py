"""A batch as it comes over the wire, taken apart without being read: reading millions of empty items takes too long."""

from typing import Final

from canuse.v1.entitlement_service_pb2 import BatchCanUseRequest
from canuse_server.api.bounds import MAX_BATCH_REQUESTS
from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.hotpath.wire import LENGTH_DELIMITED
from canuse_server.api.validation import malformed

COUNTED_ITEMS: Final = 2 * MAX_BATCH_REQUESTS
"""Up to how many items there are is told exactly."""
MAX_OTHER_FIELDS: Final = 1000
"""How many fields beside the items are passed over: those that a newer client knows."""
MAX_DEPTH: Final = 100
_ITEM: Final = BatchCanUseRequest.REQUESTS_FIELD_NUMBER << 3 | LENGTH_DELIMITED
"""The tag of `requests`, which all batches number alike."""


def batch_items(message_name: str, payload: bytes) -> list[bytes]:
    """Return the items of a batch, each as it was sent.

    Raises:
        ApiError: there are none or too many, or the bytes are no message.
    """
    try:
        return _Walk(payload).items()
    except (IndexError, ValueError):
        raise malformed(message_name) from None


def wrong_count(sent: str) -> ApiError:
    """Return the error for a batch with no items, or too many."""
    return invalid([("requests", f"must be 1 to {MAX_BATCH_REQUESTS} requests; {sent} were sent")])


class _Walk:
    """Goes through the fields of a message; raises IndexError or ValueError where there are none."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0
        self._others = 0

    def items(self) -> list[bytes]:
        items, count = list[bytes](), 0
        while self._at < len(self._payload):
            tag = self._varint()
            if tag != _ITEM:
                self._skip(tag, 0)
                continue
            count += 1
            start = self._after_length()
            if count <= MAX_BATCH_REQUESTS:
                items.append(self._payload[start : self._at])
            elif count > COUNTED_ITEMS:
                raise wrong_count(f"more than {COUNTED_ITEMS}")
        if not 1 <= count <= MAX_BATCH_REQUESTS:
            raise wrong_count(str(count))
        return items

    def _skip(self, tag: int, depth: int) -> None:
        self._others += 1
        if self._others > MAX_OTHER_FIELDS:
            accepted = f"must have at most {MAX_OTHER_FIELDS} fields besides requests"
            raise invalid([("request", f"{accepted}; more were sent")])
        kind = tag & 7
        if not tag >> 3 or depth > MAX_DEPTH:
            raise ValueError
        if kind == 0:
            self._varint()
        elif kind == 1:
            self._advance(8)
        elif kind == 2:
            self._after_length()
        elif kind == 3:
            while (inner := self._varint()) & 7 != 4:
                self._skip(inner, depth + 1)
            if inner >> 3 != tag >> 3:
                raise ValueError
        elif kind == 5:
            self._advance(4)
        else:
            raise ValueError

    def _after_length(self) -> int:
        """Pass over a length and what has it; return where that begins."""
        size = self._varint()
        start = self._at
        self._advance(size)
        return start

    def _advance(self, size: int) -> None:
        self._at += size
        if self._at > len(self._payload):
            raise ValueError

    def _varint(self) -> int:
        byte = self._payload[self._at]
        if byte < 0x80:
            self._at += 1
            return byte
        number = 0
        for shift in range(0, 70, 7):
            byte = self._payload[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError
