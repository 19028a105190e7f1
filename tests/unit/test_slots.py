"""Keys are placed in a Cluster's slots as Redis does it, and all keys of a user together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from canuse_server.store.keys import BUCKETS, Keys, bucket_of, confirmation_marker, key_of, tag_of
from canuse_server.store.redis.slots import BUCKET_SLOTS, SLOTS, slot_of

KEYS = Keys("live")


@given(st.text(alphabet="{}ab:é", max_size=12))
def test_every_key_is_in_the_slot_that_redis_puts_it_in(key: str) -> None:
    assert slot_of(key) == key_slot(key.encode()) == slot_of(key.encode())


@given(st.text(min_size=1, max_size=30))
def test_all_keys_of_a_user_are_in_the_slot_of_the_bucket(user_id: str) -> None:
    user = {KEYS.user(user_id), KEYS.profile(user_id), KEYS.grants(user_id), KEYS.leases(user_id)}
    beside = {KEYS.leases_due(user_id), KEYS.chain(user_id, "mark"), KEYS.users(bucket_of(user_id))}
    slots = {slot_of(key) for key in (*KEYS.of_use(user_id), *user, *beside)}
    assert slots == {BUCKET_SLOTS[bucket_of(user_id)]}


def test_buckets_are_spread_over_all_slots() -> None:
    assert len(BUCKET_SLOTS) == BUCKETS
    assert len(set(BUCKET_SLOTS)) > BUCKETS * 0.9
    assert sum(slot < SLOTS // 2 for slot in BUCKET_SLOTS) == pytest.approx(BUCKETS / 2, rel=0.1)


@pytest.mark.parametrize("key", ["canuse:live:{b0001}:u:{x}", "canuse:live:{catalog}:version"])
def test_what_is_written_before_a_confirmation_is_on_the_node_of_the_key_it_is_for(key: str) -> None:
    assert slot_of(confirmation_marker(tag_of(key_of(("HGET", key, "f"))))) == slot_of(key)


def test_the_key_of_a_script_is_the_first_of_its_keys() -> None:
    assert key_of(("EVALSHA", "sha", "2", "one", "two", "argument")) == "one"
