import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canuse_server.transport.http import json_in_steps
from canuse_server.transport.http.json_in_steps import COMPACT, LARGE

SPACE = " " * LARGE
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
OBJECT = {f"{number:x}": [number, "a"] for number in range(40_000)}


def refuse(text: str) -> None:
    raise ValueError(text)


@given(VALUES)
def test_large_and_small_texts_are_read_and_written_alike(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert json_in_steps.loads(text, dict, refuse) == json_in_steps.loads(SPACE + text, dict, refuse) == value
    for separators in (None, COMPACT):
        small = json_in_steps.dumps(value, large=False, separators=separators)
        assert json_in_steps.dumps(value, large=True, separators=separators) == small


@pytest.mark.parametrize("text", ["]", "{]", "[1,]", '{"a" 1}', '"\n"', "[1] 2", "NaN", '{"a": 1,}', "tru"])
def test_what_is_no_json_is_refused_at_the_same_place(text: str) -> None:
    errors = []
    for sent in (text, text + SPACE):
        with pytest.raises(ValueError, match=r".") as error:
            json_in_steps.loads(sent, dict, refuse)
        errors.append(str(error.value))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("levels", [100_000, 5_000])
def test_too_many_levels_are_a_recursion_error(levels: int) -> None:
    with pytest.raises(RecursionError):
        json_in_steps.loads(SPACE + "[" * levels + "]" * levels, dict, refuse)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\udfff": 1}, [[["\udc00"]]]])
def test_what_cannot_be_written_is_not_plain(value: Any) -> None:
    json_in_steps.check_plain(OBJECT)
    with pytest.raises(ValueError, match=r"."):
        json_in_steps.check_plain(value)


@pytest.fixture
def short_turns() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize(
    "work",
    [
        lambda: json_in_steps.loads(json.dumps(OBJECT), dict, refuse),
        lambda: json_in_steps.dumps(OBJECT, large=True),
        lambda: json_in_steps.check_plain(OBJECT),
    ],
    ids=["loads", "dumps", "check_plain"],
)
def test_other_threads_run_meanwhile(work: Callable[[], object]) -> None:
    """While the C functions work, this thread gets no turn."""
    working = threading.Thread(target=work)
    turns = 0
    working.start()
    while working.is_alive():
        working.join(0.0001)
        turns += 1
    assert turns > 20
