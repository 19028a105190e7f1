"""The spool: unsent and refused events in SQLite, in a folder that one process has locked."""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Final

from canuse.recorder.events import Event, RefusedEvent, SpoolInUse

_COLUMNS: Final = "user_id, feature_id, delta, event_id, recorded_ms"
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT, feature_id TEXT, delta INTEGER, event_id TEXT,
    recorded_ms INTEGER, UNIQUE (user_id, event_id, feature_id, delta));
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY AUTOINCREMENT, {_COLUMNS}, reason TEXT, message TEXT);
"""
_BUSY_SECONDS: Final = 30.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Spool:
    """The database of a spool, for several threads."""

    def __init__(self, folder: Path, *, fsync: bool) -> None:
        """Open it, and create what does not exist. Raises SpoolInUse, OSError and sqlite3.Error."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = _locked(folder / "lock")
        self._lock = Lock()
        try:
            self._database = sqlite3.connect(
                folder / "events.sqlite", timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute(f"PRAGMA synchronous={'FULL' if fsync else 'NORMAL'}")
            self._database.executescript(_SCHEMA)
        except BaseException:
            os.close(self._lock_file)
            raise

    def add(self, events: Iterable[Event]) -> int:
        """Add events that are not there yet, and return how many were added."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            before = self._database.total_changes
            self._database.executemany(f"INSERT OR IGNORE INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", events)  # noqa: S608
            return self._database.total_changes - before

    def first(self, count: int) -> list[tuple[int, Event]]:
        """Return the oldest unsent events with their numbers."""
        with self._lock:
            rows = self._database.execute(f"SELECT id, {_COLUMNS} FROM events ORDER BY id LIMIT ?", (count,))  # noqa: S608
            return [(number, Event(*values)) for number, *values in rows]

    def finish(self, sent: Sequence[int], refused: Sequence[tuple[int, Event, str, str]]) -> None:
        """Remove events that were recorded, and set those aside that were refused, with the reason and a sentence."""
        gone = [(number,) for number in (*sent, *(number for number, *_ in refused))]
        rows = [(*event, reason, message) for _, event, reason, message in refused]
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                f"INSERT INTO refused ({_COLUMNS}, reason, message) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                rows,
            )
            self._database.executemany("DELETE FROM events WHERE id = ?", gone)

    def depth(self) -> int:
        """Return the number of unsent events."""
        with self._lock:
            return int(self._database.execute("SELECT count(*) FROM events").fetchone()[0])

    def oldest_ms(self) -> int | None:
        """Return when the oldest unsent event was accepted, in milliseconds since 1970."""
        with self._lock:
            found = self._database.execute("SELECT recorded_ms FROM events ORDER BY id LIMIT 1").fetchone()
            return None if found is None else int(found[0])

    def refused(self) -> list[RefusedEvent]:
        """Return the events that were set aside, oldest first."""
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS}, reason, message FROM refused ORDER BY id").fetchall()  # noqa: S608
        return [refused_event(Event(*row[:5]), row[5], row[6]) for row in rows]

    def take_back(self) -> int:
        """Make the events that were set aside unsent again, and return how many there were."""
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            copied = self._database.execute(
                f"INSERT OR IGNORE INTO events ({_COLUMNS}) SELECT {_COLUMNS} FROM refused ORDER BY id"  # noqa: S608
            )
            self._database.execute("DELETE FROM refused")
            return copied.rowcount

    def close(self) -> None:
        """Close the database, and let others open it."""
        with self._lock:
            self._database.close()
        os.close(self._lock_file)


def refused_event(event: Event, reason: str, message: str) -> RefusedEvent:
    """Return an event that was set aside, as callers see it."""
    recorded_at = _EPOCH + timedelta(milliseconds=event.recorded_ms)
    return RefusedEvent(event.user_id, event.feature_id, event.delta, event.event_id, recorded_at, reason, message)


def _locked(path: Path) -> int:
    """Lock a file until its descriptor is closed or the process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SpoolInUse(
            f"the spool {path.parent} is in use by another recorder: give each a folder of its own"
        ) from None
    return descriptor
