"""What the tables hold: the columns of each kind, and an entry as a row of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, LiteralString, get_type_hints

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from fleetd import tables
from fleetd.event import CLASSES, OWN, Entry, Position
from fleetd.event.kinds import Event

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's own
EPOCH_MS = 946_684_800_000
TICK = timedelta(microseconds=1)
LATEST = "latest_positions"


class Column(Struct, frozen=True):
    """A column: its name, its type in the table, and as which type COPY sends it."""

    name: str
    type: LiteralString
    wire: str


class Shape(Struct, frozen=True):
    """The table of a kind: its columns, how an entry becomes a row, and whether it has a point."""

    kind: str
    table: str
    columns: tuple[Column, ...]
    row: Callable[[Entry], tuple[Any, ...]]
    point: bool

    @property
    def wires(self) -> list[str]:
        return [one.wire for one in self.columns]


# A time goes over the wire as what it is in there: microseconds since 2000. The
# driver's own way is a call in Python for each, which costs as much as all the rest.
TEXT, FLOAT = ("text", "text"), ("double precision", "float8")
TIME, WHOLE = ("timestamptz", "int8"), ("bigint", "int8")
TEXTS, YES = ("text[]", "text[]"), ("boolean", "bool")
KEY = ('text COLLATE "C"', "text")
OF: dict[Any, tuple[LiteralString, str]] = {
    str: TEXT, float: FLOAT, int: WHOLE, bool: YES, datetime: TIME, tuple: TEXTS,
    dict: ("jsonb", "jsonb"),
}  # fmt: skip
TYPES: dict[tables.Type, tuple[LiteralString, str]] = {
    "text": TEXT, "number": FLOAT, "whole": WHOLE, "yes": YES, "time": TIME,
    "json": TEXTS,
}  # fmt: skip
KEYS = frozenset({"provider_vehicle_id", "id", "source"})


@cache
def shape_of(kind: str) -> Shape:
    """The table of a kind."""
    of = next(one for one in CLASSES if one.kind == kind)
    own = known(tables.FIX) if of is Position else known(tables.PERSON) + own_of(of)
    columns = known(tables.HEAD) + own + known(tables.TAIL)
    row = row_of_position if of is Position else row_maker(of)
    point = {"latitude", "longitude"} <= {one.name for one in columns}
    return Shape(kind, tables.TABLES[kind], columns, row, point)


def known(columns: Iterable[tables.Column]) -> tuple[Column, ...]:
    """Columns that every kind of table names alike, with the types they have here."""
    return tuple(
        Column(one.name, *(KEY if one.name in KEYS else TYPES[one.type]))
        for one in columns
    )


def own_of(of: type[Event]) -> tuple[Column, ...]:
    """The fields that only this kind has, typed as they are declared."""
    hints = get_type_hints(of)
    return tuple(Column(name, *OF[tables.plain(hints[name])]) for name in OWN[of])


def row_of_position(entry: Entry) -> tuple[Any, ...]:
    """The unified row, and what tells whose copy it is."""
    fix = entry.event
    assert isinstance(fix, Position)
    return (
        entry.provider, fix.vehicle, fix.vin, fix.number, ticks(fix.at), fix.latitude,
        fix.longitude, fix.speed_mph, fix.heading_degrees, fix.engine_state, fix.driver,
        fix.driver_name, fix.location_description, fix.odometer, *tail_of(entry),
    )  # fmt: skip


def tail_of(entry: Entry) -> tuple[Any, ...]:
    event = entry.event
    received = (entry.received_ms - EPOCH_MS) * 1000
    flags = [*event.flags] if event.flags else None
    return event.id, entry.source, entry.seq, entry.revision, received, flags


def row_maker(of: type[Event]) -> Callable[[Entry], tuple[Any, ...]]:
    """How an entry of a kind becomes a row."""
    names = OWN[of]

    def row(entry: Entry) -> tuple[Any, ...]:
        one = entry.event
        own = values_of(one, names)
        return (
            entry.provider, one.vehicle, one.vin, one.number, ticks(one.at), one.driver,
            one.driver_name, *own, *tail_of(entry),
        )  # fmt: skip

    return row


def values_of(event: Event, names: list[str]) -> Iterator[Any]:
    for name in names:
        value = getattr(event, name)
        if isinstance(value, datetime):
            value = ticks(value)
        elif isinstance(value, tuple):
            value = [*value]
        elif isinstance(value, dict):
            value = Jsonb(value, dumps=msgspec.json.encode)
        yield value


def ticks(at: datetime | None) -> int | None:
    """A time as PostgreSQL keeps it."""
    return None if at is None else (at - EPOCH) // TICK
