"""Page tokens: what an earlier answer gave leads on, anything else is refused in words."""

import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canuse_server.api import pages
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.store.keys import BUCKETS

ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=128).filter(lambda id_: len(id_.encode()) <= 128)
hundreds = settings(max_examples=250, deadline=None)


def forged(content: bytes) -> str:
    """Return a token with a content of the forger's choice."""
    return urlsafe_b64encode(content).decode().rstrip("=")


def refused(token: str) -> ApiError:
    """Return the error that a token gets."""
    with pytest.raises(ApiError) as raised:
        pages.decode(token)
    return raised.value


@given(ids, st.integers(0, 2**53 - 1))
@example("\U0001f98a" * 32, 2**53 - 1)
@example("é" * 64, 2**53 - 1)
@example('"' * 128, 2**53 - 1)
@hundreds
def test_a_token_leads_to_where_the_page_before_ended(last: str, group: int) -> None:
    token = pages.encode(last, group)
    assert pages.decode(token) == (group, last)
    assert token.isascii()
    assert not set(token) & set("+/=% ")


def test_no_token_is_the_first_page() -> None:
    assert pages.decode("") == (0, "")


@given(st.text(max_size=60) | st.binary(max_size=60).map(forged))
@example("é")
@example("A")
@example(forged(b'{"group":0,"last":"x"}'))
@example(forged(b'[0,"x",1]'))
@example(forged(b"5"))
@example(forged(b'["0","x"]'))
@example(forged(b"[0,5]"))
@example(forged(b"[" + b"9" * 5000 + b',"x"]'))
@hundreds
def test_what_is_no_token_of_ours_is_a_bad_field(token: str) -> None:
    try:
        group, last = pages.decode(token)
    except ApiError:
        error = refused(token)
        assert error.reason == ErrorReason.INVALID_FIELD
        assert [field for field, _ in error.violations] == ["page_token"]
        return
    assert last.encode().decode() == last
    assert group >= 0


def test_the_error_names_what_was_sent_and_what_is_accepted_and_stays_short() -> None:
    error = refused("not-a-token" * 1000)
    assert "next_page_token" in error.message
    assert "not-a-token" in error.message
    assert len(error.message) < 200


# What follows got past the check: it broke the server's own code further on, or was read as something else.


def test_a_token_nested_without_end_is_a_bad_field() -> None:
    assert refused(forged(b"[" * 100_000)).reason == ErrorReason.INVALID_FIELD


def test_a_token_with_half_a_character_is_a_bad_field() -> None:
    assert refused(forged(b'[0,"\\ud800"]')).reason == ErrorReason.INVALID_FIELD


@pytest.mark.parametrize("group", [-1, -BUCKETS])
def test_a_token_of_a_group_that_is_none_is_a_bad_field(group: int) -> None:
    assert refused(forged(json.dumps([group, "x"]).encode())).reason == ErrorReason.INVALID_FIELD
