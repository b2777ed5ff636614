"""One Parquet file of a table, and the keys of its rows, which travel in it unseen.

Between the last row group and the footer a Parquet file may hold bytes that no reader
looks at. There stands, for each row in its order: a hash of (source, id), the revision
and the seq. So a row is found again without being read, data and keys change in one
rename, and a table has no more columns than it should.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import arro3.core as arrow
import arro3.io as parquet
from msgspec import Struct

from fleetd.tables import Column, Row, Shape

MAGIC = b"fleetd1\n"
MARK = struct.Struct("<IqqQI8s")  # rows, first ms, last ms, bytes of keys, their CRC
END = struct.Struct("<I4s")  # of every Parquet file: the length of its footer
GROUP = 120_000  # rows in a row group
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
USUAL: Any = {
    "compression": "zstd(1)",
    "max_row_group_size": GROUP,
    "created_by": "fleetd",
}
INT = arrow.DataType.int64()
INDEX = arrow.DataType.uint32()
TYPES = {
    "text": arrow.DataType.string(),
    "json": arrow.DataType.string(),
    "number": arrow.DataType.float64(),
    "whole": INT,
    "yes": arrow.DataType.bool(),
    "time": arrow.DataType.timestamp("us", tz="UTC"),
}
KEYS = arrow.Schema(
    [arrow.Field(name, INT, nullable=False) for name in ("key", "revision", "seq")]
)


class DamagedError(Exception):
    """A file of ours that cannot be read."""


class Disk(Protocol):
    """The part of `os` that writes, so that a test can break it."""

    def open(self, path: Path, flags: int, mode: int = 0o777, /) -> int: ...
    def write(self, fd: int, data: memoryview, /) -> int: ...
    def fsync(self, fd: int, /) -> None: ...
    def rename(self, old: Path, new: Path, /) -> None: ...


class Keys:
    """The keys of a file's rows, in the order of the rows."""

    def __init__(self, batch: arrow.RecordBatch) -> None:
        self.batch = batch
        self.rows = batch.num_rows

    def column(self, name: str) -> memoryview:
        column: Any = self.batch.column(name)
        return memoryview(column.buffer()).cast("q")

    def among(self, wanted: set[int]) -> Iterator[tuple[int, int, tuple[int, int]]]:
        """Those wanted that are here: the key, its row, its (revision, seq)."""
        keys = self.column("key")
        found = wanted.intersection(keys)
        if not found:
            return
        revisions, seqs = self.column("revision"), self.column("seq")
        for at, key in enumerate(keys):
            if key in found:
                yield key, at, (revisions[at], seqs[at])


class Mark(Struct, frozen=True):
    """What the end of a file says of it."""

    rows: int
    first_ms: int
    last_ms: int
    size: int
    keys_at: int
    keys_size: int
    crc: int


def mark_of(path: Path) -> Mark | None:
    """What a file says of itself; None where it is whole and not one of ours."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        footer = _footer(file, size, path)
        start = size - END.size - footer - MARK.size
        if start < 0:
            return None
        file.seek(start)
        rows, first, last, length, crc, magic = MARK.unpack(file.read(MARK.size))
    if magic != MAGIC:
        return None
    return Mark(rows, first, last, size, start - length, length, crc)


def _footer(file: Any, size: int, path: Path) -> int:
    if size < END.size:
        raise DamagedError(f"{path} is cut off")
    file.seek(size - END.size)
    length, magic = END.unpack(file.read(END.size))
    if magic != b"PAR1" or length > size - END.size:
        raise DamagedError(f"{path} is no whole Parquet file")
    return int(length)


def keys_of(path: Path, mark: Mark) -> Keys:
    """The keys of the rows of a file."""
    with path.open("rb") as file:
        file.seek(mark.keys_at)
        packed = file.read(mark.keys_size)
    if len(packed) != mark.keys_size or zlib.crc32(packed) != mark.crc:
        raise DamagedError(f"{path}: the keys in it are damaged")
    keys = Keys(one_of(parquet.read_parquet(packed, batch_size=1 << 22)))
    if keys.rows != mark.rows:
        raise DamagedError(f"{path}: the keys in it are not those of its rows")
    return keys


def rows_of(path: Path, shape: Shape) -> arrow.RecordBatch:
    """The rows of a file, with the columns that the table has now."""
    body = path.read_bytes()
    try:
        return fitted(one_of(parquet.read_parquet(body, batch_size=1 << 22)), shape)
    except BaseException as bad:  # the library has one class for everything, or panics
        raise unreadable(path, bad) from bad


def unreadable(path: Path, bad: BaseException) -> BaseException:
    """What the library raised about a file of ours, as a word of ours."""
    if isinstance(bad, OSError | MemoryError | KeyboardInterrupt | SystemExit):
        return bad
    return DamagedError(f"{path} cannot be read: {bad}")


def one_of(reader: arrow.RecordBatchReader) -> arrow.RecordBatch:
    """All that a reader holds, as one batch."""
    table = reader.read_all().combine_chunks()
    batches = table.to_batches()
    if not batches:
        return arrow.RecordBatch.from_arrays(
            [table.column(name).combine_chunks() for name in table.column_names],
            schema=table.schema,
        )
    return batches[0]


def fitted(batch: arrow.RecordBatch, shape: Shape) -> arrow.RecordBatch:
    """Rows of an older table: columns that came later are null."""
    schema = schema_of(shape)
    if batch.schema == schema:
        return batch
    there = set(batch.column_names)
    arrays = [
        batch.column(one.name)
        if one.name in there
        else arrow.Array([None] * batch.num_rows, TYPES[one.type])
        for one in shape.columns
    ]
    return arrow.RecordBatch.from_arrays(arrays, schema=schema)


def schema_of(shape: Shape) -> arrow.Schema:
    return arrow.Schema(
        [arrow.Field(one.name, TYPES[one.type]) for one in shape.columns]
    )


def array_of(column: Column, values: Sequence[Any]) -> arrow.Array:
    """Values as a column; what does not fit raises `ValueError` and its like."""
    if column.type == "time":
        return arrow.Array(values, INT).cast(TYPES["time"])
    return arrow.Array(values, TYPES[column.type])


def batch_of(
    shape: Shape, rows: Sequence[Row], ms: Sequence[int] = ()
) -> arrow.RecordBatch:
    """Rows as a batch of the table's columns."""
    told = zip(shape.columns, shape.values(rows, ms), strict=True)
    arrays = [array_of(column, values) for column, values in told]
    return arrow.RecordBatch.from_arrays(arrays, schema=schema_of(shape))


def keyed(*columns: Sequence[int]) -> arrow.RecordBatch:
    """Keys, revisions and seqs as a batch."""
    arrays = [arrow.Array(one, INT) for one in columns]
    return arrow.RecordBatch.from_arrays(arrays, schema=KEYS)


def without(batch: arrow.RecordBatch, gone: set[int]) -> arrow.RecordBatch:
    """A batch without some of its rows."""
    if not gone:
        return batch
    left = [at for at in range(batch.num_rows) if at not in gone]
    return batch.take(arrow.Array(left, INDEX))


class Sheaf(Struct, frozen=True):
    """Rows with their keys and the span of their times, as they are put into a file."""

    rows: tuple[arrow.RecordBatch, ...]
    keys: tuple[arrow.RecordBatch, ...]
    first_ms: int
    last_ms: int

    @property
    def count(self) -> int:
        return sum(one.num_rows for one in self.keys)


def body_of(sheaf: Sheaf, schema: arrow.Schema) -> list[memoryview]:
    """A whole file: the rows, their keys unseen, the footer."""
    plain = dict.fromkeys(numbers_in(schema), False)
    whole = memoryview(made(schema, sheaf.rows, column_dictionary_enabled=plain))
    keys = made(KEYS, sheaf.keys, column_encoding={"key": "plain"}, **BARE)
    length, _ = END.unpack(whole[-END.size :])
    footer = len(whole) - END.size - length
    mark = MARK.pack(
        sheaf.count, sheaf.first_ms, sheaf.last_ms, len(keys), zlib.crc32(keys), MAGIC
    )
    return [whole[:footer], memoryview(keys), memoryview(mark), whole[footer:]]


def numbers_in(schema: arrow.Schema) -> list[str]:
    """Columns whose values hardly repeat: no dictionary is faster, and smaller."""
    fields = [schema.field(name) for name in schema.names]
    return [one.name for one in fields if one.type == TYPES["number"]]


BARE: Any = {"dictionary_enabled": False, "skip_arrow_metadata": True}


def made(
    schema: arrow.Schema, batches: Sequence[arrow.RecordBatch], **options: Any
) -> bytes:
    """A Parquet file in memory."""
    file = io.BytesIO()
    reader = arrow.RecordBatchReader.from_batches(schema, batches)
    parquet.write_parquet(reader, file, **USUAL, **options)
    return file.getvalue()


def put(disk: Disk, path: Path, parts: Sequence[memoryview]) -> None:
    """Write a file, all of it on the disk when this returns."""
    fd = disk.open(path, FLAGS, 0o640)
    try:
        for part in parts:
            left = part
            while left:
                left = left[disk.write(fd, left) :]
        disk.fsync(fd)
    finally:
        os.close(fd)


def flush_folder(disk: Disk, folder: Path) -> None:
    """Make names in a folder outlive a power cut."""
    fd = disk.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.fsync(fd)
    finally:
        os.close(fd)
