"""An event with its place in the log, and the one way it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from fleetd.event.kinds import CLASSES, AnyEvent, Event, Position
from fleetd.event.words import moment_of, stamp, stamp_ms

Origin: TypeAlias = Literal["push", "poll", "backfill", "recovered"]
ORIGINS: tuple[Origin, ...] = ("push", "poll", "backfill", "recovered")
LANES = ("normal", "safety")


class Entry(Struct, frozen=True, gc=False):
    """An event with its place in the log.

    `revision` here is the one the reader compares: the vendor's updated-at, else when
    this copy was stored (ms), 0 for kinds that never change, plus 1 per amendment.
    """

    seq: int
    source: str
    provider: str
    event: AnyEvent
    revision: int
    received_ms: int
    origin: Origin
    lane: int

    @property
    def kind(self) -> str:
        return self.event.kind

    @property
    def received_at(self) -> datetime:
        return moment_of(self.received_ms)


class Unit(Struct, frozen=True):
    """The vehicle of a printed event."""

    id: str | None
    number: str | None
    vin: str | None


class Person(Struct, frozen=True):
    """The driver of a printed event."""

    id: str | None
    name: str | None


class Line(Struct, frozen=True, omit_defaults=False):
    """An event as `events --json` and the file sink print it."""

    v: int
    seq: int
    source: str
    provider: str
    kind: str
    id: str
    revision: int
    at: str | None
    received_at: str | None
    origin: str
    lane: str
    vehicle: Unit
    driver: Person
    data: dict[str, Any]
    flags: tuple[str, ...] = ()


_json = msgspec.json.Encoder()


def line_of(entry: Entry) -> Line:
    """The printed form; times in one format, nulls kept so that keys are stable."""
    event = entry.event
    return Line(
        v=1,
        seq=entry.seq,
        source=entry.source,
        provider=entry.provider,
        kind=event.kind,
        id=event.id,
        revision=entry.revision,
        at=stamp(event.at),
        received_at=stamp_ms(entry.received_ms),
        origin=entry.origin,
        lane=LANES[entry.lane],
        vehicle=Unit(event.vehicle, event.number, event.vin),
        driver=Person(event.driver, event.driver_name),
        data=row_of(entry) if isinstance(event, Position) else dict(_data(event)),
        flags=event.flags,
    )


def render(entry: Entry) -> bytes:
    """One line of NDJSON, without the newline."""
    return _json.encode(line_of(entry))


COLUMNS = (
    "provider", "provider_vehicle_id", "vin", "fleet_number", "timestamp", "latitude",
    "longitude", "speed_mph", "heading_degrees", "engine_state", "driver_id",
    "driver_name", "location_description", "odometer",
)  # fmt: skip


def row_of(entry: Entry) -> dict[str, Any]:
    """The unified position row: 14 columns, in their order."""
    fix = entry.event
    assert isinstance(fix, Position)
    return {
        "provider": entry.provider,
        "provider_vehicle_id": fix.vehicle,
        "vin": fix.vin,
        "fleet_number": fix.number,
        "timestamp": stamp(fix.at),
        "latitude": fix.latitude,
        "longitude": fix.longitude,
        "speed_mph": fix.speed_mph,
        "heading_degrees": fix.heading_degrees,
        "engine_state": fix.engine_state,
        "driver_id": fix.driver,
        "driver_name": fix.driver_name,
        "location_description": fix.location_description,
        "odometer": fix.odometer,
    }


def _data(event: Event) -> Iterator[tuple[str, Any]]:
    for name in OWN[type(event)]:
        value = getattr(event, name)
        yield name, stamp(value) if isinstance(value, datetime) else value


_BASE = len(msgspec.structs.fields(Event))
OWN = {one: [f.name for f in msgspec.structs.fields(one)][_BASE:] for one in CLASSES}
