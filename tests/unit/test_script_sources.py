"""The scripts as they are sent to the store."""

import re

import pytest

from canuse_server.store.scripts.loader import ALL, MAX_BYTES, Script, _insert, _without_constants, load


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_a_script_is_loaded_and_run_before_another_client_has_its_turn(script: Script) -> None:
    """Of a script of 39 KB the store forgot each load again, where a client flushed all scripts in a loop."""
    assert len(script.source.encode()) < MAX_BYTES


def test_comments_and_spaces_are_left_out_but_not_within_texts() -> None:
    source = load("record_usage").source
    assert not re.search(r"^\s|--|\n\n", source, re.MULTILINE)
    assert "record_usage takes 3 keys, 4 with an event id, 1 of a chain" in source


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_constants_are_inserted_and_defined_no_more(script: Script) -> None:
    code = re.sub(r"'[^']*'", "", script.source)
    assert not set(re.findall(r"\b[A-Z]\w*\b", code)) & set(script.constants)


def test_a_constant_is_replaced_outside_texts_only() -> None:
    lines, constants = _without_constants(["local A_1,B=2,'x'", "local C = -1", "local D = f()"])
    assert (lines, constants) == (["local D = f()"], {"A_1": "2", "B": "'x'", "C": "-1"})
    assert _insert(constants, "return A_1+B+C+D+A_12+'A_1 B'") == "return 2+'x'+(-1)+D+A_12+'A_1 B'"


def test_a_constant_has_one_value() -> None:
    with pytest.raises(ValueError, match="A is 1 and 2"):
        _without_constants(["local A=1", "local A=1", "local A=2"])
