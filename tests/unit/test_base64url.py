"""Bytes and JSON in ids and tokens: every text that holds neither is refused in one way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canuse_server.api.tokens import base64url

DEEP = base64url.encode(b"[" * 100_000)


@given(st.binary(max_size=100))
def test_bytes_come_back_from_a_text_for_urls(content: bytes) -> None:
    text = base64url.encode(content)
    assert base64url.decode(text) == content
    assert not set(text) & set("+/= ")


def test_a_value_comes_back_from_a_text() -> None:
    assert base64url.decode_json(base64url.encode_json(["a", 1, None]), 100) == ["a", 1, None]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("é", "ASCII"),
        ("A", "base64"),
        (base64url.encode(b"no JSON"), "Expecting value"),
        (base64url.encode(b"\xff"), "decode"),
        (DEEP, "nested too deeply"),
        ("x" * (len(DEEP) + 1), "longer than"),
    ],
)
def test_a_text_without_a_value_is_a_value_error(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        base64url.decode_json(text, len(DEEP))
