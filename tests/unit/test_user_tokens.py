"""User tokens: the format, and the rotation of the keys that sign them."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canuse.v1 import entitlement_service_pb2
from canuse_server.api.methods import method_at, method_of
from canuse_server.api.scopes import PUBLIC_METHODS
from canuse_server.api.tokens.user_token import UserTokens
from canuse_server.api.users.tokens import named_users
from canuse_server.domain.api_keys import LIVE, TEST
from canuse_server.domain.periods import DAY_MS
from canuse_server.domain.user_tokens import (
    MAX_TTL_MS,
    SigningKey,
    UserToken,
    current_key,
    is_rotation_due,
    next_key,
    outdated_keys,
)
from canuse_server.store.errors import StoreUnavailableError

NOW: Final = 1_800_000_000_000
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=32)
contents = st.builds(
    UserToken, st.sampled_from((LIVE, TEST)), ids, st.binary(min_size=8, max_size=8), st.integers(0, 2**47)
)


def signer(*keys: SigningKey) -> UserTokens:
    """Return a signer with some keys."""
    tokens = UserTokens()
    tokens.keys = {key.number: key for key in keys}
    return tokens


KEY: Final = SigningKey(7, b"k" * 32, NOW)
TOKENS: Final = signer(KEY)


@given(contents)
def test_a_token_says_what_was_signed_and_is_bounded_in_length(token: UserToken) -> None:
    signed = TOKENS.sign(token, NOW)
    assert TOKENS.verify(signed.encode()) == token
    assert len(signed) <= 247


@given(contents, st.data())
def test_a_token_is_not_valid_with_any_character_changed_removed_or_added(
    token: UserToken, data: st.DataObject
) -> None:
    signed = TOKENS.sign(token, NOW)
    place = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw(st.sampled_from([each for each in ALPHABET + "=+/. é\n" if each != signed[place]]))
    for changed in (
        signed[:place] + other + signed[place + 1 :],
        signed[:place],
        signed[:place] + other + signed[place:],
        signed + other,
        signed + "=",
    ):
        assert TOKENS.verify(changed.encode()) is None


@given(st.one_of(st.binary(max_size=300), st.text(ALPHABET, max_size=300).map(lambda text: f"utk_{text}".encode())))
def test_what_was_made_up_is_not_valid(text: bytes) -> None:
    assert TOKENS.verify(text) is None


@pytest.mark.parametrize("user_id", ["u", "uu", "uuu"])
def test_one_text_only_stands_for_a_token(user_id: str) -> None:
    """In base64, the last character of a token can have bits to spare."""
    signed = TOKENS.sign(UserToken(LIVE, user_id, b"12345678", NOW), NOW)
    valid = [last for last in ALPHABET if TOKENS.verify(f"{signed[:-1]}{last}".encode())]
    assert valid == [signed[-1]]


def test_the_largest_token_is_valid() -> None:
    token = UserToken(TEST, "u" * 128, b"\xff" * 8, 2**48)
    assert TOKENS.verify(TOKENS.sign(token, NOW).encode()) == token


def test_a_token_that_another_key_signed_is_not_valid() -> None:
    token = UserToken(LIVE, "u", b"12345678", NOW)
    forged = signer(SigningKey(7, b"x" * 32, NOW)).sign(token, NOW)
    unknown = signer(SigningKey(8, b"k" * 32, NOW)).sign(token, NOW)
    assert [TOKENS.verify(each.encode()) for each in (forged, unknown)] == [None, None]
    assert UserTokens().verify(TOKENS.sign(token, NOW).encode()) is None


def test_without_a_key_no_token_is_signed() -> None:
    with pytest.raises(StoreUnavailableError):
        UserTokens().sign(UserToken(LIVE, "u", b"12345678", NOW), NOW)


def test_a_signing_key_shows_no_secret_of_itself() -> None:
    assert "kkk" not in repr(KEY)


def rotated(keys: list[SigningKey], now_ms: int) -> list[SigningKey]:
    """Return the keys after a rotation."""
    outdated, last_number = outdated_keys(keys, now_ms), max((key.number for key in keys), default=0)
    return [*(key for key in keys if key not in outdated), next_key(keys, last_number, b"s", now_ms)]


def test_a_new_key_signs_only_when_every_server_has_read_it_except_the_first() -> None:
    [first] = keys = rotated([], NOW)
    assert current_key(keys, NOW) is first
    keys = rotated(keys, NOW + 1000)
    assert current_key(keys, NOW + 60_999) is first
    assert current_key(keys, NOW + 61_000).number == 2


def test_keys_rotate_each_month_and_stay_until_their_last_token_has_expired() -> None:
    keys: list[SigningKey] = []
    signed: dict[int, int] = {}
    for day in range(400):
        now_ms = NOW + day * DAY_MS
        if is_rotation_due(keys, now_ms):
            keys = rotated(keys, now_ms)
        signed[now_ms] = current_key(keys, now_ms).number
        numbers = {key.number for key in keys}
        assert len(numbers) <= 3
        assert {number for at_ms, number in signed.items() if at_ms + MAX_TTL_MS >= now_ms} <= numbers
    assert max(signed.values()) == 13


def test_a_clock_that_steps_back_finds_a_key() -> None:
    keys = rotated(rotated([], NOW), NOW)
    assert current_key(keys, 0).number == 1
    assert not is_rotation_due(keys, 0)


@pytest.mark.parametrize("method", ["UseFeature", "Reserve"])
def test_a_method_that_writes_cannot_be_opened_to_user_tokens(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    service = entitlement_service_pb2.DESCRIPTOR.services_by_name["EntitlementService"]
    monkeypatch.setitem(PUBLIC_METHODS, f"/{service.full_name}/{method}", "user_id")
    with pytest.raises(LookupError, match=r"api/scopes\.py opens .* to user tokens"):
        method_of(service.methods_by_name[method])


def test_of_a_field_that_is_sent_twice_the_check_reads_what_the_handler_reads() -> None:
    single, batch = (method_at(f"/canuse.v1.EntitlementService/{name}") for name in ("CanUse", "BatchCanUse"))
    assert named_users(single, b"\n\x01a\n\x01b") == {"b"}
    assert named_users(batch, b"\n\x06\n\x01a\n\x01b\n\x03\n\x01c") == {"b", "c"}


def test_a_method_that_is_not_for_user_tokens_names_no_user() -> None:
    assert named_users(method_at("/canuse.v1.EntitlementService/UseFeature"), b"\n\x01a") == set()
