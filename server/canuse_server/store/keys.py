"""The names of all keys in the store.

All keys of one decision have the user's bucket as their Cluster hash tag, so that the decision is one script on one
node. No key or field contains two ids that callers choose, so user `a:b` with feature `c` and user `a` with feature
`b:c` have different keys.
"""

from typing import Final
from zlib import crc32

BUCKETS: Final = 1024
"""Number of groups of users, which is the maximum number of nodes of a Cluster."""

SCHEMA: Final = "canuse:schema"
EVENT_KEY: Final = "canuse:{canuse:schema}:event_key"
CLOCK: Final = "canuse:clock"
INDEX_PARTS: Final = 16
"""Number of sorted sets into which an index of a bucket is divided, so that they stay in Redis's compact form."""
API_KEYS: Final = "canuse:{api_keys}:keys"
API_KEYS_VERSION: Final = "canuse:{api_keys}:version"
API_KEYS_USED: Final = "canuse:{api_keys}:used"
SIGNING_KEYS: Final = "canuse:{api_keys}:signing_keys"
API_KEYS_AUDIT: Final = "canuse:{api_keys}:audit"
CLOCK_AUDIT: Final = "canuse:{canuse:clock}:audit"
API_KEYS_CHANNEL: Final = "canuse:api_keys"
TRIM_TURN: Final = "canuse:{trim}:turn"
"""The server whose turn it is to trim. It expires, so that another one goes on."""
TRIM_PROGRESS: Final = "canuse:{trim}:progress"
"""How far the current trimming pass has come, and when the last one ended."""
CONSOLE_SESSION: Final = "canuse:{api_keys}:console_session:"
"""What the keys of the console's sessions begin with."""
CONSOLE_FORM: Final = "canuse:{api_keys}:console_form:"
"""What the keys of the console's forms begin with that were sent and must not be sent twice."""


def bucket_of(user_id: str) -> int:
    """Return the bucket of a user, a stable hash of the id."""
    return crc32(user_id.encode()) % BUCKETS


def bucket_tag(bucket: int) -> str:
    """Return the hash tag of the keys of a bucket."""
    return f"b{bucket:04d}"


def data_mark(tag: str) -> str:
    """Return the key that a Cluster has for the tag of each bucket. It is missing if the data of its node is lost."""
    return f"canuse:{{{tag}}}:schema"


def tag_of(key: str | bytes) -> str:
    """Return the part of a key that determines its slot: the text in its first braces, or else the whole key."""
    text = key if isinstance(key, str) else key.decode()
    start = text.find("{")
    end = text.find("}", start + 1) if start >= 0 else -1
    return text[start + 1 : end] if end > start + 1 else text


def key_of(command: tuple[str | bytes, ...]) -> str | bytes:
    """Return the first key of a command. Other keys of the command have the same slot."""
    return command[3] if command[0] == "EVALSHA" else command[1]


def key_count(command: tuple[str | bytes, ...]) -> int:
    """Return the number of keys of a command; of those other than scripts, one."""
    return int(command[2]) if command[0] == "EVALSHA" else 1


def confirmation_marker(tag: str) -> str:
    """Return the key that is written before a wait for a confirmation; in a Cluster, `tag` selects the node."""
    return f"canuse:{{{tag}}}:written" if tag else "canuse:written"


class Keys:
    """The keys of one environment, `live` or `test`."""

    def __init__(self, environment: str) -> None:
        self._buckets = [f"canuse:{environment}:{{{bucket_tag(bucket)}}}:" for bucket in range(BUCKETS)]
        self._packed_buckets = [prefix.encode() for prefix in self._buckets]
        catalog = f"canuse:{environment}:{{catalog}}:"
        self.features = catalog + "features"
        self.feature_ids = catalog + "feature_ids"
        self.packages = catalog + "packages"
        self.package_ids = catalog + "package_ids"
        self.package_versions = catalog + "package_versions"
        self.catalog_version = catalog + "version"
        self.catalog_changes = catalog + "changes"
        self.catalog_audit = catalog + "audit"
        self.catalog_channel = f"canuse:{environment}:catalog"
        self.users_indexed = f"canuse:{environment}:users_indexed"

    def prefix(self, user_id: bytes) -> bytes:
        """Return what all keys of a user begin with."""
        return self._packed_buckets[crc32(user_id) % BUCKETS]

    def user(self, user_id: str) -> str:
        """Return the hash with the data of a decision (meta, entitlements, counters) and the subscriptions."""
        return f"{self._buckets[bucket_of(user_id)]}u:{user_id}"

    def profile(self, user_id: str) -> str:
        """Return the string with a user's profile; an empty profile has none."""
        return f"{self._buckets[bucket_of(user_id)]}p:{user_id}"

    def grants(self, user_id: str) -> str:
        """Return the hash of a user's grants by id. Their balances are in the user's hash."""
        return f"{self._buckets[bucket_of(user_id)]}g:{user_id}"

    def ended(self, user_id: str) -> str:
        """Return the hash of a user's ended subscriptions by token. The user's hash takes precedence over it."""
        return f"{self._buckets[bucket_of(user_id)]}e:{user_id}"

    def history(self, user_id: str) -> str:
        """Return the hash of a user's past periods, with one field for each feature."""
        return f"{self._buckets[bucket_of(user_id)]}h:{user_id}"

    def events(self, user_id: str) -> tuple[str, str, str, str]:
        """Return the four hashes of stored answers by event id."""
        prefix = self._buckets[bucket_of(user_id)]
        return f"{prefix}d0:{user_id}", f"{prefix}d1:{user_id}", f"{prefix}d2:{user_id}", f"{prefix}d3:{user_id}"

    def of_use(self, user_id: str) -> tuple[str, str, str]:
        """Return the keys of a use without an event id: the user's hash, the ledger and the history."""
        prefix = self._buckets[bucket_of(user_id)]
        return f"{prefix}u:{user_id}", f"{prefix}ledger", f"{prefix}h:{user_id}"

    def of_event(self, user_id: str) -> tuple[str, str, str, str, str, str, str]:
        """Return the keys of a use with an event id: those of `of_use`, then those of `events`."""
        prefix = self._buckets[bucket_of(user_id)]
        return (
            f"{prefix}u:{user_id}",
            f"{prefix}ledger",
            f"{prefix}h:{user_id}",
            f"{prefix}d0:{user_id}",
            f"{prefix}d1:{user_id}",
            f"{prefix}d2:{user_id}",
            f"{prefix}d3:{user_id}",
        )

    def of_batch(self, user_id: str, *, has_event: bool) -> tuple[str, ...]:
        """Return the keys of a user's uses in a batch: the user's hash and the ledger, with event ids those of
        `events`."""
        prefix = self._buckets[bucket_of(user_id)]
        if not has_event:
            return f"{prefix}u:{user_id}", f"{prefix}ledger"
        return (
            f"{prefix}u:{user_id}",
            f"{prefix}ledger",
            f"{prefix}d0:{user_id}",
            f"{prefix}d1:{user_id}",
            f"{prefix}d2:{user_id}",
            f"{prefix}d3:{user_id}",
        )

    def chain(self, user_id: str, mark: str) -> str:
        """Return the key that counts the completed uses of one user in a batch; `mark` identifies the batch."""
        return f"{self._buckets[bucket_of(user_id)]}x:{mark}"

    def leases(self, user_id: str) -> str:
        """Return the hash of a user's leases by token."""
        return f"{self._buckets[bucket_of(user_id)]}l:{user_id}"

    def leases_due(self, user_id: str) -> str:
        """Return the sorted set of lease tokens by the time at which a sweep has to process them."""
        return f"{self._buckets[bucket_of(user_id)]}t:{user_id}"

    def users(self, bucket: int) -> str:
        """Return the set of user ids of a bucket."""
        return f"{self._buckets[bucket]}users"

    def index(self, field: str, bucket: int, part: int) -> str:
        """Return the sorted set of a bucket's users with a part of the values of a profile's field."""
        return f"{self._buckets[bucket]}by_{field}:{part:x}"

    def has_indexes(self, bucket: int) -> str:
        """Return the key that exists once the indexes of a bucket are kept."""
        return f"{self._buckets[bucket]}indexed"

    def ledger(self, bucket: int) -> str:
        """Return the stream of the usage events of a bucket."""
        return f"{self._buckets[bucket]}ledger"

    def audit(self, bucket: int) -> str:
        """Return the audit log of the users of a bucket."""
        return f"{self._buckets[bucket]}audit"

    @staticmethod
    def package_version(package_id: str, version: int) -> str:
        """Return the field of one published version in `package_versions`."""
        return f"{version}:{package_id}"
