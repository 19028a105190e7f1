"""The audit logs in the store: how long they are, what is appended when, and how they are read as one."""

import random
from collections.abc import Callable, Iterator

import pytest

from canuse_server.domain.durability import Durability
from canuse_server.domain.model import Profile
from canuse_server.domain.periods import DAY_MS
from canuse_server.runtime.call_state import Author, CallState, begin_call
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import API_KEYS_AUDIT, BUCKETS, CLOCK_AUDIT, Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit import log as audit_log
from canuse_server.store.repositories.audit.log import AuditLog, AuditPlace, AuditQuery, Located
from canuse_server.store.repositories.users.change import UserChange
from canuse_server.store.repositories.users.users import Users
from canuse_server.store.scripts.loader import TOKEN_GENERATION
from support.database import KEYS, Database

NOW_MS = 1_800_000_000_000
LOG = KEYS.audit(bucket_of("124"))
MAX_AGE_MS = 10 * DAY_MS


def change(database: Database, entry: bytes = b"entry", *, now_ms: int | None = NOW_MS, existing: bool = True) -> int:
    """Make a change that appends an entry; return how many entries there are then."""
    names = [KEYS.user("124"), LOG]
    database.redis.hdel(names[0], "k")
    if existing:
        database.redis.hset(names[0], "m", "x")
    database.run(TOKEN_GENERATION, names, "generation", entry, str(MAX_AGE_MS), "" if now_ms is None else str(now_ms))
    return int(database.redis.xlen(LOG))


def fill(database: Database, count: int, now_ms: int = NOW_MS) -> None:
    """Append entries without changes."""
    pipeline = database.redis.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd(LOG, {"e": ""}, id=f"{now_ms}-*")
    pipeline.execute()


def test_an_entry_is_appended_with_a_change_and_not_without_one(database: Database) -> None:
    assert change(database, existing=False) == 0
    assert [change(database), change(database, b""), change(database)] == [1, 1, 2]


def test_a_log_has_no_entries_that_are_too_old_once_there_is_a_new_one(database: Database) -> None:
    fill(database, 300, NOW_MS)
    fill(database, 3, NOW_MS + 1)
    assert change(database, now_ms=NOW_MS + MAX_AGE_MS + 1) == 4


def test_a_log_has_10000_entries_at_most(database: Database) -> None:
    fill(database, 10_005)
    assert change(database) == 10_000
    [(newest, _)] = database.call("XREVRANGE", LOG, "+", "-", "COUNT", "1")
    assert newest == f"{NOW_MS}-10005".encode()


def test_a_log_without_new_entries_expires_as_a_whole(database: Database) -> None:
    change(database, now_ms=None)
    assert MAX_AGE_MS - 60_000 < int(database.redis.pttl(LOG)) <= MAX_AGE_MS


def test_an_entry_is_appended_under_a_manual_clock_that_is_behind_the_last_one(database: Database) -> None:
    fill(database, 1, NOW_MS + DAY_MS)
    assert change(database) == 2
    assert int(database.redis.pttl(LOG)) == -1


async def test_a_change_that_came_too_late_has_no_entry(users: Users, database: Database) -> None:
    begin_call(
        CallState(None, Durability.MEMORY, author=Author("canuse.v1.UserService/CreateUser", "key_1", "live", "r-1"))
    )
    entry = AuditEntry(user_id="124", fields=["name"])
    created = UserChange("124", b"", Meta(disabled=False, revision=1, created_at_ms=1), Profile(), audit=entry)
    await users.apply(created)
    for raw_meta in (b"", b"other"):
        with pytest.raises(ConflictError):
            await users.apply(UserChange("124", raw_meta, created.meta, audit=entry))
    [(_, fields)] = database.call("XRANGE", LOG, "-", "+")
    expected = AuditEntry(method="UserService/CreateUser", caller_key_id="key_1", request_id="r-1")
    expected.MergeFrom(AuditEntry(user_id="124", fields=["name"]))
    assert AuditEntry.FromString(fields[b"e"]) == expected


Logs = Callable[[int], list[AuditPlace]]


@pytest.fixture
def logs(database: Database) -> Iterator[Logs]:
    """Fills logs with entries at random times, and returns the places of all, newest first."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    names = [*map(KEYS.audit, range(BUCKETS)), KEYS.catalog_audit, API_KEYS_AUDIT, CLOCK_AUDIT]

    def make(count: int) -> list[AuditPlace]:
        # Some logs have many entries, most few, and many entries have the same time.
        streams = [*rng.sample(range(len(names)), 40), *(3 * [rng.randrange(len(names))])]
        span = rng.choice([5, 200, 5000])
        times = sorted((rng.choice(streams), NOW_MS + rng.randrange(span)) for _ in range(count))
        places, pipeline = set[AuditPlace](), database.redis.pipeline(transaction=False)
        for stream, time_ms in times:
            serial = sum(1 for place in places if place[::2] == (time_ms, stream))
            places.add(AuditPlace(time_ms, serial, stream))
            entry = AuditEntry(method="odd" if rng.random() < 0.1 else "even")
            pipeline.xadd(names[stream], {"e": entry.SerializeToString()}, id=f"{time_ms}-{serial}")
        pipeline.execute()
        return sorted(places, reverse=True)

    yield make
    database.redis.flushall()


async def pages(
    log: AuditLog, size: int, matches: Callable[[AuditEntry], bool] = lambda _: True, since_ms: int = 0
) -> list[list[Located]]:
    """Return all pages."""
    found, before = list[list[Located]](), None
    while True:
        page = await log.page(AuditQuery(since_ms, before, "", matches), size)
        found.append(page.entries)
        before = page.before
        if before is None:
            return found


@pytest.mark.parametrize("count", [0, 1, 60, 700])
async def test_all_logs_are_read_as_one_page_by_page(store: Store, logs: Logs, count: int) -> None:
    log, places = AuditLog(store, Keys("live"), 400 * 365 * DAY_MS), logs(count)
    for size in (1, 7, 50, 1000) if count < 100 else (50, 1000):
        found = await pages(log, size)
        assert [item.place for page in found for item in page] == places
        assert {len(page) for page in found[:-1]} <= {size}
    since_ms = NOW_MS + 3
    found = await pages(log, 50, since_ms=since_ms)
    assert [item.place for page in found for item in page] == [place for place in places if place.time_ms >= since_ms]


async def test_a_filter_that_matches_few_entries_takes_several_pages_and_finds_all(
    store: Store, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, places = AuditLog(store, Keys("live"), 400 * 365 * DAY_MS), logs(700)
    everything = [item for page in await pages(log, 1000) for item in page]
    assert len(everything) == len(places)
    monkeypatch.setattr(audit_log, "MAX_ENTRIES_READ", 100)
    found = await pages(log, 50, lambda entry: entry.method == "odd")
    assert len(found) > 2
    odd = [item.place for item in everything if item.entry.method == "odd"]
    assert [item.place for page in found for item in page] == odd


async def test_what_is_too_old_is_not_read_even_if_it_is_still_there(store: Store, database: Database) -> None:
    now_ms = await store.now_ms()
    fill(database, 1, now_ms - 2 * DAY_MS)
    for max_age_ms, count in ((DAY_MS, 0), (3 * DAY_MS, 1)):
        [page] = await pages(AuditLog(store, Keys("live"), max_age_ms), 50)
        assert len(page) == count
