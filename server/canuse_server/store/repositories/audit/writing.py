"""The arguments of the scripts that append entries to audit logs, and the log lines about these changes."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from canuse_server.runtime.call_state import current_call
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.redis.client import Store

DEFAULT_PACKAGE: Final = "canuse.v1."
"""Left out in stored names of methods."""


class AuditWriter:
    """Prepares the entries of changes, which their scripts append, and logs changes once they are made.

    Changes outside of calls, such as the renewal of entitlements, have no entry.
    """

    def __init__(self, store: Store, max_age_ms: int) -> None:
        self._store = store
        self._max_age = str(max_age_ms)

    def arguments(self, change: AuditEntry | None) -> tuple[bytes, str, str]:
        """Return the arguments of a script for a change: its entry with the author, empty for none, and how long it is
        kept."""
        author = current_call().author
        entry = b""
        if change is not None and author is not None:
            change.method = author.method.removeprefix(DEFAULT_PACKAGE)
            change.caller_key_id = author.key_id
            change.request_id = author.request_id
            entry = change.SerializeToString(deterministic=True)
        return entry, self._max_age, self._store.manual_now

    @staticmethod
    def note(change: AuditEntry | None) -> None:
        """Log a change that was made, without the ids of what changed: a log has no data of users."""
        author = current_call().author
        if change is None or author is None or author.log is None:
            return
        author.log(
            {
                "event": "change",
                "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "level": "info",
                "method": author.method,
                "environment": change.environment or author.environment,
                "key_id": author.key_id or None,
                "request_id": author.request_id or None,
                "fields": list(change.fields),
                "api_key_id": change.api_key_id or None,
            }
        )


def changed_fields(old: Any, new: Any, excluded: Iterable[str] = ()) -> list[str]:
    """Return the names in the API of the fields in which two values of a dataclass differ."""
    compared = (field.name for field in fields(new) if field.compare and field.name not in excluded)
    return [name.removesuffix("_ms") for name in compared if getattr(old, name) != getattr(new, name)]
