"""The ledger's entries as bytes: what a store holds stays readable, whatever the message is called."""

import re
from importlib.resources import files

from canuse import v1
from canuse_server.api.hotpath.wire import FIXED64, VARINT
from canuse_server.store.codec.ledger_pb2 import LedgerEntry

STORED = bytes.fromhex(
    "0a03313234120563616c6c7318fbffffffffffffffff0120012a076f726465722d31320b0a0577686572651202c3a9"
    "39fdffffffffffffff410700000000000000480351ffffffffffffffff"
)
"""An entry as it was written while the message was `canuse.v1.LedgerEntry`."""


def test_an_entry_that_was_stored_before_is_read_and_written_as_the_same_bytes() -> None:
    entry = LedgerEntry(
        user_id="124",
        feature_id="calls",
        delta=-5,
        action=v1.USAGE_ACTION_ADD,
        event_id="order-1",
        metadata={"where": "é"},
        applied_delta=-3,
        used=7,
        reason=v1.REASON_UNLIMITED,
        budget=-1,
    )
    assert LedgerEntry.FromString(STORED) == entry
    assert entry.SerializeToString(deterministic=True) == STORED


def test_the_format_of_the_store_is_no_part_of_the_api() -> None:
    assert LedgerEntry.DESCRIPTOR.full_name == "canuse.storage.v1.LedgerEntry"
    assert "LedgerEntry" not in v1.__all__


def test_the_script_writes_the_tags_of_the_fields_that_it_fills_in() -> None:
    source = (files("canuse_server.store") / "scripts/lib/ledger.lua").read_text()
    [arguments] = re.findall(r"entry \.\. struct\.pack\('<Bi8Bi8BBBi8', ([^)]*)\)", source)
    words = arguments.split(", ")
    assert list(zip(words[1::2], words[::2], strict=True)) == [
        ("applied", str(LedgerEntry.APPLIED_DELTA_FIELD_NUMBER << 3 | FIXED64)),
        ("used", str(LedgerEntry.USED_FIELD_NUMBER << 3 | FIXED64)),
        ("reason", str(LedgerEntry.REASON_FIELD_NUMBER << 3 | VARINT)),
        ("budget", str(LedgerEntry.BUDGET_FIELD_NUMBER << 3 | FIXED64)),
    ]
