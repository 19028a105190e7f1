"""Usage from many callers for many users, with an account of what was acknowledged and what is unknown.

Each user has three features: one whose events all have ids, one whose events have none, and one with a limit, which is
used until nothing is left. So every count can be audited against what the callers know.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from canuse import OutcomeUnknown, StoreUnavailable, v1
from support.load import callers, in_groups, subscribers, until, used, wait_until
from support.message_clients import AsyncClient, Client
from support.resources import consumable, package, unique

USERS: Final = 40
LIMIT: Final = 100
CONNECTIONS: Final = 4
WORKERS: Final = 24
RETRY_SECONDS: Final = 0.02
MAX_WAIT_SECONDS: Final = 120.0

Answer = v1.CreateUsageEventResponse | v1.UseFeatureResponse


class Features(NamedTuple):
    """The features of each user: used with event ids, without, and up to a limit."""

    with_ids: str
    without_ids: str
    limited: str


class Event(NamedTuple):
    """A call; one without an event id is made only once."""

    user_id: str
    feature_id: str
    is_use_feature: bool
    """Whether it is a `UseFeature` or a `CreateUsageEvent`."""
    delta: int
    event_id: str

    async def send(self, client: AsyncClient) -> Answer:
        """Make the call."""
        send = client.use_feature if self.is_use_feature else client.create_usage_event
        return await send(self.user_id, self.feature_id, self.delta, event_id=self.event_id or None)


class Acknowledged(NamedTuple):
    """An event with an id that was acknowledged, the answer, and the time by `time.monotonic`."""

    event: Event
    answer: Answer
    at: float


@dataclass
class ExpectedCount:
    """Units of one feature of one user, as far as callers know."""

    acknowledged: int = 0
    unknown: int = 0


@dataclass
class Audit:
    """The counts in the store compared with what callers know, in units."""

    acknowledged: int = 0
    lost: int = 0
    """Acknowledged but not counted."""
    over_counted: int = 0
    """Counted without a request, more than once, or after the caller was told that nothing was written."""
    over_limit: int = 0
    """Counted beyond a limit."""


@dataclass
class Accounting:
    """The users of a script and the outcomes of all calls made for them."""

    features: Features
    user_ids: Sequence[str]
    rng: random.Random
    expected: dict[tuple[str, str], ExpectedCount] = field(default_factory=lambda: defaultdict(ExpectedCount))
    outcomes: Counter[str] = field(default_factory=Counter)
    recent: list[Acknowledged] = field(default_factory=list)
    """Events with ids that were acknowledged since the list was last emptied."""

    @property
    def acknowledged(self) -> int:
        """The number of acknowledged calls."""
        return self.outcomes["acknowledged"]

    async def call(self, client: AsyncClient) -> None:
        """Make one call of a random kind. One with an event id is repeated until it is acknowledged."""
        rng, features = self.rng, self.features
        feature_id = rng.choice((features.with_ids, features.with_ids, features.without_ids, features.limited))
        is_use_feature = feature_id == features.limited or rng.random() < 0.5
        event_id = unique("event") if feature_id == features.with_ids else ""
        event = Event(rng.choice(self.user_ids), feature_id, is_use_feature, rng.randint(1, 3), event_id)
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while not await self._attempt(client, event) and event_id:
            assert time.monotonic() < deadline, f"{event} was never acknowledged"

    async def _attempt(self, client: AsyncClient, event: Event) -> bool:
        """Send an event; return whether it was acknowledged. Failures other than those of the store are raised."""
        expected = self.expected[event.user_id, event.feature_id]
        try:
            answer = await event.send(client)
        except (OutcomeUnknown, StoreUnavailable) as error:
            self.outcomes[error.reason] += 1
            # An event with an id is sent again until its outcome is known.
            if isinstance(error, OutcomeUnknown) and not event.event_id:
                expected.unknown += event.delta
            await asyncio.sleep(RETRY_SECONDS)
            return False
        self.outcomes["acknowledged"] += 1
        if isinstance(answer, v1.CreateUsageEventResponse) or answer.access:
            expected.acknowledged += event.delta
        if event.event_id:
            self.recent.append(Acknowledged(event, answer, time.monotonic()))
        return True

    @asynccontextmanager
    async def load(self, address: str, calls: int) -> AsyncIterator[None]:
        """Generate load from many workers; the block starts once so many further calls are acknowledged.

        Afterwards every event with an id that was sent has been acknowledged.
        """
        stopped = asyncio.Event()

        async def work(client: AsyncClient) -> None:
            while not stopped.is_set():
                await self.call(client)

        async with callers(address, CONNECTIONS) as clients:
            workers = (work(clients[number % CONNECTIONS]) for number in range(WORKERS))
            workers_done = asyncio.gather(*workers)
            try:
                before = self.acknowledged
                await wait_until(lambda: self.acknowledged >= before + calls or workers_done.done())
                yield
            finally:
                stopped.set()
                await workers_done

    async def wait_for_acknowledged(self, calls: int) -> None:
        """Wait under load until so many further calls are acknowledged."""
        before = self.acknowledged
        await wait_until(lambda: self.acknowledged >= before + calls)

    async def wait_for_unknown(self, calls: int) -> None:
        """Wait under load until so many further calls have an unknown outcome."""
        before = self.outcomes["OUTCOME_UNKNOWN"]
        await wait_until(lambda: self.outcomes["OUTCOME_UNKNOWN"] >= before + calls)

    async def wait_for_refused(self, calls: int) -> None:
        """Wait under load until so many further calls have failed without having counted."""
        before = self.outcomes["STORE_UNAVAILABLE"]
        await wait_until(lambda: self.outcomes["STORE_UNAVAILABLE"] >= before + calls)

    async def resend_recent(self, address: str) -> list[Acknowledged]:
        """Send the recent events once more and empty their list; return those the server no longer knew.

        Those it knows must get the same answer as the first time.
        """
        recent, self.recent = self.recent, []
        async with callers(address, CONNECTIONS) as clients:
            resent = (send_when_available(item.event, clients[at % CONNECTIONS]) for at, item in enumerate(recent))
            answers = await in_groups(WORKERS, resent)
        for item, answer in zip(recent, answers, strict=True):
            assert not answer.replayed or same_answer(answer, item.answer), f"{item} is now answered with {answer}"
        return [item for item, answer in zip(recent, answers, strict=True) if not answer.replayed]

    def audit(self, address: str) -> Audit:
        """Compare every count with what callers know."""
        found = Audit()
        with Client(address, timeout_seconds=30) as client:
            for user_id in self.user_ids:
                for feature_id in self.features:
                    expected, count = self.expected[user_id, feature_id], read_count(client, user_id, feature_id)
                    found.acknowledged += expected.acknowledged
                    found.lost += max(0, expected.acknowledged - count)
                    found.over_counted += max(0, count - expected.acknowledged - expected.unknown)
                    if feature_id == self.features.limited:
                        found.over_limit += max(0, count - LIMIT)
        return found


async def send_when_available(event: Event, client: AsyncClient) -> Answer:
    """Send an event once the store is available on all connections; only what has not counted is sent again."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while True:
        try:
            return await event.send(client)
        except StoreUnavailable:
            assert time.monotonic() < deadline, f"{event} can't be sent"
            await asyncio.sleep(RETRY_SECONDS)


def read_count(client: Client, user_id: str, feature_id: str) -> int:
    """Return a count once the store is available on all connections."""
    counts = list[int]()

    def read() -> bool:
        try:
            counts.append(used(client, user_id, feature_id))
        except StoreUnavailable:
            return False
        return True

    until(read)
    return counts[0]


def same_answer(one: Answer, other: Answer) -> bool:
    """Whether two answers are equal except for `replayed`."""
    first, second = type(one)(), type(other)()
    for copy, answer in ((first, one), (second, other)):
        copy.MergeFrom(answer)  # type: ignore[arg-type]
        copy.replayed = False
    return first == second


async def open_accounting(address: str, rng: random.Random | int) -> Accounting:
    """Create the users and an empty accounting; `rng` or its seed determines the calls."""
    rng = random.Random(rng) if isinstance(rng, int) else rng
    features, package_id = await asyncio.to_thread(_catalogue, address)
    async with callers(address, 1) as (client,):
        return Accounting(features, await subscribers(client, [package_id] * USERS), rng)


def _catalogue(address: str) -> tuple[Features, str]:
    with Client(address) as client:
        features = Features(consumable(client), consumable(client), consumable(client))
        never = v1.RESET_PERIOD_NEVER
        unlimited = [v1.PackageFeature(feature_id=feature_id, reset_period=never) for feature_id in features[:2]]
        return features, package(
            client, [*unlimited, v1.PackageFeature(feature_id=features.limited, limit=LIMIT, reset_period=never)]
        )


@dataclass
class AuditTotals:
    """The findings of a script over all its rounds."""

    times: int = 0
    acknowledged: int = 0
    unknown: int = 0
    unavailable: int = 0
    lost: int = 0
    counted_twice: int = 0
    over_limit: int = 0

    async def add(self, accounting: Accounting, address: str) -> list[Acknowledged]:
        """Add the audit of a round, resend what was acknowledged, and return what the server no longer knew."""
        found = await asyncio.to_thread(accounting.audit, address)
        resend_recent = await accounting.resend_recent(address)
        self.times += 1
        self.acknowledged += accounting.acknowledged
        self.unknown += accounting.outcomes["OUTCOME_UNKNOWN"]
        self.unavailable += accounting.outcomes["STORE_UNAVAILABLE"]
        self.lost += max(found.lost, len(resend_recent))
        self.counted_twice += found.over_counted
        self.over_limit += found.over_limit
        return resend_recent

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, counted twice or granted beyond its limit."""
        return not (self.lost or self.counted_twice or self.over_limit)
