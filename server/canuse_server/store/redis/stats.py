"""What this process does with its store, counted for metrics."""

from typing import Final, Literal

from canuse_server.runtime.counters import ThreadCounts, ThreadHistograms

Event = Literal["connections_opened", "connection_failures", "redirects"]

ROUND_TRIP_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

EVENTS: Final[ThreadCounts[Event]] = ThreadCounts()
ROUND_TRIPS: Final[ThreadHistograms[str]] = ThreadHistograms(ROUND_TRIP_BOUNDS)
"""Seconds from sending commands to their last reply, by who waits: `lane` (a batch of calls) or `loop`."""
