"""HPACK (RFC 7541), as much as a gRPC client needs: requests with one literal block and indexed ones after it, answers
of any kind."""

import re
from typing import Final

TABLE_BYTES: Final = 4096
"""The size of the dynamic table that a peer may count on where no setting says otherwise."""
ENTRY_OVERHEAD: Final = 32
_STATIC: Final = """\
:authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204
:status=206|:status=304|:status=400|:status=404|:status=500|accept-charset|accept-encoding=gzip, deflate
accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control
content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|cookie
date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified
link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie
strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"""
STATIC: Final = tuple(
    (name, value) for name, _, value in (entry.partition(b"=") for entry in re.split(rb"[|\n]", _STATIC.encode()))
)
# The code is canonical: with the characters in order of length and value each code is the one before plus one, filled
# up with zeros. Other characters than printable ones do not occur in the headers of gRPC.
CODE_LENGTHS: Final = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\0$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\",
}


class HpackError(ValueError):
    """A block that can't be read."""


def _codes() -> dict[tuple[int, int], int]:
    codes: dict[tuple[int, int], int] = {}
    code = last = 0
    for length, characters in CODE_LENGTHS.items():
        code <<= length - last
        for character in characters:
            codes[length, code] = character
            code += 1
        last = length
    return codes


HUFFMAN: Final = _codes()


def huffman(data: bytes) -> bytes:
    """Return the text that a Huffman code stands for; what is left over at the end is padding of ones."""
    text = bytearray()
    code = length = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code, length = code << 1 | byte >> shift & 1, length + 1
            character = HUFFMAN.get((length, code))
            if character is not None:
                text.append(character)
                code = length = 0
    if length > 7 or code != (1 << length) - 1:
        raise HpackError(f"no Huffman code of printable text: {data.hex()}")
    return bytes(text)


def request_blocks(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return two blocks for a POST over plain HTTP/2: the first call's, which puts the headers into the peer's table,
    and the one for all later calls, which points there."""
    first = bytearray((0x80 | 3, 0x80 | 6))
    later = bytearray(first)
    for place, (name, value) in enumerate(headers):
        first += b"\x40" + _text(name) + _text(value)
        later.append(0x80 | len(STATIC) + len(headers) - place)
    return bytes(first), bytes(later)


def _text(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, more = len(text) - 127, bytearray((127,))
    while rest >= 128:
        more.append(rest & 127 | 128)
        rest >>= 7
    return bytes(more) + bytes((rest,)) + text


class Decoder:
    """Reads the blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._table: list[tuple[bytes, bytes]] = []
        self._limit = TABLE_BYTES
        self.known: dict[bytes, dict[bytes, bytes]] = {}
        """Blocks that were read since the table last changed: they mean the same again."""

    def decode(self, block: bytes) -> dict[bytes, bytes]:
        """Return the headers of a block.

        Raises:
            HpackError: it can't be read.
        """
        headers: dict[bytes, bytes] = {}
        changed = False
        at = 0
        try:
            while at < len(block):
                byte = block[at]
                if byte & 0x80:
                    index, at = _integer(block, at, 7)
                    name, value = self._entry(index)
                elif byte & 0xE0 == 0x20:
                    self._limit, at = _integer(block, at, 5)
                    self._evict()
                    changed = True
                    continue
                else:
                    added = bool(byte & 0x40)
                    index, at = _integer(block, at, 6 if added else 4)
                    name, at = (self._entry(index)[0], at) if index else _string(block, at)
                    value, at = _string(block, at)
                    if added:
                        self._table.insert(0, (name, value))
                        self._evict()
                        changed = True
                headers[name] = value
        except IndexError as error:
            raise HpackError(f"no header block: {block.hex()}") from error
        if changed:
            self.known.clear()
        else:
            self.known[block] = headers
        return headers

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if index == 0:
            raise HpackError("there is no header 0")
        return STATIC[index - 1] if index <= len(STATIC) else self._table[index - len(STATIC) - 1]

    def _evict(self) -> None:
        while sum(len(name) + len(value) + ENTRY_OVERHEAD for name, value in self._table) > self._limit:
            self._table.pop()


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    number = block[at] & most
    at += 1
    if number < most:
        return number, at
    shift = 0
    while True:
        byte = block[at]
        number += (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 0x80
    length, at = _integer(block, at, 7)
    text = block[at : at + length]
    if len(text) < length:
        raise HpackError(f"a header ends too early: {block.hex()}")
    return huffman(text) if coded else text, at + length
