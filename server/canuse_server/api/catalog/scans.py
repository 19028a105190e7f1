"""Going through all users of an environment."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.store.keys import bucket_of

PAGE: Final = 1000
"""Number of users listed at a time."""
BATCH: Final = 16
"""Number of users read in one round trip and worked on concurrently. Between batches a scan pauses and can end."""
AT_A_TIME: Final = 4
"""Maximum number of concurrent scans in a process, of both environments: each uses much of store and CPU."""
RETRY_SECONDS: Final = 5.0
"""Delay before a retry when the maximum is reached."""


class UserScans:
    """Counts the calls in flight that go through all users."""

    _under_way = 0

    @contextmanager
    def admit_scan(self, what: str) -> Iterator[None]:
        """Admit one more, or raise OVERLOADED; `what` names such calls in the error."""
        if self._under_way >= AT_A_TIME:
            text = f"too many {what} in flight: the maximum is {AT_A_TIME}; nothing was written"
            raise ApiError(ErrorReason.OVERLOADED, text, retry_after_seconds=RETRY_SECONDS)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


async def batches_of_users(env: Environment, bucket: int, last: str) -> AsyncIterator[list[str]]:
    """Yield the ids of the users after a bucket and id, in batches."""
    after = (bucket, last)
    while page := await env.users.page(after, PAGE):
        for start in range(0, len(page), BATCH):
            yield page[start : start + BATCH]
        after = (bucket_of(page[-1]), page[-1])
