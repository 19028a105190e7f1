"""The work of a pass in slices, each of which takes the store about a millisecond at most."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Final, Literal, cast, get_args

from canuse_server.domain.api_keys import LIVE, TEST
from canuse_server.runtime.call_state import unconfirmed
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.keys import BUCKETS, Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.replies import RIGHT_MISSING_IN_SCRIPT
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.scripts.loader import SWEEP_LEASES, TRIM_LEDGER, TRIM_PAST_PERIODS, Script
from canuse_server.store.trimming.progress import NODE_DONE, Place

Data = Literal["events", "leases", "past_periods"]
DATA: Final[tuple[Data, ...]] = get_args(Data)
Job = Callable[[], Awaitable[object]]
"""A short script for one key. It returns the job that continues it, or None if that is all."""

JOBS_AT_ONCE: Final = 16
KEYS_AT_ONCE: Final = 100
"""About how many keys one step of a scan looks at."""
EVENTS_AT_ONCE: Final = 1000
LEASES_AT_ONCE: Final = 100
FEATURES_AT_ONCE: Final = 16
LAST_CURSOR: Final = "0"
PATTERN: Final = "canuse:*:{b????}:[ht]:*"
"""The keys of past periods, and of leases by the time when they are due."""
_KEY: Final = re.compile(rb"canuse:(\w+):\{b\d{4}\}:([ht]):(.+)", re.DOTALL)


class Slices:
    """Trims one store. All that it does to the data of a user is what a call of that user would do at that moment."""

    def __init__(self, store: Store, retention: Retention) -> None:
        self._store = store
        self._retention = retention
        self._keys = {environment: Keys(environment) for environment in (LIVE, TEST)}
        self._ledgers = [keys.ledger(bucket) for keys in self._keys.values() for bucket in range(BUCKETS)]
        self.trimmed: Counter[Data] = Counter()
        """What was removed or released so far: events, leases, and features with past periods."""
        self.failures: Counter[str] = Counter()
        """Errors of single keys, which are left as they are."""

    async def from_place(self, place: Place) -> AsyncGenerator[Place, None]:
        """Continue a pass; yield after each slice how far it has come.

        Raises:
            StoreError: the store is unavailable, or the user on the store lacks a right.
        """
        for first in range(place.ledgers, len(self._ledgers), JOBS_AT_ONCE):
            ledgers = self._ledgers[first : first + JOBS_AT_ONCE]
            async for _ in self._run([partial(self._trim_ledger, key) for key in ledgers]):
                yield place
            place = place._replace(ledgers=first + len(ledgers))
        servers = {server.endpoint.address: server for server in await self._store.servers()}
        for address in sorted(servers):
            if address < place.node or (address == place.node and place.cursor == NODE_DONE):
                continue
            cursor = place.cursor if address == place.node else LAST_CURSOR
            while cursor != NODE_DONE:
                cursor, names = await servers[address].scan_step(cursor, PATTERN, KEYS_AT_ONCE)
                yield place
                async for _ in self._run(self._jobs_for(names)):
                    yield place
                cursor = NODE_DONE if cursor == LAST_CURSOR else cursor
                place = place._replace(node=address, cursor=cursor)
                yield place

    async def trim(self, names: list[bytes]) -> None:
        """Trim some keys at once. Raises as `from_place`."""
        async for _ in self._run(self._jobs_for(names)):
            pass

    def _jobs_for(self, names: list[bytes]) -> list[Job]:
        """Return the jobs for some keys; none for keys that only look like those of a user."""
        jobs: list[Job] = []
        for name in names:
            found = _KEY.fullmatch(name)
            keys = None if found is None else self._keys.get(found[1].decode())
            if found is None or keys is None:
                continue
            user_id = found[3].decode(errors="replace")
            if found[2] == b"t" and keys.leases_due(user_id).encode() == name:
                jobs.append(partial(self._sweep_leases, keys, user_id))
            elif found[2] == b"h" and keys.history(user_id).encode() == name:
                jobs.append(partial(self._trim_past_periods, name.decode(), LAST_CURSOR))
        return jobs

    async def _run(self, jobs: list[Job]) -> AsyncGenerator[None, None]:
        """Run jobs, a few at a time, and what continues them; yield after each time."""
        while jobs:
            further = await asyncio.gather(*(job() for job in jobs[:JOBS_AT_ONCE]))
            jobs = jobs[JOBS_AT_ONCE:] + cast("list[Job]", [job for job in further if job is not None])
            yield

    async def _trim_ledger(self, key: str) -> object:
        max_age_ms = str(self._retention.ledger_max_age_ms)
        reply = await self._call(TRIM_LEDGER, [key], max_age_ms, str(EVENTS_AT_ONCE))
        removed, more = cast("tuple[int, int]", reply or (0, 0))
        self.trimmed["events"] += removed
        return partial(self._trim_ledger, key) if more else None

    async def _sweep_leases(self, keys: Keys, user_id: str) -> object:
        names = [keys.user(user_id), keys.leases(user_id), keys.leases_due(user_id)]
        late_ms = str(self._retention.dedupe_ttl_ms)
        swept = cast("int", await self._call(SWEEP_LEASES, names, late_ms, str(LEASES_AT_ONCE)) or 0)
        self.trimmed["leases"] += swept
        return partial(self._sweep_leases, keys, user_id) if swept == LEASES_AT_ONCE else None

    async def _trim_past_periods(self, key: str, cursor: str) -> object:
        kept_days = str(self._retention.past_periods_max_age_days)
        reply = await self._call(TRIM_PAST_PERIODS, [key], kept_days, cursor, str(FEATURES_AT_ONCE))
        following, trimmed = cast("tuple[bytes, int]", reply or (LAST_CURSOR.encode(), 0))
        self.trimmed["past_periods"] += trimmed
        return None if following == LAST_CURSOR.encode() else partial(self._trim_past_periods, key, following.decode())

    async def _call(self, script: Script, names: list[str], *arguments: str) -> object:
        """Run a script; return None if it failed because of its key."""
        try:
            with unconfirmed():
                return await self._store.run(script, names, self._store.manual_now, *arguments)
        except (StoreUnavailableError, OutcomeUnknownError):
            raise
        except StoreError as error:
            if any(part in str(error) for part in RIGHT_MISSING_IN_SCRIPT):
                raise StoreUnavailableError(str(error)) from error
            self.failures[str(error)] += 1
            return None
