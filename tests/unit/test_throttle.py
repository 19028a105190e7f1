"""Repeated log messages are throttled."""

from canuse_server.runtime.throttle import Throttle


def test_one_line_goes_through_and_the_rest_are_counted() -> None:
    throttle = Throttle(3600)
    assert [throttle.try_acquire() for _ in range(3)] == [0, None, None]


def test_the_next_line_says_how_many_were_held_back() -> None:
    throttle = Throttle(3600)
    throttle.try_acquire()
    throttle.try_acquire()
    throttle._next_at = 0
    assert throttle.try_acquire() == 1
