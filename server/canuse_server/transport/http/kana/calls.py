"""The calls of the API that one request makes: with its credentials, within its time, and a bounded number of them."""

import asyncio
import time
from dataclasses import replace
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from canuse_server.api.context import CallContext
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.metadata import Metadata, authorization
from canuse_server.api.methods import method_at
from canuse_server.runtime.fairness import YieldBudget
from canuse_server.transport.http.kana.errors import KanaError

MAX_CALLS: Final = 2000
MAX_ITEMS: Final = 10_000
"""The longest list that is answered: Kana's lists have no pages."""
PAGE_SIZE: Final = 1000
_V1: Final = "/canuse.v1."
_Answer = TypeVar("_Answer", bound=Message)


class Calls:
    """Calls the methods of the API. What was read once is not read again before something is written."""

    def __init__(self, dispatcher: Dispatcher, metadata: Metadata, deadline: float, pace: YieldBudget) -> None:
        """`deadline` of the request, by `time.monotonic`; `pace`: shared by all requests."""
        self._dispatcher = dispatcher
        self._metadata = metadata
        self._deadline = deadline
        self.pace = pace
        self._made = 0
        self.writes = 0
        """How many calls were made that write."""
        self._trusted: CallContext | None = None
        self._reads: dict[tuple[str, bytes], asyncio.Task[bytes]] = {}

    async def __call__(self, method: str, request: Message, kind: type[_Answer]) -> _Answer:
        """Call a method, `Service/Method`; raise ApiError where it fails, KanaError where there are too many calls."""
        payload = request.SerializeToString(deterministic=True)
        if method_at(f"{_V1}{method}").writes:
            self._reads.clear()
            self.writes += 1
            return kind.FromString(await self._call(method, payload))
        task = self._reads.get((method, payload))
        if task is None:
            task = self._reads[method, payload] = asyncio.create_task(self._call(method, payload))
        answer = kind.FromString(await task)
        # Many may wait for the same one.
        await self.pace.yield_if_due()
        return answer

    async def all(self, method: str, request: Any, kind: type[Any], field: str) -> list[Any]:
        """Return all items of a list; raise KanaError where there are too many."""
        items: list[Any] = []
        request.page_size = PAGE_SIZE
        while True:
            page = await self(method, request, kind)
            items += getattr(page, field)
            if len(items) > MAX_ITEMS:
                name = method.partition("/")[2]
                raise KanaError(f"there are more than {MAX_ITEMS} {field}: call {name} of canuse, which has pages")
            if not page.next_page_token:
                return items
            request.page_token = page.next_page_token

    def open(self, method: str) -> CallContext:
        """Authorize a call of a method; raise ApiError if it is refused."""
        return self._dispatcher.open(f"{_V1}{method}", self._metadata)

    def authorize(self, method: str) -> None:
        """Raise ApiError if the credentials do not permit a method."""
        self._dispatcher.authorizer.authorize(f"{_V1}{method}", authorization(self._metadata))

    def trust(self, context: CallContext) -> None:
        """Make the calls from here on as the server itself, in the environment of an authorized one."""
        self._trusted = replace(context, principal=None, authorization=None)

    async def _call(self, method: str, payload: bytes) -> bytes:
        self._made += 1
        if self._made > MAX_CALLS:
            raise KanaError(f"the request needs more than {MAX_CALLS} calls of the API: send several smaller requests")
        await self.pace.yield_if_due()
        trusted = self._trusted
        context = self.open(method) if trusted is None else replace(trusted, path=f"{_V1}{method}")
        return await self._dispatcher.unary(context, payload, self._deadline - time.monotonic())

    async def close(self) -> None:
        """End the calls that nobody waits for any more."""
        tasks = list(self._reads.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
