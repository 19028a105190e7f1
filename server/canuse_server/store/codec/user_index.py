"""The indexes of users by e-mail address and by billing id.

They exist once a search was made. A user with such a value is then a member of one of the sorted sets of the user's
bucket. Which set, and the score, follow from a hash of the value. Other values can have the same hash, so what is found
has to be compared.
"""

from hashlib import blake2b
from typing import Final, NamedTuple

from canuse_server.domain.model import Profile
from canuse_server.store.keys import INDEX_PARTS

FIELDS: Final = ("email", "billing_id")


class Entry(NamedTuple):
    """The place of a value: the field, the part of the index, and the score, of at most 3 bytes."""

    field: str
    part: int
    score: int


def entry_of(field: str, value: str) -> Entry:
    """Return the place of a value of a field."""
    part, *score = blake2b(value.encode(), digest_size=4).digest()
    # Redis stores integers of 24 bits with a sign in 4 bytes.
    return Entry(field, part % INDEX_PARTS, int.from_bytes(score, "little") - (1 << 23))


def entries_of(profile: Profile) -> list[Entry]:
    """Return the places of a profile."""
    return [entry_of(field, value) for field in FIELDS if (value := getattr(profile, field))]


def changes(old: Profile, new: Profile) -> list[tuple[Entry, bool]]:
    """Return the places to leave (False) and to enter (True) for a change of a profile, in this order."""
    before, after = entries_of(old), entries_of(new)
    left = [(entry, False) for entry in before if entry not in after]
    return [*left, *((entry, True) for entry in after if entry not in before)]
