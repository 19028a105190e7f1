"""The ledger: the script appends a canuse.storage.v1.LedgerEntry with everything known about the event."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod
from canuse_server.domain.periods import Period
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.keys import bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.ledger import CHUNK, Ledger
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.repositories.users.users import Users
from support.database import HOUR_MS, KEYS, RETENTION, Database
from support.strategies import ms

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
UNLIMITED: Final = Entitlement(
    consumable=True,
    active=True,
    limit=None,
    overage_enabled=False,
    reset_period=ResetPeriod.NEVER,
    period=Period(0, None),
    valid_until_ms=None,
)


def entry_of(database: Database) -> LedgerEntry:
    """Return the latest entry."""
    _, (name, value) = database.entries()[-1]
    assert name == b"e"
    return LedgerEntry.FromString(value)


def test_an_entry_has_all_that_was_sent_and_all_that_came_of_it(database: Database) -> None:
    database.put_user(UNLIMITED)
    sent = LedgerEntry(
        user_id="124",
        feature_id="calls",
        delta=-5,
        action=v1.USAGE_ACTION_ADD,
        event_id="order-1",
        metadata={"where": "é", "": ""},
    )
    database.record(NOW, delta=3)
    outcome, _ = database.record(NOW, delta=-5, entry=sent.SerializeToString())
    expected = LedgerEntry()
    expected.CopyFrom(sent)
    expected.applied_delta, expected.used, expected.reason, expected.budget = -3, 0, v1.REASON_UNLIMITED, -1
    assert entry_of(database) == expected
    assert database.entries()[-1][0].decode() == outcome.ledger_id == f"{NOW}-1"


@given(st.integers(0, MAX_AMOUNT), st.data())
@settings(max_examples=60, deadline=None)
def test_amounts_in_the_ledger_are_exact(shared_database: Database, before: int, data: st.DataObject) -> None:
    after = data.draw(st.integers(0, MAX_AMOUNT) | st.integers(max(0, before - 3), min(MAX_AMOUNT, before + 3)))
    shared_database.redis.delete(KEYS.ledger(bucket_of("124")))
    shared_database.put_user(UNLIMITED)
    shared_database.put_counter(before, 0)
    shared_database.record(NOW, mode=usage_commands.SET, delta=after)
    entry = entry_of(shared_database)
    assert (entry.applied_delta, entry.used, entry.reason) == (after - before, after, v1.REASON_UNLIMITED)


@pytest.mark.parametrize(("before", "after"), [(0, MAX_AMOUNT), (MAX_AMOUNT, 0), (MAX_AMOUNT, MAX_AMOUNT), (0, 0)])
def test_the_largest_amounts_are_exact_in_both_directions(database: Database, before: int, after: int) -> None:
    database.put_user(UNLIMITED)
    database.put_counter(before, 0)
    database.record(NOW, mode=usage_commands.SET, delta=after)
    assert (entry_of(database).applied_delta, entry_of(database).used) == (after - before, after)


@pytest.mark.parametrize("reason", [Reason.USER_DISABLED, Reason.FEATURE_ARCHIVED, Reason.UNLIMITED])
def test_an_entry_says_how_the_user_stood(database: Database, reason: Reason) -> None:
    database.put_user(UNLIMITED, disabled=reason == Reason.USER_DISABLED)
    database.record(NOW, archived=reason == Reason.FEATURE_ARCHIVED)
    assert entry_of(database).reason == reason.value


def test_an_entry_says_what_package_and_grants_give_together_in_the_period(database: Database) -> None:
    grants = GrantBalance(0, None, 7, 0), GrantBalance(0, NOW, 100, 0)
    database.put_user(replace(UNLIMITED, limit=5), grants=grants)
    for delta in (1, 6, 20):
        database.record(NOW, delta=delta)
        assert entry_of(database).budget == 12


def test_what_is_not_recorded_is_not_in_the_ledger(database: Database) -> None:
    database.put_user()
    database.record(NOW)
    database.put_user(UNLIMITED, disabled=True)
    database.record(NOW, mode=usage_commands.USE)
    assert database.entries() == []


def test_an_entry_s_id_is_the_time_of_the_event(database: Database) -> None:
    database.put_user(UNLIMITED)
    for now_ms in (NOW, NOW, NOW + 1):
        database.record(now_ms)
    assert [entry_id for entry_id, _ in database.entries()] == [
        f"{NOW}-0".encode(),
        f"{NOW}-1".encode(),
        f"{NOW + 1}-0".encode(),
    ]


def test_entries_older_than_their_age_go_and_the_others_stay(database: Database) -> None:
    # Redis trims whole nodes of a stream, of 100 entries each.
    database.put_user(UNLIMITED)
    short = Retention(RETENTION.dedupe_ttl_ms, ledger_max_age_ms=HOUR_MS, past_periods_max_age_days=1)
    for _ in range(150):
        database.record(NOW, retention=short)
    for _ in range(150):
        database.record(NOW + HOUR_MS, retention=short)
    assert len(database.entries()) == 300
    database.record(NOW + HOUR_MS + 1, retention=short)
    remaining_times = [int(entry_id.partition(b"-")[0]) for entry_id, _ in database.entries()]
    assert remaining_times.count(NOW) < 100
    assert remaining_times.count(NOW + HOUR_MS) == 150


def test_old_entries_go_on_the_store_s_own_clock_too(database: Database) -> None:
    database.put_user(UNLIMITED)
    ledger = KEYS.ledger(bucket_of("124"))
    for number in range(150):
        database.redis.xadd(ledger, {"e": b""}, id=f"1-{number}")
    # The clock determines which appends trim old entries.
    for _ in range(20_000):
        database.record(None)
        if not database.redis.xrange(ledger, "1-0", "1-0"):
            break
    remaining_times = [int(entry_id.partition(b"-")[0]) for entry_id, _ in database.entries()]
    assert remaining_times.count(1) == 50


async def test_a_user_s_events_are_erased_and_no_others(store: Store, database: Database) -> None:
    other = next(f"u{number}" for number in range(10**6) if bucket_of(f"u{number}") == bucket_of("124"))
    for user_id in ("124", other):
        database.put_user(UNLIMITED, user_id)
    for number in range(CHUNK + 200):
        user_id = other if number % 3 else "124"
        entry = LedgerEntry(user_id=user_id, feature_id="calls", delta=1)
        database.record(NOW, user_id=user_id, entry=entry.SerializeToString())
    ledger = Ledger(store, KEYS)
    assert await ledger.erase("124") == 400
    assert await ledger.erase("124") == 0
    remaining_times = [LedgerEntry.FromString(parts[1]).user_id for _, parts in database.entries()]
    assert remaining_times == [other] * 800


async def test_events_after_the_last_one_that_is_to_go_stay(store: Store, database: Database) -> None:
    """They belong to a user who was created again: with a default package the next call does that."""
    ledger, users = Ledger(store, KEYS), Users(store, KEYS, RETENTION)
    entry = LedgerEntry(user_id="124", feature_id="calls", delta=1).SerializeToString()
    database.put_user(UNLIMITED)
    for _ in range(3):
        database.record(NOW, entry=entry)
    assert (await users.delete("124"))[0]
    database.put_user(UNLIMITED)
    _, last = await users.delete("124")
    database.put_user(UNLIMITED)
    for _ in range(2):
        database.record(NOW, entry=entry)
    assert await ledger.erase("124", last) == 3
    assert len((await ledger.page("124", 0, None, 10, lambda _: True)).events) == 2
