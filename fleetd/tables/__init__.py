"""Events as tables: the columns of each kind, their types, and the values of a row.

A position is the unified row of 14 columns and nothing beside. Every other kind has a
table of its own: whose and when, its own fields, and where the row came from.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import (
    Any,
    Final,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Struct

from fleetd.event import CLASSES, COLUMNS, DIRECTORY_KINDS, OWN, AnyEvent, Position

Type: TypeAlias = Literal["text", "number", "whole", "yes", "time", "json"]
MOST_WHOLE = 1 << 63
TABLES: Final[Mapping[str, str]] = {
    "position": "positions", "trip": "trips", "engine": "engine_events",
    "geofence": "geofence_events", "safety": "safety_events", "fault": "faults",
    "duty": "duty_events", "inspection": "inspections", "maintenance": "maintenance",
    "fuel": "fuel_events", "route": "route_events", "document": "documents",
    "device": "device_events", "alert": "alerts", "other": "other_events",
    "vehicle": "vehicles", "driver": "drivers", "place": "places",
}  # fmt: skip


class Row(Struct, frozen=True, array_like=True, gc=False):
    """What a table needs of an entry, as it goes from process to process."""

    seq: int
    source: str
    provider: str
    event: AnyEvent
    revision: int
    received_ms: int


class Column(Struct, frozen=True):
    """A column: its name, its type, and where its value stands in a `Row`."""

    name: str
    type: Type
    where: str


class Shape(Struct, frozen=True):
    """The table of a kind. `whole`: never cut by day, it holds what is now."""

    kind: str
    table: str
    columns: tuple[Column, ...]
    whole: bool
    changes: bool

    def values(
        self, rows: Sequence[Row], ms: Sequence[int] = ()
    ) -> Iterator[Sequence[Any]]:
        """The values of rows, column by column, ready for an array.

        `ms` are their times where somebody worked them out already.
        """
        events = [row.event for row in rows]
        of_event = [one for one in self.columns if one.where.startswith(EVENT)]
        found = attrgetter(*(one.where.removeprefix(EVENT) for one in of_event))
        told = dict(zip(of_event, zip(*map(found, events), strict=True), strict=True))
        for column in self.columns:
            if ms and column.where == AT:
                pairs = zip(told[column], ms, strict=True)
                yield [None if at is None else one * 1000 for at, one in pairs]
                continue
            values = told.get(column) or [*map(attrgetter(column.where), rows)]
            make = MADE.get(column.type)
            yield values if make is None else [*map(make, values)]


EVENT: Final = "event."
AT: Final = "event.at"
HEAD: tuple[Column, ...] = (
    Column("provider", "text", "provider"),
    Column("provider_vehicle_id", "text", "event.vehicle"),
    Column("vin", "text", "event.vin"),
    Column("fleet_number", "text", "event.number"),
    Column("timestamp", "time", "event.at"),
)
PERSON: tuple[Column, ...] = (
    Column("driver_id", "text", "event.driver"),
    Column("driver_name", "text", "event.driver_name"),
)
FIX: tuple[Column, ...] = (
    Column("latitude", "number", "event.latitude"),
    Column("longitude", "number", "event.longitude"),
    Column("speed_mph", "number", "event.speed_mph"),
    Column("heading_degrees", "number", "event.heading_degrees"),
    Column("engine_state", "text", "event.engine_state"),
    *PERSON,
    Column("location_description", "text", "event.location_description"),
    Column("odometer", "number", "event.odometer"),
)
TAIL: tuple[Column, ...] = (
    Column("id", "text", "event.id"),
    Column("source", "text", "source"),
    Column("seq", "whole", "seq"),
    Column("revision", "whole", "revision"),
    Column("received_at", "time", "received_ms"),
    Column("flags", "json", "event.flags"),
)
assert tuple(one.name for one in (*HEAD, *FIX)) == COLUMNS


@cache
def shape_of(kind: str) -> Shape:
    """The table of a kind."""
    of = next(one for one in CLASSES if one.kind == kind)
    if of is Position:
        columns: tuple[Column, ...] = (*HEAD, *FIX)
    else:
        columns = (*HEAD, *PERSON, *own_of(of), *TAIL)
    whole = kind in DIRECTORY_KINDS
    return Shape(kind, TABLES[kind], columns, whole, of.changes)


def own_of(of: type[Any]) -> Iterator[Column]:
    """The fields that only this kind has, typed as they are declared."""
    hints = get_type_hints(of)
    for name in OWN[of]:
        yield Column(name, OF[plain(hints[name])], f"event.{name}")


OF: Mapping[Any, Type] = {
    str: "text", float: "number", int: "whole", bool: "yes", datetime: "time",
    tuple: "json", dict: "json",
}  # fmt: skip


def plain(hint: Any) -> Any:
    """`float | None` as `float`, words to choose from as `str`, a tuple as `tuple`."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    origin = get_origin(hint)
    if origin is None:
        return hint
    return origin if origin in (tuple, dict) else str


def micros(value: datetime | int | None) -> int | None:
    """A time in microseconds since 1970, to the millisecond, as it is printed."""
    if value is None:
        return None
    if isinstance(value, int):
        return value * 1000
    whole = int(value.timestamp() // 1)
    return whole * 1_000_000 + value.microsecond // 1000 * 1000


def packed(value: Any) -> str | None:
    """A list or a table as JSON; an empty one is null."""
    return msgspec.json.encode(value).decode() if value else None


def whole(value: int | None) -> int | None:
    """A whole number of 64 bits, or `OverflowError`."""
    if value is not None and not -MOST_WHOLE <= value < MOST_WHOLE:
        raise OverflowError(f"{value:.3g} does not fit into 64 bits")
    return value


MADE: Mapping[str, Callable[[Any], Any]] = {
    "time": micros,
    "json": packed,
    "whole": whole,
}
