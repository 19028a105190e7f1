"""The output of the command line: JSON with numbers, and tables that no content can break."""

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import Consumption, v1
from canuse_server.cli import output as out

LARGEST = 2**53 - 1
CONSUMPTION = v1.Consumption(
    used=3, budget=LARGEST, remaining=LARGEST - 3, resets_at=Timestamp(seconds=1_738_324_800, nanos=250_000_000)
)


def test_amounts_are_json_numbers_wherever_they_stand() -> None:
    past = v1.PastPeriod(used=LARGEST, budget=5, drawn_from_grants=LARGEST, overage=LARGEST)
    values = out.as_json(v1.ShowUsageResponse(current=CONSUMPTION, past=[past]))
    assert values["current"]["budget"] == LARGEST
    assert values["current"]["used"] == 3
    assert values["past"] == [
        {"used": LARGEST, "budget": 5, "drawn_from_grants": LARGEST, "overage": LARGEST, "summed": False}
    ]


def test_no_and_zero_are_printed_and_unlimited_is_left_out() -> None:
    values = out.as_json(v1.CanUseResponse(consumption=v1.Consumption()))
    assert values["access"] is False
    assert values["reason"] == "REASON_UNSPECIFIED"
    assert list(values) == ["access", "reason", "consumption", "source"]
    assert values["consumption"]["used"] == 0
    assert "budget" not in values["consumption"]


def test_json_has_the_field_names_of_the_api_and_metadata_as_it_is() -> None:
    user = v1.User(id="u", billing_id="b", metadata={"used": "12"}, created_at=Timestamp(seconds=1_738_324_800))
    values = out.as_json(user)
    assert values["billing_id"] == "b"
    assert values["metadata"] == {"used": "12"}
    assert values["created_at"] == "2025-01-31T12:00:00Z"


def test_a_table_keeps_long_ids_whole_and_takes_nothing_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[bold]:smile:[/bold]" + "x" * 128
    out.print_table(("user", "used"), [(name, "1")], empty="no users yet")
    assert capsys.readouterr().out.splitlines()[-1].split() == [name, "1"]


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    out.print_table(("user",), [], empty="no users yet")
    assert capsys.readouterr().out == "no users yet\n"


def test_what_could_steer_the_terminal_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    out.print_table(("user",), [("a\x1b[2Jb\nc",)], empty="")
    out.print_fields({"name": "a\x1b]0;title\x07é", "email": ""})
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert r"a\x1b[2Jb\nc" in printed
    assert printed.splitlines()[-1] == r"name   a\x1b]0;title\x07é"


def test_counts_read_as_a_sentence() -> None:
    assert out.consumption_words(Consumption.from_message(CONSUMPTION)) == (
        f"3 of {LARGEST} used, {LARGEST - 3} remaining, resets at 2025-01-31T12:00:00.250Z"
    )
    assert out.consumption_words(Consumption.from_message(v1.Consumption(used=3))) == "3 used, unlimited, never resets"
    assert out.consumption_cells(Consumption.from_message(v1.Consumption(used=3))) == [
        "3",
        "0",
        "unlimited",
        "unlimited",
        "never",
    ]
    assert out.consumption_cells(None) == ["", "", "", "", ""]


def test_a_value_of_a_newer_server_is_shown_as_its_number() -> None:
    assert out.reason(v1.REASON_BUDGET_EXCEEDED) == "BUDGET_EXCEEDED"
    assert out.reason(999) == "999"
    json.dumps(out.as_json(v1.CanUseResponse(reason=999)))  # type: ignore[arg-type]


def test_metadata_is_in_the_order_of_its_keys() -> None:
    keys = [f"key-{number:02}" for number in range(16)]
    event = v1.UsageEvent(metadata=dict.fromkeys(reversed(keys), "v"))
    assert list(out.as_json(event)["metadata"]) == keys
