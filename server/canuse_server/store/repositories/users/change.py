"""A change of a user, and the arguments with which the script writes it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from canuse_server.domain.carry_over import CarryOver
from canuse_server.domain.decision import Counter
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import Grant, Profile, Subscription
from canuse_server.store.codec import user_values
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.codec.documents import encode
from canuse_server.store.codec.user_values import Meta


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


def profile_argument(profile: Profile | None) -> bytes:
    """Return what becomes of the profile: empty for nothing, `D` to delete it, `S` and the profile to store it."""
    if profile is None:
        return b""
    return b"D" if profile == Profile() and not profile.unknown else b"S" + encode(profile)


def _subscription_arguments(subscriptions: Iterable[Subscription]) -> list[str | bytes]:
    arguments: list[str | bytes] = []
    for subscription in subscriptions:
        arguments += (subscription.token, user_values.pack_subscription(subscription))
    return arguments


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


def change_arguments(change: UserChange) -> Iterator[str | bytes]:
    """Yield the lists of subscriptions, entitlements, counters and grants, each after its length."""
    subscriptions, ended = _subscription_arguments(change.subscriptions), _subscription_arguments(change.ended)
    yield from (str(len(subscriptions) // 2), *subscriptions)
    yield from (user_values.pack_moment(change.ended_until_ms), str(len(ended) // 2), *ended)
    yield str(len(change.entitlements))
    for feature_id, entitlement in change.entitlements.items():
        yield from (feature_id, user_values.pack_entitlement(entitlement))
    removals, carry_overs, grants = list(change.removed_entitlements), list(change.carry_overs), list(change.grants)
    yield from (str(len(removals)), *removals)
    touched = dict.fromkeys((*(item.feature_id for item in carry_overs), *change.entitlements, *removals))
    yield str(len(touched))
    for feature_id in touched:
        yield from (feature_id, _start(change.counters.get(feature_id)))
    yield from (str(len(carry_overs)), *chain.from_iterable(map(_carry_over_arguments, carry_overs)))
    yield str(len(grants))
    for grant in grants:
        yield from (grant.id, encode(grant))
    yield str(len(change.grant_orders))
    for feature_id, placed in change.grant_orders.items():
        yield from _order_arguments(feature_id, placed)
