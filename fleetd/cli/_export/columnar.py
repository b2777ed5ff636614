"""Parquet as it comes: row groups of a size, whatever the length of the log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any, Final, cast

import arro3.core as arrow
import arro3.io as parquet

from fleetd.cli._export.columns import Page, Picked
from fleetd.errors import FleetdError
from fleetd.tables import Column, micros, parts

GROUP: Final = 50_000
ENDED: Final = (OSError, KeyboardInterrupt, SystemExit)


class Parquet:
    """Pulls page after page through the library, which writes group after group."""

    def __init__(self, file: IO[bytes], picked: Picked) -> None:
        self._file, self._picked = Spout(file), picked
        columns = picked.columns.items()
        self._columns = [Column(name, kind, "") for name, kind in columns]
        fields = [arrow.Field(one.name, parts.TYPES[one.type]) for one in self._columns]
        self._schema = arrow.Schema(fields)
        self._fault: BaseException | None = None

    def take(self, pages: Iterable[Page]) -> None:
        reader = arrow.RecordBatchReader.from_batches(
            self._schema, self._batches(pages)
        )
        parquet.write_parquet(
            reader, cast("IO[bytes]", self._file), compression="zstd(1)", max_row_group_size=GROUP,
            created_by="fleetd",
        )  # fmt: skip
        for fault in (self._file.fault, self._fault):
            if fault is not None:
                raise fault

    def _batches(self, pages: Iterable[Page]) -> Iterator[arrow.RecordBatch]:
        """The library would wrap what is raised in here beyond recognition."""
        try:
            for page in pages:
                if self._file.fault is not None:
                    return
                if page:
                    yield self._batch(page)
        except (*ENDED, FleetdError, ValueError, OverflowError) as bad:
            self._fault = bad

    def _batch(self, page: Page) -> arrow.RecordBatch:
        values = zip(*map(self._picked.row, page), strict=True)
        columns = zip(self._columns, values, strict=True)
        arrays = [parts.array_of(one, typed(one, told)) for one, told in columns]
        return arrow.RecordBatch.from_arrays(arrays, schema=self._schema)


def typed(column: Column, values: Sequence[Any]) -> Sequence[Any]:
    """Times as the table has them; they come as they are printed."""
    if column.type != "time":
        return values
    return [one and micros(datetime.fromisoformat(one)) for one in values]


class Spout:
    """A file the library writes to and never seeks in; an error waits until it is done."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._at = file, 0
        self.fault: BaseException | None = None

    def write(self, data: bytes) -> int:
        if self.fault is None:
            try:
                self._file.write(data)
            except ENDED as bad:
                self.fault = bad
        self._at += len(data)
        return len(data)

    def flush(self) -> None:
        """The file is flushed by whoever opened it."""

    def tell(self) -> int:
        return self._at

    def seek(self, at: int, whence: int = os.SEEK_SET) -> int:
        """Only to where we are."""
        del at, whence
        return self._at
