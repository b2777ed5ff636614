"""Rows for tables, and what a reader who is not us finds in the files."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
from pyarrow import dataset

from fleetd.event import AnyEvent, Position, Safety, Trip, Vehicle, millis
from fleetd.tables import Row
from fleetd.tables.encoder import Answer, Order, Writer

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BY_DATE = dataset.HivePartitioning.discover()


def fix(
    number: int, at: datetime = NOON, *, seq: int = 0, revision: int = 0, **more: Any
) -> Row:
    more = {"latitude": 1.0, "longitude": 2.0, "vehicle": "v1", **more}
    return row(Position(id=f"p{number}", at=at, **more), seq or number, revision)


def alarm(number: int, at: datetime = NOON, *, seq: int = 0, revision: int = 0) -> Row:
    event = Safety(id=f"s{number}", at=at, vehicle="v1", type="crash")
    return row(event, seq or number, revision)


def trip(number: int, at: datetime, *, seq: int = 0, revision: int = 0) -> Row:
    event = Trip(id=f"t{number}", at=at, vehicle="v1", distance_miles=float(revision))
    return row(event, seq or number, revision)


def vehicle(number: int, at: datetime, *, seq: int = 0, revision: int = 0) -> Row:
    event = Vehicle(id=f"v{number}", at=at, vehicle=f"v{number}", make=str(revision))
    return row(event, seq or number, revision)


def row(event: AnyEvent, seq: int, revision: int, source: str = "north") -> Row:
    return Row(seq, source, "samsara", event, revision, millis(NOON))


class Lake:
    """A folder, and whoever writes into it: a new one after each `restart`."""

    def __init__(self, folder: Path, disk: Any = os, **order: Any) -> None:
        self.folder, self._disk, self._order = folder, disk, order
        self.writer: Writer | None = None

    def put(self, *rows: Row, **more: Any) -> Answer:
        if self.writer is None:
            self.writer = Writer(self.folder, self._disk)
        order = {"now_ms": millis(NOON), **self._order, **more}
        return self.writer.write(Order(str(self.folder), **order), rows)

    def restart(self, disk: Any = None) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None
        self._disk = disk or self._disk

    # as others see it

    def days(self, table: str = "positions") -> dict[str, list[str]]:
        """The files of each day."""
        place = self.folder / table
        return {
            one.name: sorted(file.name for file in one.iterdir())
            for one in sorted(place.iterdir())
        }

    def rows(self, table: str = "positions", columns: str = "*") -> list[Any]:
        """All the rows of a table that is cut by days, as DuckDB reads them."""
        return asked(
            f"SELECT {columns} FROM read_parquet('{self.folder}/{table}/**/*.parquet',"
            " hive_partitioning = true) ORDER BY ALL"
        )

    def whole(self, table: str, columns: str = "*") -> list[Any]:
        return asked(
            f"SELECT {columns} FROM '{self.folder}/{table}.parquet' ORDER BY ALL"
        )

    def seen(self, table: str = "positions") -> list[dict[str, Any]]:
        """All the rows of a table, as pyarrow reads them."""
        place = self.folder / table
        if not place.exists():
            place = self.folder / f"{table}.parquet"
        found = dataset.dataset(place, format="parquet", partitioning=BY_DATE)
        return sorted(found.to_table().to_pylist(), key=str)

    def state(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file there is, by what changes when somebody touches it."""
        return {
            str(one.relative_to(self.folder)): (
                one.stat().st_ino,
                one.stat().st_mtime_ns,
                one.read_bytes(),
            )
            for one in self.folder.rglob("*")
            if one.is_file()
        }

    def catalog(self) -> Any:
        return msgspec.json.decode((self.folder / "_metadata.json").read_bytes())


def asked(query: str) -> list[Any]:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        found = db.sql(query).to_arrow_table()  # times without a zone's library
    return [tuple(one.values()) for one in found.to_pylist()]
