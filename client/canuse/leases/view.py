"""What a client holds, as its caller sees it."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Units that a client has reserved for a user ahead of use."""

    user_id: str
    """The user."""
    feature_id: str
    """The feature."""
    lease_id: str
    """The id of the lease."""
    left: int
    """Units that may still be used without a call."""
    unreported: int
    """Units used that are not recorded yet."""
    usable_for: timedelta
    """How long they may be used without a call, unless it is extended before."""


@dataclass(frozen=True, slots=True)
class HeldLeases:
    """What a client decides by itself at the moment."""

    held: tuple[HeldLease, ...] = ()
    """The leases."""
    unreported: int = 0
    """Units used that are not recorded yet, in all."""
    lost: int = 0
    """Units used that could not be recorded, since this client was made: for example because the user was deleted.
    They were logged, by the logger `canuse.leases`."""
