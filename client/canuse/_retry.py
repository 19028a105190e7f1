"""Retries: after which failures a call is made again, how soon, and how often. No I/O."""

import random
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import grpc

from canuse import _requests
from canuse._arguments import bad_argument, positive, shown
from canuse._safety import SAFETY, Safety
from canuse.errors import (
    BadArgument,
    CanuseError,
    ClientClosed,
    DeadlineExceeded,
    Overloaded,
    Unavailable,
    closed_during_call,
)

ANSWERS_PER_RETRY: Final = 5
"""How many answered calls add one retry to the budget."""
SECONDS_TO_REFILL: Final = 100
"""After what time the budget is full again without any answer."""
_NOTHING_WRITTEN_ANYWHERE: Final = "SHUTTING_DOWN"
_STORE_UNAVAILABLE: Final = "STORE_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Retry:
    """How a client repeats calls that got no answer. Retries never count a use twice, and never exceed the deadline.

    After a failure the client waits for a random time, up to a maximum that doubles each time, then for a connection,
    and makes the call again with the same `event_id`.

    Attributes:
        recording: Whether calls that record uses are repeated, too: each then has an `event_id`, a generated one if
            the caller gives none, which the store keeps for 10 to 20 minutes. False: only calls that change nothing,
            and those that a server did not take because it shuts down.
        initial_backoff_seconds: Maximum wait before the first retry.
        max_backoff_seconds: Maximum wait before any retry.
        max_seconds: Time after which a call is not repeated. None: its deadline, the client's `timeout_seconds`.
        budget: Maximum number of retries in a row, of all calls of a client together. Each 5 answered calls allow one
            more; without answers it is full again after 100 seconds. Calls that find it empty are not repeated, so
            that an overloaded service is not called more often.
    """

    recording: bool = True
    initial_backoff_seconds: float = 0.05
    max_backoff_seconds: float = 1.0
    max_seconds: float | None = None
    budget: int = 1000

    def __post_init__(self) -> None:
        """Refuse values that cannot hold; BadArgument names the attribute."""
        values: tuple[Any, Any] = (self.recording, self.budget)
        recording, budget = values
        if not isinstance(recording, bool):
            raise bad_argument("recording", recording, "True or False")
        positive("initial_backoff_seconds", self.initial_backoff_seconds)
        positive("max_backoff_seconds", self.max_backoff_seconds)
        if self.max_seconds is not None:
            positive("max_seconds", self.max_seconds)
        if not isinstance(budget, int) or isinstance(budget, bool):
            raise bad_argument("budget", budget, "an int, 1 or more")
        if budget < 1:
            raise BadArgument.of("budget", f"{shown(budget)} is not 1 or more")


_NO_RETRIES: Final = Retry(recording=False)


class RetryBudget:
    """A token bucket for the retries of one client. Threads may share it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = self._tokens = float(capacity)
        self._refilled_at = time.monotonic()
        self._lock = threading.Lock()

    def answered(self) -> None:
        """Note an answer, which adds a part of a retry."""
        if self._tokens < self._capacity:
            with self._lock:
                self._tokens = min(self._capacity, self._tokens + 1 / ANSWERS_PER_RETRY)

    def take(self) -> bool:
        """Take one retry; False if none is left."""
        with self._lock:
            now = time.monotonic()
            gained = (now - self._refilled_at) * self._capacity / SECONDS_TO_REFILL
            self._refilled_at, self._tokens = now, min(self._capacity, self._tokens + gained)
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


@cache
def _is_safe_by_event_id(request_type: Any) -> bool:
    return SAFETY.get(request_type.DESCRIPTOR, Safety.NONE) is Safety.EVENT_ID


class Retries:
    """The retries of a client; with a policy of None there are none."""

    def __init__(self, policy: Retry | None) -> None:
        self.policy = policy
        self.budget = None if policy is None else RetryBudget(policy.budget)

    def prepare(self, request: Any) -> None:
        """Give a request that may be repeated its event ids, before the first attempt."""
        kind: Any = type(request)
        if self.policy is not None and self.policy.recording and _is_safe_by_event_id(kind):
            _requests.give_event_ids(request)

    def answered(self) -> None:
        """Note an answered call."""
        if self.budget is not None:
            self.budget.answered()

    def attempts(
        self, request: Any, started_at: float, timeout_seconds: float, retry_seconds: float | None = None
    ) -> "Attempts":
        """Return the attempts of a call whose first one has failed; the last starts after `retry_seconds` at most."""
        if self.policy is None or self.budget is None:
            return Attempts(_NO_RETRIES, RetryBudget(1), Safety.NONE, started_at)
        safety = SAFETY.get(request.DESCRIPTOR, Safety.NONE)
        if not self.policy.recording and safety is not Safety.READS:
            safety = Safety.NONE
        limits = (timeout_seconds, self.policy.max_seconds, retry_seconds)
        deadline = started_at + min(seconds for seconds in limits if seconds is not None)
        return Attempts(self.policy, self.budget, safety, deadline)


class Attempts:
    """The attempts of one call: what follows from each failure."""

    def __init__(self, policy: Retry, budget: RetryBudget, safety: Safety, deadline: float) -> None:
        self._policy = policy
        self._budget = budget
        self._safety = safety
        self._deadline = deadline
        self._retries = 0
        self._first: CanuseError | None = None
        """The failure to report if the following ones only say that there is still no answer."""

    def remaining_seconds(self) -> float:
        """Return the time that is left for the next attempt."""
        return max(0.001, self._deadline - time.monotonic())

    def delay_after(self, error: CanuseError) -> float:
        """Return how long to wait before the next attempt; raise the error to report if there is none."""
        delay = self.delay() if self.is_repeated(error) else None
        if delay is None:
            raise self.reported(error)
        return delay

    def is_repeated(self, error: CanuseError) -> bool:
        """Note a failure; return whether the call may be made again after it."""
        if not self._is_retried(error):
            return False
        if self._first is None or self._is_uncertain(error):
            self._first = error
        return True

    def delay(self) -> float | None:
        """Take a retry from the budget, and return how long to wait before it. None: no time or no budget is left."""
        doubled = self._policy.initial_backoff_seconds * 2 ** min(self._retries, 32)
        longest = min(self._policy.max_backoff_seconds, doubled)
        # "Full jitter": callers whose calls failed together do not come back together.
        delay = random.uniform(0, longest)  # noqa: S311 - it protects nothing
        if time.monotonic() + delay >= self._deadline or not self._budget.take():
            return None
        self._retries += 1
        return delay

    def _is_retried(self, error: CanuseError) -> bool:
        if error.reason == _NOTHING_WRITTEN_ANYWHERE:
            return True
        if self._safety is Safety.NONE:
            return False
        if error.reason == _STORE_UNAVAILABLE:
            # The server has waited for the store already; only to learn what became of an earlier attempt it is worth
            # asking again.
            return self._first is not None and self._is_uncertain(self._first)
        return isinstance(error, Unavailable) or _is_cut_off(error)

    def _is_uncertain(self, error: CanuseError) -> bool:
        """Whether an attempt that failed like this may have written something."""
        if self._safety is Safety.READS or error.reason in (_NOTHING_WRITTEN_ANYWHERE, _STORE_UNAVAILABLE):
            return False
        return isinstance(error, Unavailable) or _is_cut_off(error)

    def reported(self, error: CanuseError) -> CanuseError:
        """Return the error to raise: that nothing was written by the last attempt says nothing about the others."""
        if self._first is None or self._is_uncertain(error):
            return error
        if isinstance(error, ClientClosed):
            return closed_during_call()
        if isinstance(error, DeadlineExceeded):
            # It may have been sent, or may have waited for a connection in vain.
            return self._first if self._safety is Safety.READS or self._is_uncertain(self._first) else error
        return self._first if isinstance(error, Unavailable | Overloaded) else error


def _is_cut_off(error: CanuseError) -> bool:
    """Whether a server that shut down cancelled the call, as grpcio sometimes does."""
    return error.code is grpc.StatusCode.CANCELLED and not isinstance(error, ClientClosed)
