"""A recorder of uses that sends them in the background."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from canuse._async.entitlements import EntitlementMethods

if TYPE_CHECKING:
    from canuse.recorder import AsyncRecorder, RefusedEvent


class RecordingMethods(EntitlementMethods):
    """A recorder of uses that sends them in the background."""

    def recorder(
        self,
        spool: str | os.PathLike[str],
        *,
        max_events: int = 1_000_000,
        wait_seconds: float = 5.0,
        fsync: bool = False,
        on_refused: "Callable[[RefusedEvent], object] | None" = None,
    ) -> "AsyncRecorder":
        """Open a recorder: it takes uses in microseconds, keeps them on disk, and sends them in batches.

        Close it before the client. What is not sent by then stays in the spool for the next recorder.

        Args:
            spool: A folder for its files, of this process only; it is created if it does not exist.
            max_events: How many events may wait in the spool. Then `record` waits for room.
            wait_seconds: How long `record` waits for room before it raises RecorderFull.
            fsync: Whether each event is on disk before it is accepted, so that it survives a power cut as well. It
                makes `record` as slow as the disk.
            on_refused: Called, from another thread, with each event that the server refuses for good.

        Raises:
            SpoolInUse: Another recorder has the spool open.
            OSError: The folder cannot be written.
        """
        # Imported here: it needs SQLite, which not every Python has.
        from canuse.recorder import AsyncRecorder  # noqa: PLC0415

        return AsyncRecorder(
            spool,
            self.batch_create_usage_events,
            max_events=max_events,
            wait_seconds=wait_seconds,
            fsync=fsync,
            on_refused=on_refused,
        )
