"""The names of keys in the store: everything that one decision reads is on one node, and no two things share a key."""

import subprocess
import sys
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from canuse_server.store.keys import BUCKETS, CLOCK, CLOCK_AUDIT, SCHEMA, Keys, bucket_of

KEYS = Keys("live")
ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)
nasty = st.text("{}:ub0psersledgd1", min_size=1, max_size=12)
"""Ids that look like parts of keys."""
user_ids = ids | nasty
thousand = settings(max_examples=400, deadline=None)


def keys_of(user_id: str) -> list[str]:
    """Return all keys that belong to one user alone."""
    return [KEYS.user(user_id), KEYS.profile(user_id), KEYS.history(user_id), *KEYS.events(user_id)]


@given(user_ids)
@thousand
def test_everything_one_decision_touches_is_in_one_slot_whatever_the_id(user_id: str) -> None:
    bucket = bucket_of(user_id)
    keys = [*keys_of(user_id), KEYS.users(bucket), KEYS.ledger(bucket), KEYS.audit(bucket)]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    # The slot is that of the bucket; nothing in the id affects it.
    assert {key_slot(key.encode()) for key in keys} == {key_slot(f"b{bucket:04d}".encode())}


@given(user_ids, user_ids)
@thousand
def test_two_users_share_no_key(one: str, other: str) -> None:
    keys = keys_of(one)
    assert len(set(keys)) == len(keys)
    if one != other:
        assert not set(keys) & set(keys_of(other))


@given(nasty, st.integers(0, BUCKETS - 1))
@thousand
def test_no_user_has_a_key_of_a_bucket_or_of_the_catalogue(user_id: str, bucket: int) -> None:
    catalogue = {value for name, value in vars(KEYS).items() if isinstance(value, str) and name != "environment"}
    assert len(catalogue) == 10
    of_bucket = {KEYS.users(bucket), KEYS.ledger(bucket), KEYS.audit(bucket)}
    assert not set(keys_of(user_id)) & {*of_bucket, SCHEMA, CLOCK, CLOCK_AUDIT, *catalogue}


def test_the_buckets_spread_over_as_many_slots_and_evenly() -> None:
    slots = [key_slot(KEYS.users(bucket).encode()) for bucket in range(BUCKETS)]
    assert len(set(slots)) == BUCKETS == 1024
    nodes = [slot * 16 // 16384 for slot in slots]
    assert all(40 <= nodes.count(node) <= 90 for node in range(16))


def test_users_spread_over_the_buckets() -> None:
    counts = [0] * BUCKETS
    for number in range(100 * BUCKETS):
        counts[bucket_of(f"user-{number}")] += 1
    assert min(counts) > 50
    assert max(counts) < 150


def test_the_bucket_of_a_user_is_the_same_in_every_process_and_for_ever() -> None:
    ids = ["124", "user-1", "ü", "{b0000}"]
    assert [bucket_of(user_id) for user_id in ids] == [625, 532, 469, 827]
    program = "import sys; from canuse_server.store.keys import bucket_of; print(*map(bucket_of, sys.argv[1:]))"
    completed = subprocess.run([sys.executable, "-c", program, *ids], capture_output=True, text=True, check=True)
    assert completed.stdout.split() == [str(bucket_of(user_id)) for user_id in ids]


def test_environments_share_no_key() -> None:
    live, test = Keys("live"), Keys("test")
    for one, other in zip(
        [live.user("u"), live.users(0), live.ledger(0), live.audit(0), live.features, live.catalog_channel],
        [test.user("u"), test.users(0), test.ledger(0), test.audit(0), test.features, test.catalog_channel],
        strict=True,
    ):
        assert one != other


def test_versions_of_packages_share_no_field() -> None:
    packages = [("p", 1), ("p", 11), ("1p", 1), ("1:p", 1), ("1:p", 11), (":p", 1), ("1", 1), ("", 1)]
    for one, other in combinations(packages, 2):
        assert KEYS.package_version(*one) != KEYS.package_version(*other)
