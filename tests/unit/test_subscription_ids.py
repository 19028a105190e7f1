"""Ids of subscriptions: each stands for one user and token, and only its exact spelling is valid."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canuse_server.api.tokens.subscription import decode, encode
from canuse_server.api.users.changes import new_token
from canuse_server.domain.model import Subscription, SubscriptionStatus

user_ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=128)
tokens = st.integers(0, 2**32 - 1).map("{:08x}".format)
hundreds = settings(max_examples=250, deadline=None)


@given(user_ids, tokens)
@hundreds
def test_an_id_tells_whose_it_is(user_id: str, token: str) -> None:
    subscription_id = encode(user_id, token)
    assert decode(subscription_id) == (user_id, token)
    assert subscription_id.startswith("sub_")
    assert subscription_id.isascii()
    assert not set(subscription_id) & set("+/=% ")


@given(user_ids, tokens, user_ids, tokens)
@hundreds
def test_no_two_subscriptions_share_an_id(user_id: str, token: str, other_id: str, other_token: str) -> None:
    assert (encode(user_id, token) == encode(other_id, other_token)) == ((user_id, token) == (other_id, other_token))


@given(st.text(max_size=80) | st.builds("sub_{}_{}".format, tokens, st.text(max_size=20)))
@example("")
@example("sub__")
@example("sub_00000000_")
@example("sub_00000000_é")
@example("sub_00000000_A")
@example("sub_00000000_" + urlsafe_b64encode(b"\xff").decode())
@hundreds
def test_only_ids_that_were_given_out_are_valid(subscription_id: str) -> None:
    found = decode(subscription_id)
    assert found is None or encode(*found) == subscription_id


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given + "=",
        lambda given: given + " ",
        lambda given: given.replace("sub_", "SUB_"),
        lambda given: given.replace("sub_", "bus_"),
        lambda given: given.partition("_")[2],
        lambda given: given[:-1] + "x",
        lambda given: given + "\n",
    ],
)
def test_another_spelling_of_an_id_is_not_that_id(change: object) -> None:
    subscription_id = encode("124", "0badcafe")
    assert callable(change)
    changed = decode(change(subscription_id))
    assert changed is None or changed != ("124", "0badcafe")


def test_a_new_token_is_none_that_the_user_has() -> None:
    taken: tuple[Subscription, ...] = ()
    for _ in range(200):
        token = new_token([held.token for held in taken])
        assert token not in {item.token for item in taken}
        assert decode(encode("u_ser", token)) == ("u_ser", token)
        taken = (*taken, Subscription(token, "p", 1, SubscriptionStatus.ACTIVE, 0))
