"""Header blocks, by the examples of RFC 7541, Appendix C."""

import pytest
from bench.headers import Decoder, HeaderError, request_blocks

SMALL_TABLE = bytes.fromhex("3fe101")  # a table of 256 bytes, as the examples of responses have it
DATE = b"Mon, 21 Oct 2013 20:13:21 GMT"
PLACE = b"https://www.example.com"
FIRST = bytes.fromhex(
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3"
)
SECOND = bytes.fromhex("4883640effc1c0bf")
THIRD = bytes.fromhex(
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f36"
    "72c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
)


def test_responses_with_huffman_codes_and_a_table_that_overflows_are_read() -> None:
    decoder = Decoder()
    rest = {b"cache-control": b"private", b"date": DATE, b"location": PLACE}
    assert decoder.decode(SMALL_TABLE + FIRST) == {b":status": b"302", **rest}
    assert decoder.decode(SECOND) == {b":status": b"307", **rest}
    assert decoder.decode(THIRD) == {
        b":status": b"200",
        b"cache-control": b"private",
        b"date": b"Mon, 21 Oct 2013 20:13:22 GMT",
        b"location": PLACE,
        b"content-encoding": b"gzip",
        b"set-cookie": b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    }
    # set-cookie, content-encoding and date fill the table: what was there before is gone.
    assert decoder.decode(b"\xc0") == {b"date": b"Mon, 21 Oct 2013 20:13:22 GMT"}
    with pytest.raises(HeaderError):
        decoder.decode(b"\xc1")


def test_a_block_is_known_until_the_table_changes() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b")
    assert decoder.decode(b"\xbe") == {b"a": b"b"}
    assert b"\xbe" in decoder.known
    decoder.decode(b"\x40\x01a\x01c")
    assert b"\xbe" not in decoder.known
    assert decoder.decode(b"\xbe") == {b"a": b"c"}


def test_what_a_request_puts_into_the_table_is_what_later_ones_point_to() -> None:
    headers = [(b":path", b"/a.B/C" * 40), (b":authority", b"127.0.0.1:1"), (b"te", b"trailers")]
    first, later = request_blocks(headers)
    decoder = Decoder()
    expected = {b":method": b"POST", b":scheme": b"http", **dict(headers)}
    assert decoder.decode(first) == expected
    assert decoder.decode(later) == expected
    assert len(later) == len(expected)


@pytest.mark.parametrize("block", ["80", "be", "4003", "40036162", "ff", "4082ffff0161"])
def test_what_is_no_block_is_refused(block: str) -> None:
    with pytest.raises(HeaderError):
        Decoder().decode(bytes.fromhex(block))


def test_padding_that_is_not_ones_is_refused() -> None:
    place = b"\x01\x8c"  # :authority, 12 bytes of Huffman code
    assert Decoder().decode(place + bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")) == {b":authority": b"www.example.com"}
    with pytest.raises(HeaderError):
        Decoder().decode(place + bytes.fromhex("f1e3c2e5f23a6ba0ab90f4fe"))


def test_a_block_that_resizes_the_table_is_decoded_each_time() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b")
    assert decoder.decode(b"\x3f\xe1\x01\xbe") == {b"a": b"b"}  # The table still holds all that it held.
    assert not decoder.known
