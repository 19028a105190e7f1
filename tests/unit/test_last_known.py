"""What is remembered of users is bounded in number and in age."""

from canuse_server.api.last_known import LastKnown


def known(memory: LastKnown, *users: str) -> list[object]:
    """Return the replies that are known of users; None where there is none."""
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
