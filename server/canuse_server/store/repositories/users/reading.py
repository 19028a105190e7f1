"""Reading users: their state, all of their subscriptions, past periods, grants and profiles."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from canuse_server.domain.model import Grant, Profile, Subscription
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.domain.subscriptions import has_ended
from canuse_server.runtime.fairness import map_yielding, yield_if_due
from canuse_server.store.codec import past_periods as past_periods_codec
from canuse_server.store.codec import user_values
from canuse_server.store.codec.documents import UnreadableError, decode_grant, decode_profile, note_unreadable
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.repositories.users.pages import UserPages
from canuse_server.store.repositories.users.state import (
    UserState,
    ended_subscription_of,
    ended_until_ms_of,
    fields_of,
    merged,
    state_of,
    subscriptions_of,
)

PastUsage = Mapping[str, list[PastPeriod]]
"""The stored past periods of a user by feature id, oldest first."""


class UserReader(UserPages):
    """Lists and reads the users of one environment."""

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
            state = state_of(user_id, fields_of(reply), now_ms)
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
            fields = fields_of(reply)
            subscriptions: Sequence[Subscription] = subscriptions_of(fields)
            if ended_until_ms_of(fields) > now_ms:
                subscriptions = await self._with_returned(user_id, subscriptions, now_ms)
            found.append(subscriptions)
        return found, now_ms

    async def all_subscriptions(self, user_id: str) -> tuple[list[Subscription], int] | None:
        """Return all subscriptions of a user, oldest first, and the time; None if the user does not exist."""
        # In this order, a subscription that moves between the two reads is in both replies.
        commands = (("HGETALL", self._keys.user(user_id)), ("HGETALL", self._keys.ended(user_id)))
        (reply, ended), now_ms = await self._store.call(*commands)
        fields = fields_of(reply)
        if user_values.META_FIELD not in fields:
            return None
        put_away = await map_yielding(fields_of(ended).items(), ended_subscription_of)
        return merged(put_away, subscriptions_of(fields)), now_ms

    async def ended_subscription(self, user_id: str, token: str) -> Subscription | None:
        """Return a subscription from the `ended` hash. Those of `read` take precedence, so call that first."""
        (value,), _ = await self._store.call(("HGET", self._keys.ended(user_id), token))
        return None if value is None else user_values.unpack_subscription(token, cast("bytes", value))

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
            fields = fields_of(user)
            put_away = await map_yielding(fields_of(past).items(), ended_subscription_of)
            found.append(merged(put_away, subscriptions_of(fields)) if user_values.META_FIELD in fields else ())
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
                state = state_of(user_id, fields_of(after), now_ms)
                if _periods(state_of(user_id, fields_of(before), now_ms)) != _periods(state):
                    continue  # A count may have become a past period between the reads.
                remaining.remove(user_id)
                found[user_id] = None if state is None else (state, _past_usage(past, feature_id))
        return [found[user_id] for user_id in user_ids]

    async def grants(self, user_id: str) -> list[Grant]:
        """Return all grants of a user, in the order in which they are drawn from."""
        (values,), _ = await self._store.call(("HVALS", self._keys.grants(user_id)))
        return sorted((decode_grant(value) for value in cast("list[bytes]", values)), key=Grant.order)

    async def describe(self, user_ids: list[str]) -> list[tuple[Meta, Profile] | None]:
        """Return meta and profile of some users; None for a user that does not exist."""
        commands: list[tuple[str | bytes, ...]] = []
        for user_id in user_ids:
            commands += [("HGET", self._keys.user(user_id), "m"), ("GET", self._keys.profile(user_id))]
        replies = cast("list[bytes | None]", (await self._store.call(*commands))[0])
        return await map_yielding(zip(replies[::2], replies[1::2], strict=True), _described)

    async def _with_returned(
        self, user_id: str, subscriptions: Sequence[Subscription], now_ms: int
    ) -> tuple[Subscription, ...]:
        """Return subscriptions together with those of the `ended` hash that a clock too far ahead put there."""
        (reply,), _ = await self._store.call(("HGETALL", self._keys.ended(user_id)))
        ended = await map_yielding(fields_of(reply).items(), ended_subscription_of)
        return tuple(merged((item for item in ended if not has_ended(item, now_ms)), subscriptions))


def _periods(state: UserState | None) -> dict[str, int]:
    """Return the start of the period of each counter."""
    return {} if state is None else {key: counter.period_start_ms for key, counter in state.counters.items()}


def _past_usage(reply: object, feature_id: str) -> PastUsage:
    if not feature_id:
        return past_periods_codec.unpack_fields(fields_of(reply))
    found = past_periods_codec.unpack(*cast("list[bytes | None]", reply))
    return {feature_id: found} if found else {}


def _described(values: tuple[bytes | None, bytes | None]) -> tuple[Meta, Profile] | None:
    meta, profile = values
    return None if meta is None else (Meta.unpack(meta), _profile(profile) if profile else Profile())


def _profile(value: bytes) -> Profile:
    try:
        return decode_profile(value)
    except UnreadableError as error:
        note_unreadable("profile", "", error)
        return Profile()
