"""Ids of leases: each stands for one user, feature and token, and only its exact spelling is valid."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canuse_server.api.tokens.lease import LENGTH, LeaseName, decode, encode
from canuse_server.api.tokens.subscription import encode as subscription_id

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=128)
ids = texts.map(lambda text: text.encode()[:128].decode(errors="ignore"))
tokens = st.binary(min_size=8, max_size=8)
names = st.builds(LeaseName, ids, ids, tokens)
hundreds = settings(max_examples=250, deadline=None)
TOKEN = bytes.fromhex("0badcafe01234567")
NAME = LeaseName("124", "calls", TOKEN)


@given(names)
@hundreds
def test_an_id_tells_whose_it_is_and_what_of(name: LeaseName) -> None:
    lease_id = encode(name)
    assert decode(lease_id) == name
    assert lease_id.startswith("lease_")
    assert lease_id.isascii()
    assert not set(lease_id) & set("+/=% ")


@given(names, names)
@hundreds
def test_no_two_leases_share_an_id(name: LeaseName, other: LeaseName) -> None:
    assert (encode(name) == encode(other)) == (name == other)


def test_the_longest_ids_fit() -> None:
    longest = LeaseName("\U0010ffff" * 32, "\U0010ffff" * 32, TOKEN)
    assert decode(encode(longest)) == longest
    assert len(encode(longest)) < LENGTH


@given(st.text(max_size=80) | st.builds("lease_{}_{}".format, tokens.map(bytes.hex), st.text(max_size=20)))
@example("")
@example("lease__")
@example("lease_0badcafe01234567_")
@example("lease_0badcafe01234567_é")
@example("lease_0badcafe01234567_A")
@example("lease_0badcafe01234567_" + urlsafe_b64encode(b"\xff\0a").decode())
@example("lease_0badcafe01234567_" + urlsafe_b64encode(b"124").decode())
@example("lease_0badcafe01234567_" + urlsafe_b64encode(b"\0calls").decode())
@example("lease_0badcafe01234567_" + urlsafe_b64encode(b"124\0").decode())
@example("lease_0badcafe01234567_" + urlsafe_b64encode(b"124\0calls\0more").decode())
@example("lease_0badcafe_" + urlsafe_b64encode(b"124\0calls").decode())
@example("lease_0badcafe 01234567_" + urlsafe_b64encode(b"124\0calls").decode())
@example(subscription_id("124", "0badcafe"))
@hundreds
def test_only_ids_that_were_given_out_are_valid(lease_id: str) -> None:
    found = decode(lease_id)
    assert found is None or encode(found) == lease_id


@pytest.mark.parametrize(
    "lease_id",
    [
        "lease_0badcafe_" + urlsafe_b64encode(b"124\0calls").decode().rstrip("="),
        "lease_0badcafe0123456789_" + urlsafe_b64encode(b"124\0calls").decode().rstrip("="),
        "lease_0BADCAFE01234567_" + urlsafe_b64encode(b"124\0calls").decode().rstrip("="),
        "lease_0badcafe01234567_" + urlsafe_b64encode(b"124\0").decode().rstrip("="),
        "lease_0badcafe01234567_" + urlsafe_b64encode(b"\0calls").decode().rstrip("="),
        encode(NAME) + "=",
        encode(NAME) + "\n",
        encode(NAME).replace("lease", "LEASE"),
        encode(NAME).replace("lease_", "sub_"),
        encode(NAME).removeprefix("lease_"),
    ],
)
def test_another_spelling_of_an_id_is_none(lease_id: str) -> None:
    assert decode(lease_id) is None
