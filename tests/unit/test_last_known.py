"""The cache of last known users is bounded in number, in bytes and in age."""

import tracemalloc

from canuse_server.api.last_known import ENTRY_BYTES, MAX_REPLY_BYTES, LastKnown


def known(memory: LastKnown, *users: str) -> list[object]:
    """Return the cached replies of users; None without one."""
    found = (memory.recall(user_id, "feature") for user_id in users)
    return [each and each.reply for each in found]


def test_the_last_reply_is_what_is_known() -> None:
    memory = LastKnown(300, 10)
    memory.note("a", "feature", b"first", 1)
    memory.note("a", "feature", b"second", 2)
    memory.note("a", "other", b"another", 3)
    found = memory.recall("a", "feature")
    assert found is not None
    assert (found.reply, found.now_ms) == (b"second", 2)
    assert memory.recall("b", "feature") is None


def test_where_there_are_too_many_the_one_that_was_noted_longest_ago_goes() -> None:
    memory = LastKnown(300, 3)
    for user_id in ("a", "b", "c", "a", "d", "e"):
        memory.note(user_id, "feature", user_id, 0)
    assert known(memory, "a", "b", "c", "d", "e") == ["a", None, None, "d", "e"]
    assert len(memory) == 3


def test_what_is_too_old_is_not_known_and_goes_by_and_by() -> None:
    memory = LastKnown(0, 1000)
    for number in range(1000):
        memory.note(str(number), "feature", b"reply", 0)
    assert known(memory, "0", "998") == [None, None]
    assert len(memory) <= 2


def test_a_user_who_is_erased_is_forgotten() -> None:
    memory = LastKnown(300, 10)
    for user_id, feature_id in (("a", "feature"), ("a", "other"), ("b", "feature")):
        memory.note(user_id, feature_id, user_id, 0)
    memory.forget("a")
    assert known(memory, "a", "b") == [None, "b"]
    assert len(memory) == 1


def test_what_is_remembered_is_bounded_in_bytes_too() -> None:
    """A user with a thousand grants took 32 KiB, and there was room for 100,000 of them."""
    entries = 100
    memory = LastKnown(300, entries)
    for number in range(1000):
        memory.note(f"user-{number}", "feature", [b"m" * 8, None, b"v" * 30, b"g" * 3200, None], 0)
        assert memory.held_bytes <= entries * ENTRY_BYTES
    assert 5 < len(memory) < 20
    assert memory.recall("user-999", "feature")
    assert memory.recall("user-900", "feature") is None


def test_a_reply_that_is_too_large_is_not_remembered_and_the_one_before_is_not_the_last_any_more() -> None:
    memory = LastKnown(300, 10)
    memory.note("a", "feature", [b"v" * MAX_REPLY_BYTES], 0)
    assert memory.recall("a", "feature")
    memory.note("a", "feature", [b"v", b"g" * MAX_REPLY_BYTES], 1)
    assert memory.recall("a", "feature") is None
    assert (len(memory), memory.held_bytes) == (0, 0)


def test_as_many_usual_replies_fit_as_there_are_entries_and_no_bytes_are_counted_for_what_is_gone() -> None:
    memory = LastKnown(300, 1000)
    for number in range(3000):
        memory.note(f"user-{number % 1500:010}", "a-feature", [b"m" * 8, None, b"v" * 30, None, None], 0)
    assert len(memory) == 1000
    for number in range(1500):
        memory.forget(f"user-{number:010}")
    assert (len(memory), memory.held_bytes) == (0, 0)


def test_what_a_reply_is_counted_for_is_what_it_takes() -> None:
    memory = LastKnown(300, 5000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2000):
            memory.note(f"user-{number:010}", f"feature-{number:010}", [bytes(8), None, bytes(30), bytes(96), None], 0)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(memory) == 2000
    assert taken / 2 < memory.held_bytes
    assert taken < memory.held_bytes * 2
