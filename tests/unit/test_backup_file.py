"""The file of a backup is complete and undamaged, or it is refused as a whole."""

import zlib
from pathlib import Path
from stat import S_IMODE

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.store.backup import file
from canuse_server.store.backup.file import FORMAT, BackupFileError, BackupWriter
from canuse_server.store.backup.restoring import RestoreRefusedError, check_backup
from canuse_server.store.codec.backup_pb2 import BackupChunk, BackupEnd, BackupHeader, BackupItems, BackupKey
from canuse_server.store.preflight.schema import VERSION

KEYS = [
    BackupKey(key=b"canuse:live:{b0001}:u:%d" % number, hash_fields=BackupItems(items=[b"m", b"\x00" * 11]))
    for number in range(100)
]


def header(schema: str = VERSION, number: int = FORMAT) -> BackupHeader:
    """Return the header of a backup."""
    return BackupHeader(format=number, schema=schema, canuse_version="9.9", created_at_ms=1)


def written(path: Path, head: BackupHeader | None = None) -> Path:
    """Write a backup of 100 users in three chunks of keys."""
    writer = BackupWriter(path, head or header())
    for number, key in enumerate(KEYS):
        writer.add(key)
        if number in (30, 60):
            writer._flush()
    writer.finish(users=100, events=7)
    return path


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup."""
    return written(tmp_path_factory.mktemp("backup") / "b")


def test_what_was_written_is_read(backup: Path) -> None:
    checked = check_backup(backup)
    assert (checked.header, checked.end.users, checked.end.events) == (header(), 100, 7)
    parts = list(file.read_keys(backup))
    assert [key for part in parts for key in part.keys] == KEYS
    assert [len(part.keys) for part in parts] == [31, 30, 39]
    assert 0 < parts[0].share < parts[1].share < parts[2].share < 1


@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_is_found(backup: Path, place: float, bits: int) -> None:
    data = bytearray(backup.read_bytes())
    data[int(place * len(data))] ^= bits
    damaged = backup.with_name("damaged")
    damaged.write_bytes(data)
    with pytest.raises(BackupFileError, match=r"is damaged|is incomplete|is not a backup"):
        check_backup(damaged)


@given(place=st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_a_file_that_ends_too_early_is_found(backup: Path, place: float) -> None:
    data = backup.read_bytes()
    short = backup.with_name("short")
    short.write_bytes(data[: int(place * len(data))])
    with pytest.raises(BackupFileError, match=r"is incomplete|is not a backup"):
        check_backup(short)


def chunks(data: bytes) -> list[bytes]:
    """Split a backup into its first line and its chunks."""
    parts, at = [data[: len(file.MAGIC)]], len(file.MAGIC)
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "little")
        parts.append(data[at:end])
        at = end
    return parts


def test_a_chunk_that_is_missing_or_in_another_place_is_found(backup: Path) -> None:
    """Each of them has the right checksum."""
    magic, head, *keys, end = chunks(backup.read_bytes())
    assert b"".join([magic, head, *keys, end]) == backup.read_bytes()
    changed = backup.with_name("changed")
    for order in (
        [magic, head, *keys[1:], end],
        [magic, head, *keys[::-1], end],
        [magic, head, *keys, *keys[-1:], end],
        [magic, *keys, end],
        [magic, head, head, *keys, end],
        [magic, end],
        [magic, head, *keys],
        [magic, head, *keys, end, end],
        [magic, head, *keys, end, b"\n"],
    ):
        changed.write_bytes(b"".join(order))
        with pytest.raises(BackupFileError, match=r"is damaged|is incomplete"):
            check_backup(changed)


def test_a_backup_of_a_newer_format_or_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupFileError, match=r"made by canuse 9\.9 in format 2; this version reads formats up to 1"):
        check_backup(written(tmp_path / "b", header(number=FORMAT + 1)))
    with pytest.raises(RestoreRefusedError, match=r"made by canuse 9\.9 and has data of schema '99'"):
        check_backup(written(tmp_path / "b", header(schema="99")))
    with pytest.raises(RestoreRefusedError, match="'restoring'"):
        check_backup(written(tmp_path / "b", header(schema="restoring")))


def test_a_chunk_of_a_kind_that_is_not_known_is_refused(backup: Path) -> None:
    magic, head, *_ = chunks(backup.read_bytes())
    packed = zlib.compress(b"\x22\x00")  # Field 4.
    strange = len(packed).to_bytes(4, "little") + zlib.crc32(packed).to_bytes(4, "little") + packed
    changed = backup.with_name("strange")
    changed.write_bytes(magic + head + strange)
    with pytest.raises(BackupFileError, match="should be another one"):
        check_backup(changed)
    assert BackupChunk(end=BackupEnd()).WhichOneof("content") == "end"


def test_the_file_appears_when_it_is_complete_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_text("yesterday's")
    writer = BackupWriter(path, header())
    writer.add(KEYS[0])
    assert path.read_text() == "yesterday's"
    writer.discard()
    assert [each.name for each in tmp_path.iterdir()] == ["b"]
    assert path.read_text() == "yesterday's"
    written(path)
    assert [each.name for each in tmp_path.iterdir()] == ["b"]
    assert S_IMODE(path.stat().st_mode) == 0o600


def test_a_device_or_a_folder_is_not_replaced(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(BackupFileError, match=r"is not a file"):
            BackupWriter(path, header())
