"""Page tokens: one from an earlier answer leads to the next page, anything else is refused with an explanation."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from google.protobuf.message import Message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.tokens import page as page_tokens
from canuse_server.store.keys import BUCKETS

ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=128).filter(lambda id_: len(id_.encode()) <= 128)
hundreds = settings(max_examples=250, deadline=None)


def forged(content: bytes) -> str:
    """Return a token with forged content."""
    return urlsafe_b64encode(content).decode().rstrip("=")


def asking(token: str) -> v1.ListUsersRequest:
    """Return a request for the page of a token."""
    return v1.ListUsersRequest(page_token=token)


def refused(token: str) -> ApiError:
    """Return the error about a token."""
    with pytest.raises(ApiError) as raised:
        page_tokens.decode(asking(token))
    return raised.value


def with_mark(group: object, last: object) -> str:
    """Return a token of the right list."""
    mark, _, _ = json.loads(urlsafe_b64decode(page_tokens.encode(v1.ListUsersRequest(), "x") + "=="))
    return forged(json.dumps([mark, group, last]).encode())


@given(ids, st.integers(0, 2**53 - 1))
@example("\U0001f98a" * 32, 2**53 - 1)
@example("é" * 64, 2**53 - 1)
@example('"' * 128, 2**53 - 1)
@hundreds
def test_a_token_leads_to_where_the_page_before_ended(last: str, group: int) -> None:
    token = page_tokens.encode(v1.ListUsersRequest(page_size=3), last, group)
    assert page_tokens.decode(asking(token)) == (group, last)
    assert len(token) <= page_tokens.LENGTH
    assert token.isascii()
    assert not set(token) & set("+/=% ")


def test_no_token_is_the_first_page() -> None:
    assert page_tokens.decode(asking("")) == (0, "")


@given(st.text(max_size=60) | st.binary(max_size=60).map(forged))
@example("é")
@example("A")
@example(forged(b'{"group":0,"last":"x"}'))
@example(forged(b'[0,"x"]'))
@example(forged(b'["mark",0,"x"]'))
@example(forged(b"5"))
@example(with_mark("0", "x"))
@example(with_mark(0, 5))
@example(forged(b"[" + b"9" * 5000 + b',"x"]'))
@hundreds
def test_what_is_no_token_of_ours_is_a_bad_field(token: str) -> None:
    try:
        group, last = page_tokens.decode(asking(token))
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


async def test_a_page_ends_with_the_item_that_takes_it_past_its_bytes() -> None:
    """Entitlements, with the ids of all their sources, took more than the 4 MiB that clients accept."""
    users = [v1.User(id=f"{number:04}", metadata={"key": "v" * (page_tokens.BYTES // 10)}) for number in range(30)]
    listed: list[str] = []
    request = v1.ListUsersRequest(page_size=1000)
    while True:
        after = page_tokens.decode(request)[1]
        page, token = await page_tokens.fill(
            request, [user for user in users if user.id > after], lambda user: user, lambda user: (user.id, 0)
        )
        listed += [user.id for user in page]
        assert v1.ListUsersResponse(users=page).ByteSize() < 4 * 1024 * 1024
        assert len(page) == 10 or not token
        if not token:
            break
        request = v1.ListUsersRequest(page_size=1000, page_token=token)
    assert listed == [user.id for user in users]


@pytest.mark.parametrize(
    "other",
    [
        v1.ListFeaturesRequest(),
        v1.ListUsersRequest(),
        v1.ListGrantsRequest(user_id="124"),
        v1.ListUsageEventsRequest(user_id="125"),
        v1.ListUsageEventsRequest(user_id="124", feature_id="calls"),
    ],
)
def test_a_token_leads_on_in_its_own_list_only(other: Message) -> None:
    """A token of ListUsers was taken by ListFeatures, which then began in the middle."""
    token = page_tokens.encode(v1.ListUsageEventsRequest(user_id="124", page_size=7), "1-2")
    assert page_tokens.decode(v1.ListUsageEventsRequest(user_id="124", page_size=9, page_token=token)) == (0, "1-2")
    other.page_token = token  # type: ignore[attr-defined]
    with pytest.raises(ApiError) as raised:
        page_tokens.decode(other)
    assert [field for field, _ in raised.value.violations] == ["page_token"]
    assert "same request" in raised.value.message


# These passed the check, and broke the server's code later or were read as something else.


def test_a_token_nested_without_end_is_a_bad_field() -> None:
    assert refused(forged(b"[" * 100_000)).reason == ErrorReason.INVALID_FIELD


def test_a_token_with_half_a_character_is_a_bad_field() -> None:
    assert refused(with_mark(0, "\ud800")).reason == ErrorReason.INVALID_FIELD


@pytest.mark.parametrize("group", [-1, -BUCKETS])
def test_a_token_of_a_group_that_is_none_is_a_bad_field(group: int) -> None:
    assert refused(with_mark(group, "x")).reason == ErrorReason.INVALID_FIELD
