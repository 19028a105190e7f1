"""The round trips of a call to the store, which are noted while calls are traced."""

import time
from types import TracebackType
from typing import Final, NamedTuple

from canuse_server.runtime.call_state import current_call

MAX_KEPT: Final = 32
"""Maximum number of round trips that are kept of a call: a migration makes any number of them."""


class RoundTrip(NamedTuple):
    """Commands on their way to the store and back. Times are of `time.monotonic`."""

    started_at: float
    ended_at: float
    packed: bytes
    """The commands of the call, in the store's protocol."""
    error: str = ""
    """The name of the error if the replies did not arrive."""
    calls: int = 1
    """Number of calls whose commands were sent with the same write."""


class RoundTrips:
    """The round trips of one call: the first ones, and the number of all."""

    __slots__ = ("count", "kept")

    def __init__(self) -> None:
        self.kept: list[RoundTrip] = []
        self.count = 0

    def add(self, round_trip: RoundTrip) -> None:
        """Note a round trip that has ended."""
        self.count += 1
        if len(self.kept) < MAX_KEPT:
            self.kept.append(round_trip)


class Measurement:
    """Notes a block of code as a round trip."""

    __slots__ = ("_failure", "_packed", "_round_trips", "_started_at")

    def __init__(self, round_trips: RoundTrips | None, packed: bytes) -> None:
        self._round_trips = round_trips
        self._packed = packed
        self._started_at = time.monotonic()
        self._failure: BaseException | None = None

    def failed(self, error: BaseException | None) -> None:
        """Note the error of a round trip whose block raises none."""
        self._failure = error

    def __enter__(self) -> "Measurement":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, raised: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._round_trips is not None:
            error = raised or self._failure
            name = "" if error is None else type(error).__name__
            self._round_trips.add(RoundTrip(self._started_at, time.monotonic(), self._packed, name))


class _NotMeasured(Measurement):
    """A block of a call that is not traced: for all of them, since it keeps nothing."""

    __slots__ = ()

    def failed(self, error: BaseException | None) -> None:
        pass


_NOT_MEASURED: Final = _NotMeasured(None, b"")


def measured(packed: bytes) -> Measurement:
    """Return the context for a block that sends packed commands of the current call and waits for their replies."""
    round_trips = current_call().round_trips
    return _NOT_MEASURED if round_trips is None else Measurement(round_trips, packed)
