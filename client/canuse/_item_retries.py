"""Retries of the items of a batch that got no answer, while the others did. No I/O."""

from collections.abc import Callable
from typing import Any

from canuse._retry import Attempts
from canuse.errors import CanuseError, as_batch_item


class ItemRetries:
    """Makes the items that got no answer again, together, as a single call would be.

    Each item has its own failures; all of them have one deadline, and one call takes one retry from the budget.
    """

    def __init__(self, request: Any, answers: list[Any], attempts: Callable[[], Attempts]) -> None:
        """Take the request of a batch, the answers and errors to it, and what makes the attempts of one call.

        The `answers` of items that are made again are replaced.
        """
        self._request = request
        self._answers = answers
        self._items = {place: attempts() for place, answer in enumerate(answers) if isinstance(answer, CanuseError)}
        self._call = attempts()

    def next(self) -> tuple[Any, float] | None:
        """Return the request for the items to make again, and after how many seconds; None if there are none."""
        for place, attempts in list(self._items.items()):
            if not attempts.is_repeated(self._answers[place]):
                self._report(place)
        delay = self._call.delay() if self._items else None
        if delay is None:
            for place in list(self._items):
                self._report(place)
            return None
        return type(self._request)(requests=[self._request.requests[place] for place in self._items]), delay

    def _report(self, place: int) -> None:
        reported = self._items.pop(place).reported(self._answers[place])
        if reported is not self._answers[place]:
            self._fail(place, reported)

    def _fail(self, place: int, error: CanuseError) -> None:
        item = self._answers[place] = as_batch_item(error)
        item.event_id = getattr(self._request.requests[place], "event_id", "")

    def remaining_seconds(self) -> float:
        """Return the time that is left for the next attempt."""
        return self._call.remaining_seconds()

    def answered(self, answers: list[Any]) -> None:
        """Take the answers and errors to the items that were made again."""
        for place, answer in zip(list(self._items), answers, strict=False):
            self._answers[place] = answer
            if not isinstance(answer, CanuseError):
                del self._items[place]

    def failed(self, error: CanuseError) -> None:
        """Take the error of the call that made the items again."""
        for place in self._items:
            self._fail(place, error)
