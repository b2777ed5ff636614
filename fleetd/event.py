"""Our vocabulary: what a vendor's record becomes, and what makes two copies one event."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Struct

Origin: TypeAlias = Literal["push", "poll", "backfill", "recovered"]
ORIGINS: tuple[Origin, ...] = ("push", "poll", "backfill", "recovered")
LANES = ("normal", "safety")
NORMAL, SAFETY = 0, 1
MPH_PER_KPH = 1 / 1.609344
MPH_PER_MPS = 2.2369362921
MILES_PER_METRE = 1 / 1609.344
VIN = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
DAY_MS = 86_400_000


class Record(Struct, frozen=True):
    """One vendor item, raw: `feed` says which normalizer reads it, `body` is its JSON."""

    feed: str
    body: bytes


class Event(Struct, frozen=True, kw_only=True, array_like=True, tag_field="k"):
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
    """The engine went on, off or idle (`type`), with its hours."""

    kind: ClassVar[str] = "engine"
    type: str | None = None
    hours: float | None = None
    duration_s: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    text: str | None = None
    resolved: bool | None = None
    url: str | None = None


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
pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(AnyEvent).decode


def unpack(body: bytes) -> AnyEvent:
    """Read an event as the log keeps it."""
    return _unpack(body)


def text(value: object) -> str | None:
    """A vendor's text or number as trimmed text; empty is null."""
    if value is None or isinstance(value, bool):
        return None
    return str(value).strip() or None


def vin_of(value: object) -> str | None:
    """A VIN in upper case, or null where it is none."""
    found = text(value)
    return found.upper() if found and VIN.fullmatch(found.upper()) else None


def millis(moment: datetime) -> int:
    """Whole milliseconds since 1970, UTC."""
    return math.floor(moment.timestamp()) * 1000 + moment.microsecond // 1000


def moment_of(ms: int) -> datetime:
    """The aware UTC moment of so many milliseconds since 1970."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def stamp(moment: datetime | None) -> str | None:
    """`2026-11-21T22:05:03.120Z`, the one way a time is printed."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def has_fix(event: Position) -> bool:
    """Whether there is a place to speak of: not 0,0, not out of range, not missing."""
    lat, lon = event.latitude, event.longitude
    if lat is None or lon is None or (lat == 0 and lon == 0):
        return False
    return -90 <= lat <= 90 and -180 <= lon <= 180


def tidy(event: AnyEvent) -> AnyEvent:
    """The event by the house's own rules, whatever its vendor's file let through.

    Text is trimmed and never empty, a VIN is one or null, a heading is below 360.
    """
    changes: dict[str, Any] = {}
    for name in TEXTS:
        value = getattr(event, name)
        if value is not None and (not value or value[0] <= " " or value[-1] <= " "):
            changes[name] = text(value)
    vin = changes.get("vin", event.vin)
    if vin is not None and not VIN.fullmatch(vin):
        changes["vin"] = vin_of(vin)
    if isinstance(event, Position):
        heading = event.heading_degrees
        if heading is not None and not 0 <= heading < 360:
            changes["heading_degrees"] = heading % 360
        place = event.location_description
        if place is not None and (not place or place[0] <= " " or place[-1] <= " "):
            changes["location_description"] = text(place)
    return msgspec.structs.replace(event, **changes) if changes else event


TEXTS = ("vehicle", "number", "vin", "driver", "driver_name")


def content_of(event: Event) -> str:
    """A hash of what a directory record says, whenever it said so."""
    bare = msgspec.structs.replace(event, at=None, revision=None, flags=())
    return hashlib.blake2b(pack(bare), digest_size=10).hexdigest()


def lane_of(event: Event) -> int:
    """Safety for what somebody must hear now, else normal."""
    if isinstance(event, Safety):
        urgent = event.type in URGENT or event.severity == "severe"
        return SAFETY if urgent else NORMAL
    if isinstance(event, Duty) and event.type == "violation":
        return SAFETY
    return NORMAL


URGENT = frozenset({"sos", "panic", "crash", "rollover"})


def filled(event: Event) -> int:
    """Which columns say something, as bits in the order of the struct."""
    mask, bit = 0, 1
    for value in msgspec.structs.astuple(event):
        if value is not None:
            mask |= bit
        bit <<= 1
    return mask


def merged(first: AnyEvent, later: AnyEvent) -> AnyEvent:
    """The first copy with its nulls filled from a later one."""
    fields = msgspec.structs.fields(first)
    missing = {
        one.name: getattr(later, one.name)
        for one in fields
        if getattr(first, one.name) is None and getattr(later, one.name) is not None
    }
    return msgspec.structs.replace(first, **missing)


def tag_of(event: Event) -> str:
    """What tells one copy of an id from another: updated-at, a hash of what it says, or 0."""
    if event.revision is not None:
        return str(event.revision)
    if not event.changes:
        return "0"
    return hashlib.blake2b(pack(event), digest_size=10).hexdigest()


def tag_of_record(event: Event, content: str, stands: str) -> str:
    """The same for a directory record; `stands` is the content that it replaces.

    A change and its return are two changes, while the same listing twice is none.
    """
    if event.revision is not None:
        return str(event.revision)
    return f"{stands}>{content}"


def dedupe_key(source: str, event: Event, tag: str, day: int) -> bytes:
    """Twelve bytes: the UTC day since 1970, then 10 of BLAKE2b over the identity.

    The day in front keeps inserts in warm pages and lets whole days be dropped.
    """
    identity = f"{source}\0{event.kind}\0{event.id}\0{tag}".encode()
    return day.to_bytes(2, "big") + hashlib.blake2b(identity, digest_size=10).digest()


class Entry(Struct, frozen=True):
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
        received_at=stamp(entry.received_at),
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
