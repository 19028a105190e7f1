"""What a client hands uses to that it cannot record itself."""

from typing import Protocol


class UsesRecorder(Protocol):
    """What keeps uses and records them later: a recorder of the client, or anything like it."""

    async def record(self, user_id: str, feature_id: str, delta: int = 1, event_id: str | None = None) -> str:
        """Keep a use that has happened."""
