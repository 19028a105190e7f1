"""Reads how calls ended, on a connection whose frames a test writes itself."""

from collections.abc import Collection
from typing import BinaryIO

from bench.headers import Decoder
from bench.http2 import END_STREAM, HEADERS, RST_STREAM


def statuses(read: BinaryIO, decoder: Decoder, streams: Collection[int]) -> dict[int, bytes | None]:
    """Read until some streams have ended; return their `grpc-status`, None for one that was reset."""
    found: dict[int, bytes | None] = {}
    while len(found) < len(streams) and (head := read.read(9)):
        payload, stream = read.read(int.from_bytes(head[:3])), int.from_bytes(head[5:])
        if head[3] == RST_STREAM:
            found.setdefault(stream, None)
        if head[3] == HEADERS:
            headers = decoder.decode(payload)
            if head[4] & END_STREAM:
                found[stream] = headers.get(b"grpc-status")
    return found
