"""What the resolvers of a request share, and the bounds of what they may answer."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, TypeVar

from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.catalog import Catalog
from canuse_server.transport.http.kana.errors import KanaError

MAX_OBJECTS: Final = 30_000
"""Maximum number of objects in all lists of an answer."""
MAX_FIELDS: Final = 300_000
"""Maximum number of fields in an answer: that of as many objects, with some fields each."""
MAX_ERRORS: Final = 3000
"""Maximum number of errors in an answer: more than calls may fail, so that this is told if they are too many."""
SHORT: Final = 20
"""Shorter lists are completed without a break for other calls."""
_Item = TypeVar("_Item")


class Work:
    """A request that is being executed."""

    def __init__(self, calls: Calls, variables: dict[str, Any], named_user_id: str | None = None) -> None:
        """`variables`: all that were sent; `named_user_id`: the value of X-User-ID."""
        self.calls = calls
        self.catalog = Catalog(calls)
        self.variables = variables
        self.named_user_id = named_user_id
        self.objects = 0
        """How many are in the lists of the answer."""
        self._fields = self._errors = 0

    def count_field(self) -> None:
        """Count a field of the answer; raise KanaError if there are too many."""
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise KanaError(f"the answer has more than {MAX_FIELDS} fields: ask for less at a time")

    def may_tell_error(self) -> bool:
        """Count an error of a field; return whether the answer may have it."""
        self._errors += 1
        return self._errors <= MAX_ERRORS

    def listed(self, items: Sequence[_Item]) -> Sequence[_Item] | AsyncIterator[_Item]:
        """Return the items of a list, in a form that lets other calls go on while a long one is completed."""
        self.objects += len(items)
        if self.objects > MAX_OBJECTS:
            raise KanaError(f"the answer has more than {MAX_OBJECTS} objects: ask for less at a time")
        return items if len(items) < SHORT else self._paced(items)

    async def _paced(self, items: Sequence[_Item]) -> AsyncIterator[_Item]:
        for item in items:
            yield item
            await self.calls.pace.yield_if_due()
