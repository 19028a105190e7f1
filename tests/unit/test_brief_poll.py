"""A connection polls for replies only while they arrive soon."""

import select
import socket
from collections.abc import Iterator

import pytest

from canuse_server.store.redis.brief_poll import MAX_LATE, BriefPoll


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def polling(connection: socket.socket) -> BriefPoll:
    """Return what polls a connection."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return BriefPoll(poll)


def test_after_some_late_replies_in_succession_it_does_not_poll_for_a_while(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    brief = polling(ends[0])
    for _ in range(MAX_LATE - 1):
        brief.wait()
    assert not brief.paused_until
    brief.wait()
    assert brief.paused_until


def test_a_reply_in_time_ends_the_succession(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    brief = polling(ours)
    for _ in range(3):
        for _ in range(MAX_LATE - 1):
            brief.wait()
        theirs.send(b"reply")
        brief.wait()
        assert ours.recv(16) == b"reply"
    assert not brief.paused_until
