"""The byte allowance of reflection: a burst, and a rate per second."""

from canuse_server.transport.reflection import Allowance


def test_the_allowance_is_what_was_not_spent_and_grows_with_time() -> None:
    now = 0.0
    allowance = Allowance(100, 10, lambda: now)
    assert [allowance.spend(60), allowance.spend(60), allowance.spend(40), allowance.spend(1)] == [
        True,
        False,
        True,
        False,
    ]
    now = 2.0
    assert [allowance.spend(21), allowance.spend(20), allowance.spend(1)] == [False, True, False]
    now = 3600.0
    assert [allowance.spend(101), allowance.spend(100), allowance.spend(1)] == [False, True, False]
