"""What the threads of the batch lane pass to each other."""

from typing import Final, NamedTuple

from canuse_server.transport.memo import Memo, Request

PAUSE_SECONDS: Final = 0.5
"""How long a lane does not ask a store that did not answer in time."""


class Call(NamedTuple):
    """A call on its way."""

    id: int
    payload: bytes
    request: Request
    memo: Memo
    came: float
    """When it came at the earliest, by `time.monotonic`."""
