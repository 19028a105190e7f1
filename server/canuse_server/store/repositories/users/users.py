"""Users: one hash each with the data of decisions, and a few other keys."""

from typing import cast

from canuse_server.domain.model import Profile
from canuse_server.store.codec import user_index
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.codec.event_ids import DIGEST_BYTES, FINGERPRINT_BYTES
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import INDEX_PARTS, Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.ledger import Place
from canuse_server.store.repositories.usage_commands import EventIdReusedError, Retention
from canuse_server.store.repositories.users.change import AnsweredError, UserChange, change_arguments, profile_argument
from canuse_server.store.repositories.users.reading import UserReader
from canuse_server.store.scripts.loader import APPLY_USER, DELETE_USER


class Users(UserReader):
    """The users of one environment."""

    def __init__(self, store: Store, keys: Keys, retention: Retention) -> None:
        super().__init__(store, keys)
        self._retention = retention
        self._audit = AuditWriter(store, retention.audit_max_age_ms)

    async def refuse_answered(self, user_id: str, event: bytes) -> None:
        """Check that there is no stored answer for an event id; `event` is as `pack_event` packs it.

        Raises:
            AnsweredError: there is one.
            EventIdReusedError: there is one, for other content.
        """
        digest = event[:DIGEST_BYTES]
        values, _ = await self._store.call(*(("HGET", name, digest) for name in self._keys.events(user_id)))
        kept = next((cast("bytes", value) for value in values if value is not None), None)
        if kept is None:
            return
        if kept[:FINGERPRINT_BYTES] != event[DIGEST_BYTES : DIGEST_BYTES + FINGERPRINT_BYTES]:
            raise EventIdReusedError
        raise AnsweredError(kept[FINGERPRINT_BYTES:])

    async def apply(self, change: UserChange) -> None:
        """Write a change in one step.

        Raises:
            ConflictError: the user has changed since it was read; nothing was written.
            AnsweredError: the event id has a stored answer; nothing was written.
            EventIdReusedError: the event id belongs to a different call; nothing was written.
        """
        if not change.raw_meta:
            await self._store.require_data()
        keys, user_id, event = self._keys, change.user_id, change.event
        bucket = bucket_of(user_id)
        indexed = [] if change.profile is None else user_index.changes(change.old_profile or Profile(), change.profile)
        indexes = [keys.index(entry.field, bucket, entry.part) for entry, _ in indexed]
        if indexes:
            indexes.insert(0, keys.has_indexes(bucket))
        names = (keys.user(user_id), keys.users(bucket), keys.profile(user_id))
        other_names = (keys.history(user_id), keys.grants(user_id), keys.ended(user_id), keys.audit(bucket))
        applied = await self._store.run(
            APPLY_USER,
            [*names, *other_names, *(keys.events(user_id) if event else ()), *indexes],
            *(change.raw_meta, change.meta.pack(), user_id, profile_argument(change.profile)),
            *(str(self._retention.past_periods_max_age_days), str(change.meta.as_of_ms)),
            *self._audit.arguments(change.audit),
            *(str(len(indexed)), *(str(entry.score) if is_new else "" for entry, is_new in indexed)),
            *change_arguments(change),
            *(event or ()),
        )
        if isinstance(applied, bytes):
            raise AnsweredError(applied[1:]) if applied[:1] == b"R" else EventIdReusedError
        if not applied:
            raise ConflictError
        self._audit.note(change.audit)

    async def delete(self, user_id: str) -> tuple[bool, Place | None]:
        """Delete a user, except for the events in the ledger.

        Returns:
            Whether the user existed, and the last event of any user in the ledger at that moment, None if it is empty.
        """
        keys = self._keys
        other_names = [keys.profile(user_id), keys.history(user_id), keys.grants(user_id), *keys.events(user_id)]
        other_names.append(keys.ended(user_id))
        leases = [keys.leases(user_id), keys.leases_due(user_id)]
        bucket = bucket_of(user_id)
        indexes = [keys.index(field, bucket, part) for field in user_index.FIELDS for part in range(INDEX_PARTS)]
        names = [keys.user(user_id), keys.users(bucket), keys.ledger(bucket), keys.audit(bucket)]
        names += [*other_names, *leases, *indexes]
        audit = AuditEntry(user_id=user_id)
        arguments = (user_id, str(len(indexes)), *self._audit.arguments(audit))
        existed, last = cast("tuple[int, bytes]", await self._store.run(DELETE_USER, names, *arguments))
        if existed:
            self._audit.note(audit)
        return bool(existed), Place.parse(last.decode()) if last else None
