"""The scripts as they are sent to the store."""

import re

import pytest

from canuse_server.store.scripts.loader import ALL, MAX_BYTES, Script, load


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_a_script_is_loaded_and_run_before_another_client_has_its_turn(script: Script) -> None:
    """Of a script of 39 KB the store forgot each load again, where a client flushed all scripts in a loop."""
    assert len(script.source.encode()) < MAX_BYTES


def test_comments_and_spaces_are_left_out_but_not_within_texts() -> None:
    source = load("record_usage").source
    assert not re.search(r"^\s|--|\n\n", source, re.MULTILINE)
    assert "record_usage takes 3 keys, 4 with an event id, 1 of a chain" in source
