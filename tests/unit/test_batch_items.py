"""A batch is split without being parsed, into the same items that protobuf finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.batch.items import MAX_COUNTED_ITEMS, MAX_OTHER_FIELDS, batch_items

NAME = "canuse.v1.BatchCanUseRequest"
items = st.builds(v1.CanUseRequest, user_id=st.text(max_size=200), delta=st.none() | st.integers(-5, 2**53))
# Fields that a newer client may send: a number, 8 bytes, a text, nested groups, 4 bytes.
others = st.sampled_from(
    [b"\x10\x96\x01", b"\x19" + b"8" * 8, b"\x22\x03abc", b"\x2b\x33\x08\x01\x34\x2c", b"\x35" + b"4" * 4, b"\x08\x01"]
)


def framed(item: v1.CanUseRequest) -> bytes:
    """Return a batch with one item."""
    return v1.BatchCanUseRequest(requests=[item]).SerializeToString()


def refusal(payload: bytes) -> str:
    """Return the error about a batch that can't be split."""
    with pytest.raises(ApiError) as raised:
        batch_items(NAME, payload)
    return raised.value.message


@given(st.lists(items.map(framed) | others, max_size=20))
@settings(deadline=None)
def test_the_items_are_those_that_protobuf_finds_whatever_stands_between_them(parts: list[bytes]) -> None:
    payload = b"".join(parts)
    expected = [item.SerializeToString() for item in v1.BatchCanUseRequest.FromString(payload).requests]
    if expected:
        assert batch_items(NAME, payload) == expected
    else:
        assert refusal(payload) == "requests: must be 1 to 1000 requests; 0 were sent"


@pytest.mark.parametrize(
    "payload",
    [b"\x0a", b"\x0a\x05ab", b"\x10", b"\x10" + b"\x80" * 11, b"\x00\x01", b"\x0b", b"\x2b\x34", b"\x0c", b"\x0f"],
)
def test_bytes_that_are_no_message_are_reported_as_such(payload: bytes) -> None:
    assert refusal(framed(v1.CanUseRequest()) + payload).startswith(f"request: must be a {NAME} in protobuf's")


@pytest.mark.parametrize(
    ("count", "reported"), [(1001, "1001"), (MAX_COUNTED_ITEMS, "2000"), (2_000_000, f"more than {MAX_COUNTED_ITEMS}")]
)
def test_no_more_items_are_counted_than_it_takes_to_see_that_there_are_too_many(count: int, reported: str) -> None:
    """Two million empty items were parsed for a quarter of a second before they were counted."""
    # The bytes behind the counted items are not read: they are no message.
    payload = b"\x0a\x00" * count + (b"\xff" if count > MAX_COUNTED_ITEMS else b"")
    assert refusal(payload) == f"requests: must be 1 to 1000 requests; {reported} were sent"


@pytest.mark.parametrize("field", [b"\x10\x00", b"\x2b\x2c"])
def test_a_flood_of_fields_that_are_not_known_is_not_gone_through(field: bytes) -> None:
    message = refusal(field * 1_000_000)
    assert message == f"request: must have at most {MAX_OTHER_FIELDS} fields besides requests; more were sent"


def test_groups_that_are_too_deep_are_no_message() -> None:
    assert refusal(b"\x2b" * 150 + b"\x2c" * 150).startswith(f"request: must be a {NAME} in")
