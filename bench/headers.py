"""Header blocks of one HTTP/2 connection (HPACK, RFC 7541), each encoded or decoded once and then cached."""

from typing import Final

import hpack

TABLE_SIZE_UPDATE: Final = 0x20
"""The top three bits of a block that starts with a resize of the table."""


class HeaderError(ValueError):
    """An invalid header block."""


def request_blocks(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return the header blocks of a POST over plain HTTP/2: that of the first call, which adds the headers to the
    peer's table, and that of all later calls, which refers to the table."""
    encoder = hpack.Encoder()
    complete = [(b":method", b"POST"), (b":scheme", b"http"), *headers]
    return encoder.encode(complete, huffman=False), encoder.encode(complete, huffman=False)


class Decoder:
    """Decodes the blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder()
        self.known: dict[bytes, dict[bytes, bytes]] = {}
        """Blocks decoded since the last change of the table, which are still valid."""

    def decode(self, block: bytes) -> dict[bytes, bytes]:
        """Return the headers of a block.

        Raises:
            HeaderError: the block is invalid.
        """
        table = self._decoder.header_table
        before = tuple(table.dynamic_entries)
        try:
            headers = dict(self._decoder.decode(block, raw=True))
        except hpack.HPACKError as error:
            raise HeaderError(f"no header block: {block.hex()}: {error}") from error
        if before != tuple(table.dynamic_entries) or (block and block[0] & 0xE0 == TABLE_SIZE_UPDATE):
            self.known.clear()
        else:
            self.known[block] = headers
        return headers
