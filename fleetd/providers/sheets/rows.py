"""Rows into records: whose each one is, and what of it people said.

What a sink of fleetd's wrote and nobody changed since is no news: its mark has a print of
each cell. A row that holds nothing else is there, and tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from fleetd.errors import PayloadError
from fleetd.event import AnyEvent, Driver, Record, Vehicle, vin_of
from fleetd.google import Mark, key_of
from fleetd.providers.reading import UNREADABLE, ident, short
from fleetd.providers.sheets import words
from fleetd.providers.sheets.headers import Layout

ERRORS = frozenset({
    "#REF!", "#N/A", "#NAME?", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#ERROR!",
    "Loading...",
})  # fmt: skip
WIDEST = 2**53  # beyond it a number loses digits in a sheet
LONGEST = 500  # of a cell, as far as a record takes it
LONGEST_ID = 200
BETWEEN = "/"
Cells = Mapping[int, Any]  # by column


class Told(Struct, array_like=True):
    """One row as a record: whose it is, and its cells as (header, field, value).

    Without an id, or where it is the `again` of another row, it only says so.
    """

    id: str
    keys: tuple[tuple[str, Any], ...]
    cells: tuple[tuple[str, str, Any], ...]
    mark: str = ""
    again: bool = False


class Read(Struct):
    """What rows come to: records, the ids that are there, and whether each row is in place."""

    records: list[Record]
    held: set[str]
    settled: bool = True


def records_of(feed: str, rows: Mapping[int, Cells], layout: Layout) -> Read:
    """A record for every row that says anything."""
    read = Read([], set())
    first: dict[str, int] = {}
    found = list(_told(rows, layout, read))
    for at, one in enumerate(found):  # a row of ours before one that was typed
        if one.id and (
            one.id not in first or (one.mark and not found[first[one.id]].mark)
        ):
            first[one.id] = at
    for at, one in enumerate(found):
        one.again = bool(one.id) and first[one.id] != at
        read.records.append(Record(feed, msgspec.json.encode(one)))
    read.held = set(first)
    return read


def _told(rows: Mapping[int, Cells], layout: Layout, read: Read) -> Iterator[Told]:
    header, marks, kept = layout.header, layout.marks, layout.kept
    keyed = [(header[at], at) for at in layout.keys]
    columns = [(header[at], field, at) for at, field in layout.fields.items()]
    for row in sorted(rows):
        cells = rows[row]
        text = cells.get(marks) if marks is not None else None
        whose = Mark.whose(text) if text is not None else ""
        if whose and kept and whose != _key(cells, kept):
            read.settled = False  # people sorted a part of it: a sink puts that right
            continue
        keys = tuple((name, cells.get(at)) for name, at in keyed)
        said = tuple((name, field, cells.get(at)) for name, field, at in columns)
        mark = str(text) if whose else ""
        one = Told(_id([value for _, value in keys]), keys, said, mark)
        if one.id or mark or any(_says(value) for _, _, value in said):
            yield one


def _says(value: Any) -> bool:
    """Whether somebody wrote it: blanks and a box nobody ticked are no row of anybody's."""
    return value is not False and _text(value) is not None


def _key(cells: Cells, columns: Sequence[int]) -> str:
    return key_of([cells.get(at) for at in columns])


def _id(parts: Sequence[Any]) -> str:
    """What the key cells say together; empty where one of them says nothing."""
    found = []
    for part in parts:
        text = _text(part)
        if text is None or text in ERRORS or _cut(part):
            return ""
        found.append(text)
    return BETWEEN.join(found)


def _cut(value: Any) -> bool:
    """Whether digits of it are lost."""
    return isinstance(value, int | float) and abs(value) >= WIDEST


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).upper()
    return ident(value)


# what a record means


def vehicle(body: bytes) -> Iterator[AnyEvent]:
    """A vehicle, by what people wrote of it."""
    told = _read(body)
    said = _said(told)
    if said is None:
        return
    vin = vin_of(said.get("vin"))
    unread = said.get("vin") is not None and vin is None
    yield Vehicle(
        id=told.id, vehicle=told.id, **{**said, "vin": vin},
        flags=("vin_unread",) if unread else (),
    )  # fmt: skip


def driver(body: bytes) -> Iterator[AnyEvent]:
    """A driver, by what people wrote of them."""
    told = _read(body)
    said = _said(told)
    if said is not None:
        yield Driver(id=told.id, driver=told.id, **said)


_row = msgspec.json.Decoder(Told).decode


def _read(body: bytes) -> Told:
    try:
        told = _row(body)
    except UNREADABLE as bad:
        raise PayloadError(f"no row of a sheet: {short(bad)}") from bad
    _judge(told)
    return told


def _judge(told: Told) -> None:
    """Refuse a row that cannot be anybody's, or is somebody's a second time."""
    for header, value in told.keys:
        if value in ERRORS:
            raise PayloadError(words.wrong_value(told.id or "a row", header, value))
        if _cut(value):
            raise PayloadError(words.too_long(header))
    if not told.id:
        names = [header for header, value in told.keys if _text(value) is None]
        rest = [str(value) for _, _, value in told.cells if _says(value)]
        raise PayloadError(words.no_id(names, rest))
    if len(told.id) > LONGEST_ID:
        raise PayloadError(f"an id of {len(told.id)} characters: {LONGEST_ID} at most")
    if told.again:
        raise PayloadError(words.twice(told.id))


def _said(told: Told) -> dict[str, Any] | None:
    """What people said, by field; None where all of it is fleetd's own."""
    mark = Mark.read(told.mark)
    theirs = [
        (header, field, value)
        for header, field, value in told.cells
        if field != "id" and (mark is None or is_typed(mark, header, value))
    ]
    if mark is not None and not theirs:
        return None
    said: dict[str, Any] = {}
    for header, field, value in theirs:
        if value in ERRORS:
            raise PayloadError(words.wrong_value(told.id, header, value))
        if _cut(value):
            raise PayloadError(words.too_long(header))
        text = (_text(value) or "")[:LONGEST]
        said[field] = _groups(text) if field == "groups" else text or None
    return said


def is_typed(mark: Mark, header: str, value: Any) -> bool:
    """Whether what stands there is a person's: not what we wrote, or never ours."""
    if not mark.knows(header):
        return value is not None
    return not mark.holds(header, value)


def _groups(text: str) -> tuple[str, ...]:
    parts = (one.strip() for one in re.split(r"[,;\n]", text))
    return tuple(dict.fromkeys(one for one in parts if one))
