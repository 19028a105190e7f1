"""Users: one hash each with the data of decisions, and a few other keys."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, NamedTuple, cast

from canuse_server.domain.carry_over import CarryOver
from canuse_server.domain.decision import Counter, Reservation, runs_ahead
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import Grant, Profile, Subscription
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.domain.periods import CLOCKS_DIFFER_MS
from canuse_server.domain.subscriptions import has_ended
from canuse_server.runtime.fairness import map_yielding, yield_if_due
from canuse_server.store.codec import past_periods as past_periods_codec
from canuse_server.store.codec import user_index, user_values
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.codec.documents import UnreadableError, decode_grant, decode_profile, encode, note_unreadable
from canuse_server.store.codec.event_ids import DIGEST_BYTES, FINGERPRINT_BYTES
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import BUCKETS, INDEX_PARTS, Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.ledger import Place
from canuse_server.store.repositories.usage_commands import EventIdReusedError, Retention
from canuse_server.store.scripts.loader import APPLY_USER, DELETE_USER

MAX_IDS_READ: Final = 20_000
"""Maximum number of user ids that one search by prefix reads."""
PastUsage = Mapping[str, list[PastPeriod]]
"""The stored past periods of a user by feature id, oldest first."""


@dataclass(frozen=True, slots=True)
class UserState:
    """The hash of a user, read at `now_ms`."""

    user_id: str
    now_ms: int
    raw_meta: bytes
    meta: Meta
    subscriptions: tuple[Subscription, ...]
    entitlements: Mapping[str, Entitlement]
    counters: Mapping[str, Counter]
    grants: Mapping[str, tuple[GrantBalance, ...]] = field(default_factory=dict)
    reservations: Mapping[str, Reservation] = field(default_factory=dict)
    leases_due_ms: int | None = None
    """The time at which a sweep of leases is due; None: there are no leases."""
    ended_until_ms: int = 0
    """The latest end of the subscriptions in the `ended` hash; 0 if none of them ended by a date."""

    @property
    def exists(self) -> bool:
        """Whether the user exists. False: a change is to create the user."""
        return bool(self.raw_meta)

    def is_current(self) -> bool:
        """Whether the entitlements are valid: no end of a period or other date has passed, and no clock ran ahead."""
        ends_ms = (entitlement.valid_until_ms for entitlement in self.entitlements.values())
        return all(end_ms is None or end_ms > self.now_ms for end_ms in ends_ms) and not self.runs_ahead()

    def leases_are_due(self) -> bool:
        """Whether a sweep of leases is due."""
        return self.leases_due_ms is not None and user_values.is_due(self.leases_due_ms, self.now_ms)

    def was_computed_ahead(self) -> bool:
        """Whether the entitlements were computed under a clock that was too far ahead."""
        latest_ms = max((entitlement.period.start_ms for entitlement in self.entitlements.values()), default=0)
        return max(self.meta.as_of_ms, latest_ms) > self.now_ms + CLOCKS_DIFFER_MS

    def runs_ahead(self) -> bool:
        """Whether entitlements or counters were written under a clock that was too far ahead."""
        return self.was_computed_ahead() or any(
            runs_ahead(entitlement, self.counters.get(feature_id), self.now_ms)
            for feature_id, entitlement in self.entitlements.items()
        )


class Event(NamedTuple):
    """The stored answer of an event id. `packed` is the event id as `pack_event` packs it."""

    packed: bytes
    answer: bytes


class AnsweredError(Exception):
    """The same call was already made under this event id."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


class PlacedGrant(NamedTuple):
    """A grant in the new order of its feature's grants. `old_place` is its place before, from 1, or 0 if it is new."""

    old_place: int
    grant: Grant


@dataclass(frozen=True, slots=True)
class UserChange:
    """A change of a user.

    `raw_meta` is the meta field as it was read; empty: the user must not exist. `counters` are the counters as they
    were read: for each feature of the change the counter must still be of the same period, or still not exist.
    `ended` are subscriptions to move to the `ended` hash, with `ended_until_ms`. `event` is the stored answer for
    repetitions of the call. `old_profile` is the profile that `profile` replaces; None: there was none. `audit` is
    what the audit log says about it; None: nothing, as it only brings the user up to date.
    """

    user_id: str
    raw_meta: bytes
    meta: Meta
    profile: Profile | None = None
    subscriptions: tuple[Subscription, ...] = ()
    ended: Sequence[Subscription] = ()
    ended_until_ms: int = 0
    event: Event | None = None
    entitlements: Mapping[str, Entitlement] = field(default_factory=dict)
    removed_entitlements: Iterable[str] = ()
    counters: Mapping[str, Counter] = field(default_factory=dict)
    carry_overs: Iterable[CarryOver] = ()
    grants: Iterable[Grant] = ()
    grant_orders: Mapping[str, Sequence[PlacedGrant]] = field(default_factory=dict)
    old_profile: Profile | None = None
    audit: AuditEntry | None = None


class Users:
    """The users of one environment."""

    def __init__(self, store: Store, keys: Keys, retention: Retention) -> None:
        self._store = store
        self._keys = keys
        self._retention = retention
        self._audit = AuditWriter(store, retention.audit_max_age_ms)

    async def read(self, user_id: str) -> UserState | None:
        """Return a user's hash, or None if the user does not exist.

        Of the ended subscriptions it contains those that entitlements can depend on; the `ended` hash contains the
        others.
        """
        [state] = await self.read_all([user_id])
        return state

    async def read_all(self, user_ids: Sequence[str]) -> list[UserState | None]:
        """Return the hashes of some users as `read` does, in one round trip."""
        replies, now_ms = await self._store.call(*(("HGETALL", self._keys.user(user_id)) for user_id in user_ids))
        found: list[UserState | None] = []
        for user_id, reply in zip(user_ids, replies, strict=True):
            state = _state(user_id, _fields(reply), now_ms)
            if state is not None and state.ended_until_ms > now_ms:
                subscriptions = await self._with_returned(user_id, state.subscriptions, now_ms)
                state = replace(state, subscriptions=subscriptions)
            found.append(state)
        return found

    async def subscriptions(self, user_ids: Sequence[str]) -> tuple[list[Sequence[Subscription]], int]:
        """Return the subscriptions of some users as `read` does, in one round trip, and the time."""
        replies, now_ms = await self._store.call(*(("HGETALL", self._keys.user(user_id)) for user_id in user_ids))
        found: list[Sequence[Subscription]] = []
        for user_id, reply in zip(user_ids, replies, strict=True):
            fields = _fields(reply)
            subscriptions: Sequence[Subscription] = _subscriptions(fields)
            if _ended_until_ms(fields) > now_ms:
                subscriptions = await self._with_returned(user_id, subscriptions, now_ms)
            found.append(subscriptions)
        return found, now_ms

    async def all_subscriptions(self, user_id: str) -> tuple[list[Subscription], int] | None:
        """Return all subscriptions of a user, oldest first, and the time; None if the user does not exist."""
        # In this order, a subscription that moves between the two reads is in both replies.
        commands = (("HGETALL", self._keys.user(user_id)), ("HGETALL", self._keys.ended(user_id)))
        (reply, ended), now_ms = await self._store.call(*commands)
        fields = _fields(reply)
        if user_values.META_FIELD not in fields:
            return None
        return _merged(await map_yielding(_fields(ended).items(), _ended), _subscriptions(fields)), now_ms

    async def ended_subscription(self, user_id: str, token: str) -> Subscription | None:
        """Return a subscription from the `ended` hash. Those of `read` take precedence, so call that first."""
        (value,), _ = await self._store.call(("HGET", self._keys.ended(user_id), token))
        return None if value is None else user_values.unpack_subscription(token, cast("bytes", value))

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

    async def _with_returned(
        self, user_id: str, subscriptions: Sequence[Subscription], now_ms: int
    ) -> tuple[Subscription, ...]:
        """Return subscriptions together with those of the `ended` hash that a clock too far ahead put there."""
        (reply,), _ = await self._store.call(("HGETALL", self._keys.ended(user_id)))
        ended = await map_yielding(_fields(reply).items(), _ended)
        return tuple(_merged((item for item in ended if not has_ended(item, now_ms)), subscriptions))

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
        subscriptions, ended = _subscription_arguments(change.subscriptions), _subscription_arguments(change.ended)
        entitlements: list[str | bytes] = []
        for feature_id, entitlement in change.entitlements.items():
            entitlements += (feature_id, user_values.pack_entitlement(entitlement))
        removals = list(change.removed_entitlements)
        carry_overs = list(change.carry_overs)
        touched = (*(item.feature_id for item in carry_overs), *change.entitlements, *removals)
        counters = [
            argument
            for feature_id in dict.fromkeys(touched)
            for argument in (feature_id, _start(change.counters.get(feature_id)))
        ]
        grants = [argument for grant in change.grants for argument in (grant.id, encode(grant))]
        orders = [_order_arguments(feature_id, placed) for feature_id, placed in change.grant_orders.items()]
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
            *(change.raw_meta, change.meta.pack(), user_id, _profile_argument(change.profile)),
            *(str(self._retention.past_periods_max_age_days), str(change.meta.as_of_ms)),
            *self._audit.arguments(change.audit),
            *(str(len(indexed)), *(str(entry.score) if is_new else "" for entry, is_new in indexed)),
            *(str(len(subscriptions) // 2), *subscriptions),
            *(user_values.pack_moment(change.ended_until_ms), str(len(ended) // 2), *ended),
            *(str(len(entitlements) // 2), *entitlements),
            *(str(len(removals)), *removals),
            *(str(len(counters) // 2), *counters),
            *(str(len(carry_overs)), *chain.from_iterable(map(_carry_over_arguments, carry_overs))),
            *(str(len(grants) // 2), *grants),
            *(str(len(orders)), *chain.from_iterable(orders)),
            *(event or ()),
        )
        if isinstance(applied, bytes):
            raise AnsweredError(applied[1:]) if applied[:1] == b"R" else EventIdReusedError
        if not applied:
            raise ConflictError
        self._audit.note(change.audit)

    async def describe(self, user_ids: list[str]) -> list[tuple[Meta, Profile] | None]:
        """Return meta and profile of some users; None for a user that does not exist."""
        commands: list[tuple[str | bytes, ...]] = []
        for user_id in user_ids:
            commands += [("HGET", self._keys.user(user_id), "m"), ("GET", self._keys.profile(user_id))]
        replies = cast("list[bytes | None]", (await self._store.call(*commands))[0])
        return await map_yielding(zip(replies[::2], replies[1::2], strict=True), _described)

    async def page(self, after: tuple[int, str], size: int) -> list[str]:
        """Return up to `size` user ids after a bucket and id, in the order of buckets and ids."""
        bucket, last = after
        found: list[str] = []
        step = 1
        while bucket < BUCKETS and len(found) < size:
            buckets = range(bucket, min(bucket + step, BUCKETS))
            # With many users one bucket fills a page; with few users a page needs all buckets.
            step *= 2
            replies, _ = await self._store.call(*(("SMEMBERS", self._keys.users(number)) for number in buckets))
            for number, members in zip(buckets, replies, strict=True):
                ids = sorted(member.decode() for member in cast("list[bytes]", members))
                found += [user_id for user_id in ids if number > after[0] or user_id > last]
            bucket = buckets.stop
        return found[:size]

    async def page_with_prefix(self, after: tuple[int, str], prefix: str, size: int) -> tuple[list[str], str]:
        """Return up to `size` user ids with a prefix after a bucket and id, and the last id that was read.

        That is empty if there are no further ones. A page reads a bounded number of ids.
        """
        ids = await self.page(after, MAX_IDS_READ + 1)
        found: list[str] = []
        for user_id in ids[:MAX_IDS_READ]:
            if user_id.startswith(prefix):
                found.append(user_id)
                if len(found) == size:
                    return found, "" if user_id == ids[-1] else user_id
        return found, "" if len(ids) <= MAX_IDS_READ else ids[MAX_IDS_READ - 1]

    async def all_subscriptions_of(
        self, user_ids: Sequence[str], *, ended: bool
    ) -> tuple[list[Sequence[Subscription]], int]:
        """Return the subscriptions of some users, each oldest first, and the time; `ended`: including ended ones."""
        if not ended:
            return await self.subscriptions(user_ids)
        keys, commands = self._keys, list[tuple[str | bytes, ...]]()
        for user_id in user_ids:
            commands += [("HGETALL", keys.user(user_id)), ("HGETALL", keys.ended(user_id))]
        replies, now_ms = await self._store.call(*commands)
        found: list[Sequence[Subscription]] = []
        for user, past in zip(replies[::2], replies[1::2], strict=True):
            fields = _fields(user)
            put_away = await map_yielding(_fields(past).items(), _ended)
            found.append(_merged(put_away, _subscriptions(fields)) if user_values.META_FIELD in fields else ())
        return found, now_ms

    async def usage(self, user_ids: Sequence[str], feature_id: str = "") -> list[tuple[UserState, PastUsage] | None]:
        """Return some users with their past periods, of one feature or all; None for a user that does not exist.

        A count is either in the user or among the past periods.
        """
        found: dict[str, tuple[UserState, PastUsage] | None] = {}
        remaining = list(user_ids)
        while remaining:
            commands: list[tuple[str | bytes, ...]] = []
            for user_id in remaining:
                user, history = ("HGETALL", self._keys.user(user_id)), self._keys.history(user_id)
                fields = past_periods_codec.field_names(feature_id)
                commands += [user, ("HMGET", history, *fields) if feature_id else ("HGETALL", history), user]
            replies, now_ms = await self._store.call(*commands)
            for user_id, before, past, after in zip(
                tuple(remaining), replies[::3], replies[1::3], replies[2::3], strict=True
            ):
                await yield_if_due()
                state = _state(user_id, _fields(after), now_ms)
                if _periods(_state(user_id, _fields(before), now_ms)) != _periods(state):
                    continue  # A count may have become a past period between the reads.
                remaining.remove(user_id)
                found[user_id] = None if state is None else (state, _past_usage(past, feature_id))
        return [found[user_id] for user_id in user_ids]

    async def grants(self, user_id: str) -> list[Grant]:
        """Return all grants of a user, in the order in which they are drawn from."""
        (values,), _ = await self._store.call(("HVALS", self._keys.grants(user_id)))
        return sorted((decode_grant(value) for value in cast("list[bytes]", values)), key=Grant.order)

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


def _periods(state: UserState | None) -> dict[str, int]:
    """Return the start of the period of each counter."""
    return {} if state is None else {key: counter.period_start_ms for key, counter in state.counters.items()}


def _past_usage(reply: object, feature_id: str) -> PastUsage:
    if not feature_id:
        return past_periods_codec.unpack_fields(_fields(reply))
    found = past_periods_codec.unpack(*cast("list[bytes | None]", reply))
    return {feature_id: found} if found else {}


def _fields(reply: object) -> dict[bytes, bytes]:
    items = cast("list[bytes]", reply)
    return dict(zip(items[::2], items[1::2], strict=True))


def _subscriptions(fields: Mapping[bytes, bytes]) -> list[Subscription]:
    """Read the subscriptions of a user's hash, oldest first."""
    found = [
        user_values.unpack_subscription(name[2:].decode(), value)
        for name, value in fields.items()
        if name.startswith(user_values.SUBSCRIPTION_PREFIX)
    ]
    return sorted(found, key=_age_key)


def _ended(item: tuple[bytes, bytes]) -> Subscription:
    token, value = item
    return user_values.unpack_subscription(token.decode(), value)


def _merged(ended: Iterable[Subscription], subscriptions: Iterable[Subscription]) -> list[Subscription]:
    """Return ended and other subscriptions, oldest first. One in both was reactivated: the other one is current."""
    found = {subscription.token: subscription for subscription in (*ended, *subscriptions)}
    return sorted(found.values(), key=_age_key)


def _age_key(subscription: Subscription) -> tuple[int, str]:
    return subscription.started_at_ms, subscription.token


def _ended_until_ms(fields: Mapping[bytes, bytes]) -> int:
    value = fields.get(user_values.ENDED_UNTIL_FIELD)
    return 0 if value is None else user_values.unpack_moment(value)


def _subscription_arguments(subscriptions: Iterable[Subscription]) -> list[str | bytes]:
    arguments: list[str | bytes] = []
    for subscription in subscriptions:
        arguments += (subscription.token, user_values.pack_subscription(subscription))
    return arguments


def _state(user_id: str, fields: dict[bytes, bytes], now_ms: int) -> UserState | None:
    """Read a user's hash; None if the user does not exist."""
    raw_meta = fields.pop(user_values.META_FIELD, None)
    if raw_meta is None:
        return None
    entitlements: dict[str, Entitlement] = {}
    counters: dict[str, Counter] = {}
    grants: dict[str, tuple[GrantBalance, ...]] = {}
    reservations: dict[str, Reservation] = {}
    due = fields.pop(user_values.LEASES_DUE_FIELD, None)
    for name, value in fields.items():
        prefix, key = name[:2], name[2:].decode()
        if prefix == user_values.FEATURE_PREFIX:
            entitlements[key], counter = user_values.unpack_feature(value)
            if counter is not None:
                counters[key] = counter
        elif prefix == user_values.GRANTS_PREFIX:
            grants[key] = user_values.unpack_grants(value)
        elif prefix == user_values.RESERVATION_PREFIX:
            reservations[key] = user_values.unpack_reservation(value)
    return UserState(
        user_id=user_id,
        now_ms=now_ms,
        raw_meta=raw_meta,
        meta=Meta.unpack(raw_meta),
        subscriptions=tuple(_subscriptions(fields)),
        entitlements=entitlements,
        counters=counters,
        grants=grants,
        reservations=reservations,
        leases_due_ms=None if due is None else user_values.unpack_moment(due),
        ended_until_ms=_ended_until_ms(fields),
    )


def _described(values: tuple[bytes | None, bytes | None]) -> tuple[Meta, Profile] | None:
    meta, profile = values
    return None if meta is None else (Meta.unpack(meta), _profile(profile) if profile else Profile())


def _profile(value: bytes) -> Profile:
    try:
        return decode_profile(value)
    except UnreadableError as error:
        note_unreadable("profile", "", error)
        return Profile()


def _profile_argument(profile: Profile | None) -> bytes:
    if profile is None:
        return b""
    return b"D" if profile == Profile() and not profile.unknown else b"S" + encode(profile)


def _start(counter: Counter | None) -> str:
    return "" if counter is None else str(counter.period_start_ms)


def _carry_over_arguments(carry_over: CarryOver) -> tuple[str, ...]:
    feature_id, start_ms, length_ms, budget, new_start_ms = carry_over
    return (
        feature_id,
        str(start_ms),
        str(length_ms),
        "-1" if budget is None else str(budget),
        "" if new_start_ms is None else str(new_start_ms),
    )


def _order_arguments(feature_id: str, placed: Sequence[PlacedGrant]) -> list[str]:
    arguments = [feature_id, str(len(placed))]
    for old_place, grant in placed:
        end_ms, amount = grant.end_ms, grant.amount
        arguments += [str(old_place), str(grant.effective_at_ms), str(-1 if end_ms is None else end_ms)]
        arguments.append(str(-1 if amount is None else amount))
    return arguments
