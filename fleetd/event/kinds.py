"""The kinds: what a vendor's record becomes, in one vocabulary for all vendors."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Struct


class Record(Struct, frozen=True, gc=False):
    """One vendor item, raw: `feed` says which normalizer reads it, `body` is its JSON."""

    feed: str
    body: bytes


class Event(
    Struct, frozen=True, kw_only=True, array_like=True, tag_field="k", gc=False
):
    """What every kind has: whose, when, and under which stable id.

    `revision` is the vendor's updated-at in ms where it has one. The fields of a kind
    grow only at its end: that is what lets an older log be read.
    """

    kind: ClassVar[str] = ""
    changes: ClassVar[bool] = False  # the same id comes again with other content
    id: str
    at: datetime | None = None
    revision: int | None = None
    vehicle: str | None = None
    number: str | None = None
    vin: str | None = None
    driver: str | None = None
    driver_name: str | None = None
    flags: tuple[str, ...] = ()


class Position(Event, frozen=True, kw_only=True, array_like=True, tag=1):
    """A fix: where a vehicle was.

    A vendor whose fixes say who drives gives an empty `driver` where nobody does: then
    it is not filled from what is known, and ends what was. The log keeps null.
    `units` says how `speed_mph` and `odometer` (miles) are to be read until the event
    is settled: `metric` is km/h and km, `unknown` asks the directory.
    """

    kind: ClassVar[str] = "position"
    latitude: float | None = None
    longitude: float | None = None
    speed_mph: float | None = None
    heading_degrees: float | None = None
    engine_state: Literal["On", "Off", "Idle"] | None = None
    location_description: str | None = None
    odometer: float | None = None
    units: Literal["us", "metric", "unknown"] = "us"


class Trip(Event, frozen=True, kw_only=True, array_like=True, tag=2):
    """A drive from start to end; an open one comes again as revisions. Miles, seconds."""

    kind: ClassVar[str] = "trip"
    changes: ClassVar[bool] = True
    type: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    distance_miles: float | None = None
    duration_s: float | None = None
    start_place: str | None = None
    end_place: str | None = None
    start_latitude: float | None = None
    start_longitude: float | None = None
    end_latitude: float | None = None
    end_longitude: float | None = None


class Engine(Event, frozen=True, kw_only=True, array_like=True, tag=3):
    """The engine went on, off or idle (`type`), with its hours.

    Also what its counters say by themselves: `type` is then `hours` or `odometer` (miles).
    """

    kind: ClassVar[str] = "engine"
    type: str | None = None
    hours: float | None = None
    duration_s: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    text: str | None = None
    resolved: bool | None = None
    url: str | None = None
    odometer: float | None = None


class Geofence(Event, frozen=True, kw_only=True, array_like=True, tag=4):
    """`type` is `entry` or `exit` of a place; `asset` is what moved if no vehicle did."""

    kind: ClassVar[str] = "geofence"
    type: str | None = None
    place: str | None = None
    place_name: str | None = None
    duration_s: float | None = None
    asset: str | None = None
    asset_name: str | None = None
    text: str | None = None
    resolved: bool | None = None
    url: str | None = None


class Safety(Event, frozen=True, kw_only=True, array_like=True, tag=5):
    """`type` as `harsh_brake`, `crash`, `speeding`, `sos`; `severity` low … severe."""

    kind: ClassVar[str] = "safety"
    changes: ClassVar[bool] = True
    type: str | None = None
    severity: Literal["low", "medium", "high", "severe"] | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    speed_mph: float | None = None
    limit_mph: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    place_name: str | None = None
    state: str | None = None
    resolved: bool | None = None
    text: str | None = None
    url: str | None = None


class Fault(Event, frozen=True, kw_only=True, array_like=True, tag=6):
    """`type` is `on` or `off`; `code` as `SPN 111 FMI 1` or `P203F`."""

    kind: ClassVar[str] = "fault"
    changes: ClassVar[bool] = True
    type: str | None = None
    network: Literal["j1939", "obdii"] | None = None
    code: str | None = None
    spn: int | None = None
    fmi: int | None = None
    text: str | None = None
    count: int | None = None
    lamps: tuple[str, ...] = ()
    url: str | None = None


class Duty(Event, frozen=True, kw_only=True, array_like=True, tag=7):
    """Hours of service: `type` is `status` or `violation`; `status` as `driving`.

    `rule` is the one that was broken, in the vendor's word; `name` says it to people.
    """

    kind: ClassVar[str] = "duty"
    changes: ClassVar[bool] = True
    type: str | None = None
    status: str | None = None
    name: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    rule: str | None = None
    resolved: bool | None = None
    url: str | None = None


class Inspection(Event, frozen=True, kw_only=True, array_like=True, tag=8):
    """A driver's vehicle inspection; `status` is `safe`, `unsafe` or `resolved`."""

    kind: ClassVar[str] = "inspection"
    changes: ClassVar[bool] = True
    type: str | None = None
    status: str | None = None
    defects: tuple[str, ...] = ()
    odometer: float | None = None
    place_name: str | None = None
    text: str | None = None
    url: str | None = None


class Detail(Event, frozen=True, kw_only=True, array_like=True):
    """What the kinds share whose fields vendors do not agree on: words, and the rest."""

    changes: ClassVar[bool] = True
    type: str | None = None
    text: str | None = None
    state: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    resolved: bool | None = None
    place_name: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    url: str | None = None
    detail: dict[str, Any] = {}


class Maintenance(Detail, frozen=True, kw_only=True, array_like=True, tag=9):
    """Something to mend: an issue, a work order, a service that is due."""

    kind: ClassVar[str] = "maintenance"


class Fuel(Detail, frozen=True, kw_only=True, array_like=True, tag=10):
    """Fuel bought, or a level that rose or fell (`detail` has the amounts)."""

    kind: ClassVar[str] = "fuel"


class Route(Detail, frozen=True, kw_only=True, array_like=True, tag=11):
    """A stop of a route reached, left, late."""

    kind: ClassVar[str] = "route"


class Document(Detail, frozen=True, kw_only=True, array_like=True, tag=12):
    """A form or a document that somebody handed in."""

    kind: ClassVar[str] = "document"


class Device(Detail, frozen=True, kw_only=True, array_like=True, tag=13):
    """The telematics device itself: unplugged, back, out of reach."""

    kind: ClassVar[str] = "device"


class Alert(Detail, frozen=True, kw_only=True, array_like=True, tag=14):
    """An alert that the customer made at the vendor, of no kind above."""

    kind: ClassVar[str] = "alert"


class Other(Detail, frozen=True, kw_only=True, array_like=True, tag=15):
    """A type we do not know: kept, delivered, counted, shown as drift."""

    kind: ClassVar[str] = "other"


class Vehicle(Event, frozen=True, kw_only=True, array_like=True, tag=16):
    """A directory record. `id` is the vendor's vehicle id, and so is `vehicle`.

    `since` is when the vendor first knew the unit: its first facts hold from then on.
    """

    kind: ClassVar[str] = "vehicle"
    changes: ClassVar[bool] = True
    state: str | None = None
    make: str | None = None
    model: str | None = None
    year: str | None = None
    plate: str | None = None
    serial: str | None = None
    metric_units: bool | None = None
    groups: tuple[str, ...] = ()
    since: datetime | None = None
    removed: bool = False


class Driver(Event, frozen=True, kw_only=True, array_like=True, tag=17):
    """A directory record. `id` is the vendor's driver id, and so is `driver`.

    `role` tells a driver from others whom the vendor lists with them (`admin`).
    """

    kind: ClassVar[str] = "driver"
    changes: ClassVar[bool] = True
    state: str | None = None
    username: str | None = None
    employee_number: str | None = None
    phone: str | None = None
    email: str | None = None
    zone: str | None = None
    groups: tuple[str, ...] = ()
    removed: bool = False
    role: str | None = None


class Place(Event, frozen=True, kw_only=True, array_like=True, tag=18):
    """A directory record: a customer's place; its centre is nobody's position."""

    kind: ClassVar[str] = "place"
    changes: ClassVar[bool] = True
    name: str | None = None
    address: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    radius_metres: float | None = None
    groups: tuple[str, ...] = ()
    removed: bool = False


AnyEvent: TypeAlias = (
    Position
    | Trip
    | Engine
    | Geofence
    | Safety
    | Fault
    | Duty
    | Inspection
    | Maintenance
    | Fuel
    | Route
    | Document
    | Device
    | Alert
    | Other
    | Vehicle
    | Driver
    | Place
)
CLASSES: tuple[type[Event], ...] = (
    Position, Trip, Engine, Geofence, Safety, Fault, Duty, Inspection, Maintenance,
    Fuel, Route, Document, Device, Alert, Other, Vehicle, Driver, Place,
)  # fmt: skip
KINDS: tuple[str, ...] = ("record", *(one.kind for one in CLASSES))
CODES = {kind: code for code, kind in enumerate(KINDS)}
DIRECTORY_KINDS = frozenset({"vehicle", "driver", "place"})
pack = msgspec.msgpack.Encoder(order="deterministic").encode  # as copies are compared
_unpack = msgspec.msgpack.Decoder(AnyEvent).decode


def unpack(body: bytes) -> AnyEvent:
    """Read an event as the log keeps it."""
    event: AnyEvent = _unpack(body)
    return event
