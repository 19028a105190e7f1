"""Validation: each violation names the field, the value and what is accepted, and all are reported at once."""

from datetime import UTC, datetime

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.validation import (
    Violations,
    id_problem,
    is_plain_id,
    masked,
    page_size,
    require_id,
)
from canuse_server.domain.model import MAX_AMOUNT
from support.strategies import ms

strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=160)
thousand = settings(max_examples=400, deadline=None)
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]


def is_good_id(value: str) -> bool:
    """Return whether an id is valid as the API defines it: 1 to 128 bytes of UTF-8 without control characters."""
    return 1 <= len(value.encode()) <= 128 and not any(character in CONTROLS for character in value)


def refused(violations: Violations) -> ApiError:
    """Return the error made of violations."""
    with pytest.raises(ApiError) as raised:
        violations.check()
    return raised.value


@given(strings | st.text(st.characters(max_codepoint=0xA5), max_size=6))
@example("x" * 128)
@example("x" * 129)
@example("é" * 64)
@example("é" * 65)
@example("")
@thousand
def test_an_id_is_1_to_128_bytes_without_control_characters(value: str) -> None:
    assert (id_problem(value) is None) == is_good_id(value)


@given(strings | st.text(st.characters(max_codepoint=0xA5), max_size=6))
@example("x" * 128)
@example("x" * 129)
@example("x" * 128 + "\n")
@thousand
def test_what_the_quick_look_takes_for_an_id_is_one(value: str) -> None:
    if is_plain_id(value):
        assert is_good_id(value)


def test_the_quick_look_is_enough_for_usual_ids() -> None:
    for value in ("124", "user-1", "a@b.example", "org:7/user:9", "{x}", "x" * 128):
        assert is_plain_id(value)


@pytest.mark.parametrize("character", CONTROLS)
def test_no_control_character_is_taken(character: str) -> None:
    for value in (character, f"a{character}b", f"é{character}"):
        assert not is_plain_id(value)
        assert id_problem(value)
        violations = Violations()
        violations.text("name", value)
        violations.event_id("event_id", value)
        assert [field for field, _ in violations.found] == ["name", "event_id"]


@pytest.mark.parametrize("value", ["日本", "🦊", "a b", "a:b", "\u200b", "\u2028", "ß", "\u00a0"])
def test_any_other_character_is_taken(value: str) -> None:
    assert require_id("user_id", value) == value


@pytest.mark.parametrize(
    ("value", "sent"),
    [("", "nothing was sent"), ("x" * 129, "(129 bytes) was sent"), ("a\tb", r"'a\tb' (3 bytes) was sent")],
)
def test_the_error_for_an_id_says_what_was_sent_and_what_is_accepted(value: str, sent: str) -> None:
    with pytest.raises(ApiError) as raised:
        require_id("user_id", value)
    assert raised.value.reason == ErrorReason.INVALID_FIELD
    assert raised.value.message.startswith("user_id: must be 1 to 128 bytes of UTF-8 without control characters; ")
    assert raised.value.message.endswith(sent)


def test_a_long_value_is_not_repeated_in_full() -> None:
    assert len(id_problem("x" * 100_000) or "") < 200


def test_an_event_id_is_optional_and_at_most_128_bytes() -> None:
    violations = Violations()
    for good in ("", "x", "x" * 128, "é" * 64):
        violations.event_id("event_id", good)
    assert violations.found == []
    violations.event_id("event_id", "é" * 65)
    assert [field for field, _ in violations.found] == ["event_id"]


def test_a_text_is_at_most_256_bytes() -> None:
    violations = Violations()
    for good in ("", "x" * 256, "é" * 128):
        violations.text("name", good)
    assert violations.found == []
    violations.text("name", "é" * 128 + "x")
    assert violations.found[0][0] == "name"
    assert "(257 bytes)" in violations.found[0][1]


def test_metadata_is_at_most_16_pairs_and_2_kib_in_all() -> None:
    violations = Violations()
    violations.metadata("metadata", {str(number): "" for number in range(16)})
    violations.metadata("metadata", {"k": "x" * 2047})
    violations.metadata("metadata", {"é": "é" * 1023})
    assert violations.found == []
    violations.metadata("pairs", {str(number): "" for number in range(17)})
    violations.metadata("size", {"k": "x" * 2048})
    violations.metadata("bytes", {"é": "é" * 1023 + "x"})
    assert [field for field, _ in violations.found] == ["pairs", "size", "bytes"]
    assert "17 pairs" in violations.found[0][1]
    assert "2049 bytes" in violations.found[1][1]


@pytest.mark.parametrize("minimum", [0, 1, -MAX_AMOUNT])
def test_an_amount_is_an_integer_that_lua_counts_exactly(minimum: int) -> None:
    violations = Violations()
    violations.amount("delta", minimum, minimum)
    violations.amount("delta", MAX_AMOUNT, minimum)
    assert violations.found == []
    for bad in (minimum - 1, MAX_AMOUNT + 1, 2**63 - 1, -(2**63)):
        violations.amount("delta", bad, minimum)
        assert f"{bad} was sent" in violations.found[-1][1]
    assert len(violations.found) == 4
    assert MAX_AMOUNT == 2**53 - 1


def test_a_time_is_from_1970_to_9000_and_its_finer_parts_are_cut_off() -> None:
    violations = Violations()
    latest_ms = ms(datetime(9000, 1, 1, tzinfo=UTC))
    assert violations.time_ms("time", Timestamp()) == 0
    assert violations.time_ms("time", Timestamp(seconds=5, nanos=999_999_999)) == 5999
    assert violations.time_ms("time", Timestamp(seconds=latest_ms // 1000)) == latest_ms
    assert violations.found == []


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(-1, 0), (-1, 999_999_999), (0, -1), (0, 1_000_000_000), (221_845_392_000, 1_000_000), (253_402_300_799, 0)],
)
def test_a_time_outside_of_1970_to_9000_or_no_time_at_all_is_refused(seconds: int, nanos: int) -> None:
    violations = Violations()
    assert violations.time_ms("time", Timestamp(seconds=seconds, nanos=nanos)) == 0
    assert f"{seconds} s and {nanos} ns was sent" in violations.found[0][1]


def test_everything_that_is_wrong_is_reported_at_once_as_text_and_as_data() -> None:
    violations = Violations()
    violations.id("user_id", "")
    violations.amount("delta", 0, 1)
    error = refused(violations)
    assert error.message == (
        "user_id: must be 1 to 128 bytes of UTF-8 without control characters; nothing was sent; "
        "delta: must be 1 to 2^53 - 1; 0 was sent"
    )
    ((key, value),) = error.trailing_metadata()
    assert key == "grpc-status-details-bin"
    status = Status.FromString(value)
    assert (status.code, status.message) == (3, error.message)
    info, bad = ErrorInfo(), BadRequest()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("canuse", "INVALID_FIELD")
    assert status.details[1].Unpack(bad)
    assert [violation.field for violation in bad.field_violations] == ["user_id", "delta"]


def test_nothing_wrong_is_no_error() -> None:
    Violations().check()


def test_a_page_has_50_items_unless_said_otherwise_and_at_most_1000() -> None:
    assert [page_size(size) for size in (0, 1, 50, 1000)] == [50, 1, 50, 1000]
    for bad in (-1, 1001, 2**31 - 1):
        with pytest.raises(ApiError, match=f"page_size: .* {bad} was sent"):
            page_size(bad)


def test_a_mask_says_what_to_change_and_without_one_what_is_set_is_changed() -> None:
    user = v1.User(id="u", name="n")
    changeable = ("name", "email", "disabled")
    assert masked(FieldMask(), user, changeable) == {"name"}
    assert masked(FieldMask(paths=["email", "disabled"]), user, changeable) == {"email", "disabled"}
    assert masked(FieldMask(paths=["email", "email"]), user, changeable) == {"email"}
    assert masked(FieldMask(paths=["*"]), user, changeable) == set(changeable)


@pytest.mark.parametrize("user", [v1.User(), v1.User(id="u"), v1.User(id="u", disabled=False, email="")])
def test_an_empty_update_is_refused_with_the_fields_that_a_mask_takes(user: v1.User) -> None:
    """It was answered with OK and changed nothing: protobuf omits `disabled: false`."""
    with pytest.raises(ApiError, match=r"update_mask: .* name, email, disabled, or \* for all") as raised:
        masked(FieldMask(), user, ("name", "email", "disabled"))
    assert [field for field, _ in raised.value.violations] == ["update_mask"]


@pytest.mark.parametrize("path", ["id", "created_at", "nothing", "name.first", "*"])
def test_a_mask_with_what_can_not_be_changed_is_refused_in_words(path: str) -> None:
    with pytest.raises(ApiError, match=r"update_mask: only name, email can be changed; .* was sent") as raised:
        masked(FieldMask(paths=["name", path]), v1.User(id="u"), ("name", "email"))
    assert path in raised.value.message
