"""Callers whose clients have leases."""

import time
from collections.abc import Callable

from canuse import Client, UseFeatureAnswer
from support.load import MAX_WAIT_SECONDS


def use_until(
    client: Client, user_id: str, feature_id: str, is_enough: Callable[[UseFeatureAnswer], bool], delta: int = 1
) -> int:
    """Use a feature until an answer is enough; return the units of all answers that were a yes."""
    deadline, used = time.monotonic() + MAX_WAIT_SECONDS, 0
    while True:
        answer = client.use_feature(user_id, feature_id, delta)
        used += delta if answer else 0
        if is_enough(answer):
            return used
        assert time.monotonic() < deadline, answer


def is_local(answer: UseFeatureAnswer) -> bool:
    """Whether an answer was decided without a call."""
    return answer.local


def is_no(answer: UseFeatureAnswer) -> bool:
    """Whether an answer is a no."""
    return not answer
