"""A script for many uses does what the script for one use would do for each of them, or leaves it to that."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, ResetPeriod
from canuse_server.domain.periods import Period
from canuse_server.store.codec.event_ids import FINGERPRINT_BYTES
from canuse_server.store.keys import bucket_of, tag_of
from canuse_server.store.redis.command import Command
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.usage_commands import ADD, SET, USE, Charge, Use
from canuse_server.store.repositories.use_batches import MAX_USES, BatchUse, batch_commands, batch_use
from store.test_rule_equality import State, deltas, states
from support.database import HOUR_MS, KEYS, RETENTION, Database, packed_event
from support.strategies import ms

USER: Final = "124"
NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
CALLS: Final = "calls"
SEATS: Final = "seats"
PLAIN: Final = Entitlement(
    consumable=True,
    active=True,
    limit=9,
    overage_enabled=False,
    reset_period=ResetPeriod.DAY,
    period=Period(NOW - HOUR_MS, NOW + 23 * HOUR_MS),
    valid_until_ms=None,
)
NOT_MADE: Final = b"N"
REFUSED: Final = (b"U", b"S", b"L", b"O")


class Sent(NamedTuple):
    """A use of the tests. `ttl_ms` is that of the event id."""

    mode: str
    feature_id: str
    delta: int
    event_id: str = ""
    ttl_ms: int = HOUR_MS
    user_id: str = USER

    def command(self, *, archived: bool = False) -> Command:
        """Return the command that records it alone."""
        content = f"{self.mode}{self.feature_id}{self.delta}".encode()[-FINGERPRINT_BYTES:].rjust(FINGERPRINT_BYTES)
        event = packed_event(self.event_id, content, ttl_ms=self.ttl_ms)
        charge = Charge(self.feature_id, self.delta, archived, self.feature_id.encode())
        return usage_commands.record_command(KEYS, Use(self.mode, self.user_id, (charge,), event), RETENTION, str(NOW))


def batched(uses: Sequence[Sent]) -> list[BatchUse]:
    """Return uses as a script for many takes them."""
    return [cast("BatchUse", batch_use(use.user_id, use.command())) for use in uses]


def commands_of(uses: Sequence[Sent]) -> list[tuple[Command, list[int]]]:
    """Return the commands that record uses together."""
    return [*batch_commands(KEYS, batched(uses), RETENTION, str(NOW), one_slot=False)]


def record_together(database: Database, uses: Sequence[Sent]) -> list[Any]:
    """Record uses together; return the reply of each."""
    replies: dict[int, Any] = {}
    for command, places in commands_of(uses):
        replies |= zip(places, database.call(*command.command), strict=True)
    return [replies[place] for place in range(len(uses))]


@st.composite
def uses_of(draw: st.DrawFn, state: State) -> list[Sent]:
    """Uses of the features of a user, some of which repeat an event id, with the same content or other one."""
    uses = []
    for _ in range(draw(st.integers(1, 7))):
        feature_id = draw(st.sampled_from((CALLS, CALLS, SEATS)))
        mode = draw(st.sampled_from((ADD, USE, SET)))
        delta = draw(st.integers(0, 3) | deltas(state.parts[feature_id]))
        if mode == ADD and draw(st.booleans()):
            delta = -delta
        event_id = draw(st.sampled_from(("", "a", "b", "c")))
        uses.append(Sent(mode, feature_id, delta, event_id, draw(st.sampled_from((HOUR_MS, 600_000)))))
    return uses


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_uses_recorded_together_and_the_rest_alone_are_as_all_recorded_alone(
    shared_database: Database, data: st.DataObject
) -> None:
    database = shared_database
    state = data.draw(states((CALLS, SEATS)), label="state")
    uses = data.draw(uses_of(state), label="uses")
    state.put(database)
    alone = [database.call(*use.command().command) for use in uses]
    expected = database.contents()
    state.put(database)
    together = record_together(database, uses)
    made = together.index(NOT_MADE) if NOT_MADE in together else len(uses)
    assert set(together[made:]) <= {NOT_MADE}
    rest = [database.call(*use.command().command) for use in uses[made:]]
    assert [*together[:made], *rest] == alone
    assert database.contents() == expected


def test_plain_uses_are_all_made_together(database: Database) -> None:
    plain = ((ADD, CALLS, 2), (USE, SEATS, 9), (USE, SEATS, 1), (USE, CALLS, 0), (SET, CALLS, 1))
    for user_id in ("a", "b"):
        for feature_id in (CALLS, SEATS):
            database.put_user(PLAIN, user_id, feature_id=feature_id)
    without_id = [Sent(*use, user_id=user_id) for user_id in ("a", "b") for use in plain]
    with_id = [use._replace(event_id=f"e{number}") for number, use in enumerate(without_id)]
    assert [reply[:1] for reply in record_together(database, without_id + with_id)] == [b"K"] * 20
    assert [reply[:1] for reply in record_together(database, with_id)] == [b"R"] * 10
    other = [use._replace(delta=7) for use in with_id]
    assert [reply[:1] for reply in record_together(database, other)] == [b"X"] * 10
    assert database.counter("a", feature_id=CALLS) == (1, NOW - HOUR_MS)
    assert database.counter("b", feature_id=SEATS) == (9, NOW - HOUR_MS)


def test_an_event_id_is_found_in_a_hash_into_which_it_would_not_go_now(database: Database) -> None:
    """An id with another ttl goes into another hash, and in time all ids do."""
    database.put_user(PLAIN, USER, feature_id=CALLS)
    for_retries = Sent(ADD, CALLS, 2, "id", ttl_ms=600_000)
    assert database.call(*for_retries.command().command)[:1] == b"K"
    uses = [Sent(ADD, CALLS, 1, "other"), for_retries._replace(ttl_ms=HOUR_MS), Sent(ADD, CALLS, 1, "other", 600_000)]
    assert [reply[:1] for reply in record_together(database, uses)] == [b"K", b"R", b"R"]
    assert database.counter(USER, feature_id=CALLS) == (3, NOW - HOUR_MS)


@pytest.mark.parametrize("count", [1, MAX_USES, MAX_USES + 1, 3 * MAX_USES])
def test_the_uses_of_a_user_are_recorded_in_their_order(database: Database, count: int) -> None:
    database.put_user(replace(PLAIN, limit=None))
    uses = [Sent(ADD, CALLS, number, f"e{number}") for number in range(1, count + 1)]
    commands = commands_of(uses)
    assert [len(places) for _, places in commands] == [MAX_USES] * (count // MAX_USES) + (
        [count % MAX_USES] if count % MAX_USES else []
    )
    totals = [usage_commands.single(reply)[0].used for reply in record_together(database, uses)]
    assert totals == [number * (number + 1) // 2 for number in range(1, count + 1)]
    assert database.redis.keys(KEYS.chain(USER, "*")) == []


def test_a_part_is_not_recorded_unless_all_uses_of_the_part_before_it_were(database: Database) -> None:
    database.put_user(replace(PLAIN, limit=None))
    database.put_user(replace(PLAIN, limit=None, valid_until_ms=NOW), feature_id="stale")
    uses = [Sent(ADD, CALLS, 1) for _ in range(3 * MAX_USES)]
    uses[MAX_USES + 5] = Sent(ADD, "stale", 1)
    (first, _), (second, _), (third, _) = commands_of(uses)
    before = database.contents()
    assert set(database.call(*second.command)) == {NOT_MADE}
    assert database.contents() == before
    assert NOT_MADE not in database.call(*first.command)
    assert [reply == NOT_MADE for reply in database.call(*second.command)] == [False] * 5 + [True] * (MAX_USES - 5)
    before = database.contents()
    assert set(database.call(*third.command)) == {NOT_MADE}
    assert database.contents() == before
    assert database.counter() == (MAX_USES + 5, NOW - HOUR_MS)
    [mark] = database.redis.keys(KEYS.chain(USER, "*"))
    assert 0 < database.redis.pttl(mark) <= 60_000


def test_a_use_that_fails_leaves_those_before_it_recorded_and_those_behind_it_not_made(database: Database) -> None:
    for user_id in ("a", "b", "c"):
        database.put_user(PLAIN, user_id)
    database.redis.set(KEYS.ledger(bucket_of("b")), "not a stream")
    uses = [Sent(ADD, CALLS, 1, user_id=user_id) for user_id in ("a", "a", "b", "b", "c")]
    made, again, failed, *behind = record_together(database, uses)
    assert (made[:1], again[:1]) == (b"K", b"K")
    assert isinstance(failed, ResponseError)
    assert str(failed).startswith("WRONGTYPE")
    assert behind == [NOT_MADE, NOT_MADE]
    assert [database.counter(user_id) for user_id in ("a", "b", "c")] == [(2, NOW - HOUR_MS), None, None]


def test_a_total_above_the_largest_amount_is_left_to_the_other_script(database: Database) -> None:
    database.put_user(replace(PLAIN, limit=None))
    uses = [Sent(ADD, CALLS, MAX_AMOUNT, "a"), Sent(ADD, CALLS, 1, "b"), Sent(ADD, CALLS, -1, "c")]
    assert [reply[:1] for reply in record_together(database, uses)] == [b"K", b"N", b"N"]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=250),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_each_use_is_in_one_command_of_bounded_size(users: list[tuple[int, bool]], one_slot: bool) -> None:
    uses = batched([Sent(ADD, CALLS, 1, "e" if has_event else "", user_id=f"u{number}") for number, has_event in users])
    commands = [*batch_commands(KEYS, uses, RETENTION, str(NOW), one_slot=one_slot)]
    order = [place for _, places in commands for place in places]
    assert sorted(order) == list(range(len(uses)))
    for user_id in {user_id for user_id, _, _ in uses}:
        own = [place for place in order if uses[place][0] == user_id]
        assert own == sorted(own)
    for command, places in commands:
        assert len(places) <= MAX_USES
        names = cast("tuple[str, ...]", command.command[3 : 3 + int(command.command[2])])
        assert not one_slot or len({tag_of(name) for name in names}) == 1
    small = sum(len(places) <= MAX_USES // 2 for _, places in commands)
    assert one_slot or small <= 1 + sum(
        1 for number in range(31) if sum(user == number for user, _ in users) > MAX_USES // 2
    )


def test_a_use_of_several_or_archived_features_has_a_script_of_its_own() -> None:
    charges = tuple(Charge(feature_id, 1, archived=False, entry=b"") for feature_id in (CALLS, SEATS))
    several = usage_commands.record_command(KEYS, Use(USE, USER, charges), RETENTION, str(NOW))
    assert batch_use(USER, several) is None
    assert batch_use(USER, Sent(USE, CALLS, 1).command(archived=True)) is None
    assert batch_use(USER, Sent(USE, CALLS, 1, "e").command(archived=True)) is None
