"""The names of all keys.

Every key that one decision touches carries the user's bucket as its Cluster hash tag, so that the decision is one
script on one node. No key or field holds two ids that callers choose: user `a:b` with feature `c` is never user `a`
with feature `b:c`.
"""

from typing import Final
from zlib import crc32

BUCKETS: Final = 1024
"""How many groups the users are spread over: the most nodes that a deployment can grow to."""

SCHEMA: Final = "canuse:schema"
CLOCK: Final = "canuse:clock"
API_KEYS: Final = "canuse:{api_keys}:keys"
API_KEYS_VERSION: Final = "canuse:{api_keys}:version"
API_KEYS_USED: Final = "canuse:{api_keys}:used"
API_KEYS_CHANNEL: Final = "canuse:api_keys"


def bucket_of(user_id: str) -> int:
    """Return the bucket of a user: a stable hash of the id."""
    return crc32(user_id.encode()) % BUCKETS


def bucket_tag(bucket: int) -> str:
    """Return the hash tag of all keys of a bucket."""
    return f"b{bucket:04d}"


def data_mark(tag: str) -> str:
    """Return the key that is there on a Cluster, for the tag of each bucket, as long as the data of its node is."""
    return f"canuse:{{{tag}}}:schema"


def tag_of(key: str | bytes) -> str:
    """Return the part of a key by which a Cluster places it: what stands in its first braces, or else all of it."""
    text = key if isinstance(key, str) else key.decode()
    start = text.find("{")
    end = text.find("}", start + 1) if start >= 0 else -1
    return text[start + 1 : end] if end > start + 1 else text


def key_of(command: tuple[str | bytes, ...]) -> str | bytes:
    """Return the key of a command; of one that has several, which are in one place, the first."""
    return command[3] if command[0] == "EVALSHA" else command[1]


def written(tag: str) -> str:
    """Return the key of the write that goes before a wait for a confirmation; in a Cluster `tag` says on which node."""
    return f"canuse:{{{tag}}}:written" if tag else "canuse:written"


class Keys:
    """The keys of one environment, `live` or `test`."""

    def __init__(self, environment: str) -> None:
        self._buckets = [f"canuse:{environment}:{{{bucket_tag(bucket)}}}:" for bucket in range(BUCKETS)]
        catalog = f"canuse:{environment}:{{catalog}}:"
        self.features = catalog + "features"
        self.feature_ids = catalog + "feature_ids"
        self.packages = catalog + "packages"
        self.package_ids = catalog + "package_ids"
        self.package_versions = catalog + "package_versions"
        self.catalog_version = catalog + "version"
        self.catalog_changes = catalog + "changes"
        self.catalog_channel = f"canuse:{environment}:catalog"

    def user(self, user_id: str) -> str:
        """Return the hash that holds all a decision needs: meta, entitlements, counters; and the subscriptions."""
        return f"{self._buckets[bucket_of(user_id)]}u:{user_id}"

    def profile(self, user_id: str) -> str:
        """Return the string that holds a user's name and the like; there is none where all of it is empty."""
        return f"{self._buckets[bucket_of(user_id)]}p:{user_id}"

    def grants(self, user_id: str) -> str:
        """Return the hash of a user's grants by id; what is left of them stands in the user's own hash."""
        return f"{self._buckets[bucket_of(user_id)]}g:{user_id}"

    def ended(self, user_id: str) -> str:
        """Return the hash of a user's ended subscriptions by token; the user's own hash goes before it."""
        return f"{self._buckets[bucket_of(user_id)]}e:{user_id}"

    def history(self, user_id: str) -> str:
        """Return the hash of a user's past periods, a field a feature."""
        return f"{self._buckets[bucket_of(user_id)]}h:{user_id}"

    def dedupe(self, user_id: str) -> tuple[str, str]:
        """Return the two hashes that hold what was answered under the user's idempotency keys."""
        prefix = self._buckets[bucket_of(user_id)]
        return f"{prefix}d0:{user_id}", f"{prefix}d1:{user_id}"

    def of_use(self, user_id: str) -> tuple[str, str, str]:
        """Return all keys that recording a use without an idempotency key touches: hash, ledger and history."""
        prefix = self._buckets[bucket_of(user_id)]
        return f"{prefix}u:{user_id}", f"{prefix}ledger", f"{prefix}h:{user_id}"

    def chain(self, user_id: str, mark: str) -> str:
        """Return the key that counts which of a batch's uses of one user have been made; `mark` is the batch's own."""
        return f"{self._buckets[bucket_of(user_id)]}x:{mark}"

    def leases(self, user_id: str) -> str:
        """Return the hash of a user's leases by token."""
        return f"{self._buckets[bucket_of(user_id)]}l:{user_id}"

    def leases_due(self, user_id: str) -> str:
        """Return the sorted set of the tokens of a user's leases, by when something is to be done about them."""
        return f"{self._buckets[bucket_of(user_id)]}t:{user_id}"

    def users(self, bucket: int) -> str:
        """Return the set of the ids of a bucket's users."""
        return f"{self._buckets[bucket]}users"

    def ledger(self, bucket: int) -> str:
        """Return the stream of a bucket's usage events."""
        return f"{self._buckets[bucket]}ledger"

    @staticmethod
    def package_version(package_id: str, version: int) -> str:
        """Return the field of `package_versions` that holds one published version."""
        return f"{version}:{package_id}"
