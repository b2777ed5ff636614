"""`_metadata.json`: what the tables are, and what stands in each of their days.

Whoever loads days elsewhere sees in it which ones changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from fleetd.tables import Shape
from fleetd.tables.parts import Disk
from fleetd.tables.shelf import TEMP, Shelf

NAME: Final = "_metadata.json"
ALL: Final = "all"
WORDS: Final[Mapping[str, str]] = {  # as BigQuery has them
    "text": "STRING", "json": "STRING", "number": "FLOAT64", "whole": "INT64",
    "yes": "BOOL", "time": "TIMESTAMP",
}  # fmt: skip


class Day(Struct, frozen=True):
    """What stands in one day of a table."""

    files: int
    rows: int
    bytes: int
    changed_at: str


class Table(Struct, frozen=True):
    """One table: its columns in their order, how it is cut, and its days."""

    kind: str
    columns: list[dict[str, str]]
    key: tuple[str, ...]
    partition: str | None
    days: dict[str, Day] = {}


class Catalog(Struct, frozen=True):
    """The whole document."""

    format: int = 1
    timezone: str = "UTC"
    tables: dict[str, Table] = {}


def read(folder: Path) -> Catalog:
    """What was written down; an empty one where that cannot be read."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Catalog)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return Catalog()


def note(shelf: Shelf, days: Iterable[str], now: str, disk: Disk) -> None:
    """Write down what these days hold now, if that is not what stands there."""
    before = read(shelf.folder)
    known = before.tables.get(shelf.shape.table)
    table = known or Table("", [], (), None)
    if known is None:
        days = shelf.all_days()
    found = dict(table.days)
    for day in days:
        told = told_of(shelf, day, found.get(day or ALL), now)
        if told is None:
            found.pop(day or ALL, None)
        else:
            found[day or ALL] = told
    shelf.memory.changed.clear()
    after = Table(
        shelf.shape.kind, columns_of(shelf.shape), ("source", "id"),
        "date" if shelf.days else None, dict(sorted(found.items())),
    )  # fmt: skip
    if after != known:
        tables = dict(sorted({**before.tables, shelf.shape.table: after}.items()))
        write(shelf.folder, Catalog(tables=tables), disk)


def told_of(shelf: Shelf, day: str, before: Day | None, now: str) -> Day | None:
    found = shelf.parts_of(day)
    if not found:
        return None
    rows, size = (sum(getattr(p.mark, n) for p in found) for n in ("rows", "size"))
    same = before and (before.files, before.rows, before.bytes) == (
        len(found),
        rows,
        size,
    )
    if not shelf.memory.changed.isdisjoint(one.path for one in found):
        same = False  # another value may take as many bytes
    changed_at = before.changed_at if before and same else now
    return Day(len(found), rows, size, changed_at)


def columns_of(shape: Shape) -> list[dict[str, str]]:
    return [{"name": one.name, "type": WORDS[one.type]} for one in shape.columns]


def write(folder: Path, catalog: Catalog, disk: Disk) -> None:
    """Put it in place, whole."""
    temp = folder / TEMP / f"{NAME}~"
    body = msgspec.json.format(msgspec.json.encode(catalog), indent=1) + b"\n"
    temp.write_bytes(body)  # not flushed: what a power cut tears is counted anew
    disk.rename(temp, folder / NAME)
