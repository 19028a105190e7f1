"""Which keys of a store a backup contains, and how they belong together.

It is told by the names of the keys, so that keys of a kind that is not known here are in the backup as well.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from canuse_server.domain.api_keys import ENVIRONMENTS
from canuse_server.store.keys import (
    API_KEYS,
    API_KEYS_USED,
    API_KEYS_VERSION,
    BUCKETS,
    CLOCK,
    EVENT_KEY,
    SIGNING_KEYS,
    Keys,
    bucket_of,
    bucket_tag,
    tag_of,
)

ALL_KEYS: Final = "canuse:*"
USER: Final = b"u"
"""The kind of the key that each user has."""
USER_KINDS: Final = (USER, b"p", b"g", b"e", b"h", b"l", b"t", b"d0", b"d1", b"d2", b"d3")
LEDGER: Final = b"ledger"
USERS: Final = b"users"
"""The set of a bucket's users. It is made of the users that are in the backup."""
_BUCKET_KEY: Final = re.compile(rb"canuse:(\w+):\{(b\d{4})\}:(.+)", re.DOTALL)
_LEFT_OUT_OF_BUCKETS: Final = re.compile(rb"users|indexed|by_\w+:[0-9a-f]|x:.*", re.DOTALL)
"""What is left out of a bucket: the next search makes the indexes anew, and the rest is of calls in flight."""
_LEFT_OUT: Final = re.compile(rb"canuse:(\{[^}]*\}:)?(schema|written)|canuse:\w+:users_indexed|canuse:\{trim\}:\w+")
"""What a store has anyway, or makes anew."""
_SINGLE_KEYS: Final = (EVENT_KEY, CLOCK, API_KEYS, API_KEYS_VERSION, API_KEYS_USED, SIGNING_KEYS)


class Layout:
    """The kinds of keys in a store, as the names of its keys tell them."""

    def __init__(self) -> None:
        self.kinds: list[bytes] = list(USER_KINDS)
        """The kinds of the keys that a user has alone: `canuse:<env>:{<bucket>}:<kind>:<user>`."""
        self.names: set[bytes] = {LEDGER, b"audit"}
        """The names of other keys in a bucket: `canuse:<env>:{<bucket>}:<name>`."""
        self.environments: set[str] = set()
        self.groups: dict[str, set[bytes]] = {}
        """All other keys by their hash tag; those of one tag are in one slot."""
        self.note(key.encode() for key in (*_SINGLE_KEYS, *catalog_keys()))

    def note(self, keys: Iterable[bytes]) -> None:
        """Note the names of some keys of the store."""
        for key in keys:
            found = _BUCKET_KEY.fullmatch(key)
            if found is not None and int(found[2][1:]) < BUCKETS:
                self.environments.add(found[1].decode())
                self._note_in_bucket(found[2].decode(), found[3])
            elif not _LEFT_OUT.fullmatch(key):
                self.groups.setdefault(tag_of(key), set()).add(key)

    def _note_in_bucket(self, tag: str, rest: bytes) -> None:
        if _LEFT_OUT_OF_BUCKETS.fullmatch(rest):
            return
        kind, colon, user_id = rest.partition(b":")
        if kind in self.kinds and colon:
            return
        if colon and bucket_tag(bucket_of(user_id.decode(errors="replace"))) == tag:
            self.kinds.append(kind)
        else:
            self.names.add(rest)


def catalog_keys() -> Iterator[str]:
    """Yield the keys of the catalogues."""
    for environment in ENVIRONMENTS:
        keys = Keys(environment)
        yield from (keys.features, keys.feature_ids, keys.packages, keys.package_ids, keys.package_versions)
        yield from (keys.catalog_version, keys.catalog_changes)


def bucket_prefix(environment: str, bucket: int) -> bytes:
    """Return what all keys of a bucket begin with."""
    return f"canuse:{environment}:{{{bucket_tag(bucket)}}}:".encode()
