"""All waits of a shutdown share one deadline."""

from canuse_server.transport.shutdown import Deadline


def test_the_deadline_starts_when_it_is_first_asked_for_and_is_shared() -> None:
    now = 100.0
    deadline = Deadline(30, lambda: now)
    now = 200.0
    assert deadline.remaining() == 30
    now = 220.0
    assert deadline.remaining() == 10
    now = 231.0
    assert deadline.remaining() == 0
