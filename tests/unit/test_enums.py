"""Enums and constants have the same values in the API, in Python and in Lua."""

import re
from enum import IntEnum
from importlib.resources import files
from struct import Struct
from typing import Any

import pytest

from canuse import v1
from canuse_server.domain import model
from canuse_server.domain.catalog_changes import CatalogAction
from canuse_server.domain.periods import CALENDAR_MONTHS, FIXED_LENGTH_MS
from canuse_server.store.codec import past_periods as past_periods_codec
from canuse_server.store.codec import user_values
from canuse_server.store.repositories import usage_commands
from canuse_server.store.scripts.loader import ALL, APPLY_USER, RECORD_USAGE, Script

COUNTERPARTS: list[tuple[type[IntEnum], Any]] = [
    (model.FeatureType, v1.FeatureType),
    (model.OnUnavailable, v1.OnUnavailable),
    (model.ResetPeriod, v1.ResetPeriod),
    (model.PackageType, v1.PackageType),
    (model.PackageStatus, v1.PackageStatus),
    (model.SubscriptionStatus, v1.SubscriptionStatus),
    (model.Reason, v1.Reason),
    (CatalogAction, v1.CatalogAction),
]


@pytest.mark.parametrize(("ours", "theirs"), COUNTERPARTS, ids=lambda kind: getattr(kind, "__name__", ""))
def test_an_enum_of_the_domain_has_the_names_and_numbers_of_the_api(ours: type[IntEnum], theirs: Any) -> None:
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", ours.__name__).upper()
    expected = {f"{prefix}_{member.name}": member.value for member in ours}
    assert {f"{prefix}_UNSPECIFIED": 0, **expected} == dict(theirs.items())


def test_every_enum_of_the_domain_is_compared() -> None:
    enums = {value for value in vars(model).values() if isinstance(value, type) and issubclass(value, IntEnum)}
    assert enums - {IntEnum} == {ours for ours, _ in COUNTERPARTS} - {CatalogAction}


def number(name: str, script: Script = RECORD_USAGE) -> str:
    """Return the literal value of a constant in a script."""
    return script.constants[name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("UNLIMITED", model.Reason.UNLIMITED),
        ("WITHIN_BUDGET", model.Reason.WITHIN_BUDGET),
        ("WITH_OVERAGE", model.Reason.OVERAGE),
        ("NOT_ENTITLED", model.Reason.NOT_ENTITLED),
        ("BUDGET_EXCEEDED", model.Reason.BUDGET_EXCEEDED),
        ("INACTIVE", model.Reason.SUBSCRIPTION_INACTIVE),
        ("ARCHIVED", model.Reason.FEATURE_ARCHIVED),
        ("USER_DISABLED", model.Reason.USER_DISABLED),
    ],
)
def test_the_script_s_reasons_are_the_domain_s(name: str, reason: model.Reason) -> None:
    assert number(name) == str(int(reason))


def test_the_script_s_periods_of_fixed_length_are_the_domain_s() -> None:
    names = [period.name for period in FIXED_LENGTH_MS]
    assert {int(number(name)): int(number(f"{name}_MS")) for name in names} == dict(FIXED_LENGTH_MS)
    # A period that the script considers longer does not roll over by itself.
    assert max(FIXED_LENGTH_MS) == int(number("WEEK")) == min(CALENDAR_MONTHS) - 1


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("DISABLED", user_values.DISABLED),
        ("CONSUMABLE", user_values.CONSUMABLE),
        ("ACTIVE", user_values.ACTIVE),
        ("OVERAGE", user_values.OVERAGE),
        ("GRANTED", user_values._GRANTED),
        ("NO_LIMIT", user_values._NO_LIMIT),
        ("ENDS", user_values._ENDS),
        ("RUNS_OUT", user_values._RUNS_OUT),
        ("NONE", user_values._NONE),
        ("MAX_AMOUNT", model.MAX_AMOUNT),
        ("ENTITLEMENT_BYTES", user_values._ENTITLEMENT.size),
        ("MOMENT_BYTES", user_values._MOMENT.size),
        ("GRANT_BYTES", user_values._GRANT.size),
        ("PAST_HEAD_BYTES", past_periods_codec._HEAD.size),
        ("OLD_PAST_PERIOD_BYTES", past_periods_codec._OLD_PAST_PERIOD.size),
        ("RETENTION_BYTES", user_values._RETENTION.size),
    ],
)
def test_the_scripts_flags_and_bounds_are_those_of_the_layout(name: str, flag: int) -> None:
    assert number(name) == str(flag)
    assert number(name, APPLY_USER) == str(flag)


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("META", user_values._META),
        ("ENTITLEMENT", user_values._ENTITLEMENT),
        ("MOMENT", user_values._MOMENT),
        ("COUNTER", user_values._COUNTER),
        ("GRANT", user_values._GRANT),
        ("PAST_HEAD", past_periods_codec._HEAD),
        ("PAST_PERIOD", past_periods_codec._PAST_PERIOD),
        ("OLD_PAST_PERIOD", past_periods_codec._OLD_PAST_PERIOD),
        ("RETENTION", user_values._RETENTION),
        ("KEPT", user_values._KEPT),
        ("KEPT_RESERVED", user_values._KEPT_RESERVED),
        ("KEPT_WIDE", user_values._KEPT_WIDE),
    ],
)
def test_the_scripts_pack_in_as_many_bytes_as_the_layout(name: str, struct: Struct) -> None:
    """Python has no numbers of 48 or 56 bits; tests/store/test_layout_in_lua.py compares the bytes."""
    assert lua_size(number(name).strip("'")) == struct.size


@pytest.mark.parametrize(
    ("name", "struct"), [("GRANT", user_values._GRANT), ("OLD_PAST_PERIOD", past_periods_codec._OLD_PAST_PERIOD)]
)
def test_the_scripts_pack_what_the_layout_packs(name: str, struct: Struct) -> None:
    # Lua's `i8` is Python's `q`, and its `I4` is `I`.
    assert number(name) == "'" + struct.format.replace("q", "i8").replace("I", "I4") + "'"


def lua_size(pattern: str) -> int:
    """Return how many bytes Lua's struct.pack makes with a pattern."""
    assert re.fullmatch(r"<(B|[iI]\d)+", pattern), pattern
    return sum(1 if part == "B" else int(part[1]) for part in re.findall(r"B|[iI]\d", pattern))


def text_of(script: Script) -> str:
    """Return a script as it was written, with its comments."""
    return (files("canuse_server.store") / "scripts" / f"{script.name}.lua").read_text(encoding="utf-8")


def test_the_script_s_outcome_is_what_the_layout_reads() -> None:
    single = re.search(r"return 'K'\s+\.\. struct.pack\(\s*'([^']+)',refused", RECORD_USAGE.source)
    outcome = re.search(r"struct.pack\('([^']+)',refused,now\)", RECORD_USAGE.source)
    charge = re.search(r"struct.pack\('([^']+)',reason,#packed", RECORD_USAGE.source)
    assert single
    assert outcome
    assert charge
    assert single[1] == user_values._SINGLE.format.replace("q", "i8")
    assert outcome[1] == user_values._OUTCOME.format.replace("q", "i8")
    assert charge[1] == user_values._CHARGE.format.replace("q", "i8")


def test_the_modes_are_those_that_the_script_knows() -> None:
    described = re.search(r"1 mode: (.*)", text_of(RECORD_USAGE))
    assert described
    assert re.findall(r"'(\w)'", described[1]) == [usage_commands.ADD, usage_commands.SET, usage_commands.USE]


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_a_script_says_what_it_does_and_takes_and_returns(script: Script) -> None:
    header = text_of(script).partition("\nassert(")[0]
    assert header.startswith("-- ")
    assert re.search(r"^-- KEYS  1 ", header, re.MULTILINE)
    assert re.search(r"^-- ARGV  1 ", header, re.MULTILINE)
    assert re.search(r"^-- Returns ", header, re.MULTILINE)
    assert "include:" not in script.source
