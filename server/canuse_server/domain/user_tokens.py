"""User tokens, and the rotation of the keys that sign them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from canuse_server.domain.periods import DAY_MS

MIN_TTL_MS: Final = 60_000
MAX_TTL_MS: Final = 30 * DAY_MS
DEFAULT_TTL_MS: Final = 3_600_000
GENERATION_BYTES: Final = 8
ROTATION_INTERVAL_MS: Final = 30 * DAY_MS
"""Age of the newest signing key from which on the next one is created."""
ANNOUNCEMENT_MS: Final = 60_000
"""Time between the creation of a signing key and its first use, in which every server reads it."""
KEPT_LONGER_MS: Final = DAY_MS
"""Time that a signing key is kept after the last token that it can have signed has expired."""


class UserToken(NamedTuple):
    """What a user token says: who may read whose data, and until when."""

    environment: str
    user_id: str
    generation: bytes
    """Tokens of one user and generation end together: when they are revoked or the user is deleted."""
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs user tokens. Later keys have higher numbers."""

    number: int
    secret: bytes = field(repr=False)
    signs_from_ms: int


def current_key(keys: Collection[SigningKey], now_ms: int) -> SigningKey:
    """Return the key that signs tokens now; there must be a key."""
    started = [key for key in keys if key.signs_from_ms <= now_ms]
    return max(started, key=_number) if started else min(keys, key=_number)


def is_rotation_due(keys: Collection[SigningKey], now_ms: int) -> bool:
    """Whether to create the next key."""
    return not keys or now_ms - max(keys, key=_number).signs_from_ms >= ROTATION_INTERVAL_MS


def next_key(keys: Collection[SigningKey], last_number: int, secret: bytes, now_ms: int) -> SigningKey:
    """Return the key to create after the number that was used last. If there is no other key, it signs at once."""
    return SigningKey(last_number + 1, secret, now_ms + (ANNOUNCEMENT_MS if keys else 0))


def outdated_keys(keys: Collection[SigningKey], now_ms: int) -> list[SigningKey]:
    """Return the keys whose tokens have all expired: the next key has been signing for longer than a token lasts."""
    ordered = sorted(keys, key=_number)
    last_ms = now_ms - MAX_TTL_MS - KEPT_LONGER_MS
    return [key for key, successor in pairwise(ordered) if successor.signs_from_ms <= last_ms]


def _number(key: SigningKey) -> int:
    return key.number
