"""Bodies take from what may be read at a time as much as has come of them, whatever their callers announce."""

from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.types import Message

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.body import read_body

MIB = 1 << 20


def request(chunks: AsyncIterator[bytes], *headers: tuple[bytes, bytes]) -> Request:
    """Return a request whose body comes in chunks."""

    async def receive() -> Message:
        chunk = await anext(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return Request({"type": "http", "headers": list(headers)}, receive)


async def of(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield chunks."""
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize("header", [(b"content-length", b"4194304"), (b"transfer-encoding", b"chunked")])
async def test_bodies_that_are_announced_keep_nobody_out(header: tuple[bytes, bytes]) -> None:
    """Twenty callers that announced 4 MiB and sent one byte had kept out everybody else for half a minute."""
    reading = AdmissionLimit(1000, 2 * MIB)
    seen = []

    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        seen.append(reading.size)
        async with read_body(request(of(b"b" * 100)), 4 * MIB, reading) as body:
            seen.append(reading.size)
            assert body == b"b" * 100
        yield b"c"

    async with read_body(request(slow(), header), 4 * MIB, reading) as body:
        assert body == b"ac"
    assert seen == [1, 101]
    assert (reading.calls, reading.size) == (0, 0)


async def test_what_has_come_of_all_bodies_is_bounded() -> None:
    reading = AdmissionLimit(1000, MIB)
    with reading.holding(MIB - 10):
        with pytest.raises(ApiError) as refused:
            async with read_body(request(of(b"a" * 10, b"b")), MIB, reading):
                pass
        assert refused.value.reason is ErrorReason.OVERLOADED
        assert reading.size == MIB - 10
    assert (reading.calls, reading.size) == (0, 0)
