"""The token bucket of reflection: a burst, and a rate per second."""

from canuse_server.transport.reflection import TokenBucket


def test_the_allowance_is_what_was_not_spent_and_grows_with_time() -> None:
    now = 0.0
    bucket = TokenBucket(100, 10, lambda: now)
    assert [bucket.try_take(60), bucket.try_take(60), bucket.try_take(40), bucket.try_take(1)] == [
        True,
        False,
        True,
        False,
    ]
    now = 2.0
    assert [bucket.try_take(21), bucket.try_take(20), bucket.try_take(1)] == [False, True, False]
    now = 3600.0
    assert [bucket.try_take(101), bucket.try_take(100), bucket.try_take(1)] == [False, True, False]
