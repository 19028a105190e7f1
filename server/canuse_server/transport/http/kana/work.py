"""What the resolvers of a request share, and the bounds of what they may answer."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, TypeVar

from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.catalog import Catalog
from canuse_server.transport.http.kana.errors import KanaError

MAX_OBJECTS: Final = 30_000
"""Maximum number of objects in all lists of an answer."""
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
