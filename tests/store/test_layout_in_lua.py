"""Lua reads what Python packs, and packs it again to the same bytes."""

from importlib.resources import files
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.decision import Counter, Reservation
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import MAX_AMOUNT
from canuse_server.store.codec import user_values
from canuse_server.store.codec.user_values import Meta
from support.database import Database, pack_counter, pack_grants
from support.strategies import amounts, balances, entitlements, moments, recent_moments

FOLDER: Final = files("canuse_server.store") / "scripts" / "lib"
LAYOUT: Final = "\n".join((FOLDER / f"{name}.lua").read_text() for name in ("layout", "fields", "grants"))
"""The fragments that the scripts include."""
NUMBERS: Final = """
local numbers = {}
for i = 1, #values - 1 do numbers[i] = string.format('%.0f', values[i]) end
"""
epochs = st.integers(0, 2**32 - 1)
hundreds = settings(max_examples=100, deadline=None)


def read_in_lua(database: Database, pattern: str, value: bytes) -> tuple[list[int], bytes]:
    """Return the numbers that Lua unpacks with a pattern of the layout, and the bytes that it packs them to."""
    script = f"""{LAYOUT}
local values = {{ struct.unpack({pattern}, ARGV[1]) }}{NUMBERS}
return {{ struct.pack({pattern}, unpack(values, 1, #values - 1)), numbers }}"""
    packed, numbers = database.call("EVAL", script, "0", value)
    return [int(number) for number in numbers], packed


@given(st.booleans(), st.integers(0, 2**32 - 1), moments, moments.filter(bool))
@hundreds
def test_meta(shared_database: Database, disabled: bool, revision: int, created_at_ms: int, as_of_ms: int) -> None:
    value = Meta(disabled, revision, created_at_ms, as_of_ms).pack()
    assert read_in_lua(shared_database, "META", value[:11]) == ([disabled, revision, created_at_ms], value[:11])
    assert read_in_lua(shared_database, "MOMENT", value[11:]) == ([as_of_ms], value[11:])
    assert Meta.unpack(value[:11]) == Meta(disabled, revision, created_at_ms)


@given(recent_moments.flatmap(entitlements), st.none() | st.tuples(amounts, moments))
@hundreds
def test_an_entitlement_and_its_count(
    shared_database: Database, entitlement: Entitlement, counted: tuple[int, int] | None
) -> None:
    value = user_values.pack_entitlement(entitlement)
    flags = (
        entitlement.consumable
        + 2 * entitlement.active
        + 4 * entitlement.overage_enabled
        + 8 * entitlement.granted
        + 16 * (entitlement.limit is None)
        + 32 * (entitlement.period.end_ms is not None)
        + 64 * (entitlement.valid_until_ms is not None)
        + 128 * entitlement.predictable
    )
    numbers = [flags, entitlement.reset_period, entitlement.limit or 0, entitlement.period.start_ms]
    assert read_in_lua(shared_database, "ENTITLEMENT", value[:15]) == (numbers, value[:15])
    for at, moment in enumerate(m for m in (entitlement.period.end_ms, entitlement.valid_until_ms) if m is not None):
        part = value[15 + 6 * at : 21 + 6 * at]
        assert read_in_lua(shared_database, "MOMENT", part) == ([moment], part)

    count = b"" if counted is None else pack_counter(*counted)
    split = f"{LAYOUT}\nreturn {{ split_feature(ARGV[1]) }}"
    assert shared_database.call("EVAL", split, "0", value + count) == [value, count]
    if counted is not None:
        assert read_in_lua(shared_database, "COUNTER", count) == (list(counted), count)
        assert user_values.unpack_feature(value + count)[1] == Counter(*counted)


@given(st.lists(recent_moments.flatmap(balances), max_size=4))
@hundreds
def test_grants(shared_database: Database, grants: list[GrantBalance]) -> None:
    value = pack_grants(grants)
    again = f"{LAYOUT}\nreturn pack_grants(read_grants(ARGV[1]))"
    assert shared_database.call("EVAL", again, "0", value) == value
    for at, grant in enumerate(grants):
        part = value[32 * at : 32 * at + 32]
        numbers = [-1 if number is None else number for number in grant]
        assert read_in_lua(shared_database, "GRANT", part) == (numbers, part)


@given(epochs, moments, amounts)
@hundreds
def test_reservations(shared_database: Database, epoch: int, start_ms: int, units: int) -> None:
    value = epoch.to_bytes(4, "little") + start_ms.to_bytes(6, "little") + units.to_bytes(7, "little")
    assert read_in_lua(shared_database, "RESERVATION", value) == ([epoch, start_ms, units], value)
    assert user_values.unpack_reservation(value) == Reservation(epoch, start_ms, units)


@given(moments)
@hundreds
def test_when_leases_are_due(shared_database: Database, moment_ms: int) -> None:
    value = moment_ms.to_bytes(6, "little")
    assert read_in_lua(shared_database, "MOMENT", value) == ([moment_ms], value)
    assert user_values.unpack_moment(value) == moment_ms


def test_the_largest_numbers_are_exact(shared_database: Database) -> None:
    latest = 2**48 - 1
    for pattern, numbers, sizes in (
        ("META", [255, 2**32 - 1, latest], (1, 4, 6)),
        ("ENTITLEMENT", [127, 6, MAX_AMOUNT, latest], (1, 1, 7, 6)),
        ("COUNTER", [MAX_AMOUNT, latest], (7, 6)),
        ("MOMENT", [latest], (6,)),
        ("RESERVATION", [2**32 - 1, latest, MAX_AMOUNT], (4, 6, 7)),
        ("LEASE", [255, 2**32 - 1, MAX_AMOUNT, latest], (1, 4, 7, 6)),
    ):
        value = b"".join(number.to_bytes(size, "little") for number, size in zip(numbers, sizes, strict=True))
        assert read_in_lua(shared_database, pattern, value) == (numbers, value)


def test_both_know_the_same_reset_periods() -> None:
    decision = (FOLDER / "decision.lua").read_text()
    assert f"local LAST_RESET_PERIOD = {user_values.LAST_RESET_PERIOD}\n" in decision
