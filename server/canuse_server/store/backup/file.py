"""The file of a backup: written as a whole or not at all, and checked as a whole before anything of it is used."""

import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from google.protobuf.message import DecodeError

from canuse_server.store.codec.backup_pb2 import BackupChunk, BackupEnd, BackupHeader, BackupKey, BackupKeys

MAGIC: Final = b"canuse backup\n"
FORMAT: Final = 1
CHUNK_BYTES: Final = 1 << 20
"""Size from which keys are written as a chunk."""
COMPRESSION_LEVEL: Final = 1
"""Higher levels take several times as long, and save a tenth of the space."""
_CHUNK_HEAD: Final = struct.Struct("<II")


class BackupFileError(Exception):
    """The file is not a complete, undamaged backup that this version can read, or it cannot be written."""


class BackupWriter:
    """Writes a backup beside its final place, to which `finish` moves it. Without `finish`, `discard` removes it.

    Only the owner can read it: it contains the digests of API keys, and the keys that sign user tokens.
    """

    def __init__(self, path: Path, header: BackupHeader) -> None:
        """Raise OSError if the file cannot be created."""
        if path.exists() and not path.is_file():
            raise BackupFileError(f"{path} is not a file")
        self._path = path
        # Readable for the owner only.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        self._part = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._sha256 = hashlib.sha256()
        self._keys = BackupKeys()
        self._pending_bytes = 0
        self.bytes_written = 0
        self._write(MAGIC)
        self._write_chunk(BackupChunk(header=header))

    def add(self, key: BackupKey) -> None:
        """Add a key or a part of one. Raises OSError."""
        self._keys.keys.append(key)
        self._pending_bytes += key.ByteSize()
        if self._pending_bytes >= CHUNK_BYTES:
            self._flush()

    def finish(self, users: int, events: int) -> None:
        """Write the end, and move the file to its place once it is on disk. Raises OSError."""
        self._flush()
        self._write_chunk(BackupChunk(end=BackupEnd(sha256=self._sha256.digest(), users=users, events=events)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
        # So that the name is on disk as well.
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Remove what was written, unless it is finished."""
        with suppress(OSError):
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._keys.keys:
            self._write_chunk(BackupChunk(keys=self._keys))
            self._keys, self._pending_bytes = BackupKeys(), 0

    def _write_chunk(self, chunk: BackupChunk) -> None:
        packed = zlib.compress(chunk.SerializeToString(), COMPRESSION_LEVEL)
        self._write(_CHUNK_HEAD.pack(len(packed), zlib.crc32(packed)) + packed)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.bytes_written += len(data)


class Checked(NamedTuple):
    """The header and the end of a backup that is complete and undamaged."""

    header: BackupHeader
    end: BackupEnd


def check(path: Path) -> Checked:
    """Read a backup from its beginning to its end.

    Raises:
        BackupFileError: it is no backup, or it is damaged, incomplete, or of a newer format.
        OSError: it cannot be read.
    """
    header: BackupHeader | None = None
    with path.open("rb") as file:
        for chunk in _chunks(file, path):
            if chunk.HasField("header"):
                header = chunk.header
            elif chunk.HasField("end"):
                assert header is not None
                return Checked(header, chunk.end)
    raise BackupFileError(f"{path} is incomplete: its end is missing")


class Part(NamedTuple):
    """Some keys of a backup, and how much of the file has been read with them, from 0 to 1."""

    keys: Sequence[BackupKey]
    share: float


def read_keys(path: Path) -> Iterator[Part]:
    """Yield the keys of a backup, a chunk at a time. Raises BackupFileError and OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for chunk in _chunks(file, path):
            if chunk.HasField("keys"):
                yield Part(chunk.keys.keys, file.tell() / size)


def _chunks(file: BinaryIO, path: Path) -> Iterator[BackupChunk]:
    """Yield all chunks of a file, the header first and the end last; BackupFileError if there is another one."""
    sha256 = hashlib.sha256()
    start = file.read(len(MAGIC))
    if start != MAGIC:
        raise BackupFileError(f"{path} is not a backup made by canuse")
    sha256.update(start)
    expected = "header"
    while True:
        position = file.tell()
        data, chunk = _read_chunk(file, path)
        kind = chunk.WhichOneof("content")
        if kind == "end" and expected != "header":
            if chunk.end.sha256 != sha256.digest():
                raise BackupFileError(f"{path} is damaged: the checksum of the whole file is another one")
            if file.read(1):
                raise BackupFileError(f"{path} is damaged: something follows its end")
            yield chunk
            return
        if kind != expected:
            raise BackupFileError(f"{path} is damaged: the chunk at byte {position} should be another one")
        if kind == "header" and chunk.header.format > FORMAT:
            raise BackupFileError(
                f"{path} was made by canuse {chunk.header.canuse_version} in format {chunk.header.format}; this "
                f"version reads formats up to {FORMAT}: restore it with that version or a later one"
            )
        expected = "keys"
        sha256.update(data)
        yield chunk


def _read_chunk(file: BinaryIO, path: Path) -> tuple[bytes, BackupChunk]:
    """Return the bytes of the next chunk, and the chunk."""
    position = file.tell()
    head = file.read(_CHUNK_HEAD.size)
    length, checksum = _CHUNK_HEAD.unpack(head) if len(head) == _CHUNK_HEAD.size else (0, 0)
    size = os.fstat(file.fileno()).st_size
    if len(head) < _CHUNK_HEAD.size or position + len(head) + length > size:
        raise BackupFileError(f"{path} is incomplete or damaged: it ends within the chunk at byte {position}")
    packed = file.read(length)
    if zlib.crc32(packed) != checksum:
        raise BackupFileError(f"{path} is damaged: the chunk at byte {position} has another checksum")
    try:
        return head + packed, BackupChunk.FromString(zlib.decompress(packed))
    except (zlib.error, DecodeError) as error:
        raise BackupFileError(f"{path} is damaged: the chunk at byte {position} cannot be read: {error}") from error
