"""Where a vehicle was: of the bulk call, of the track, and as it is pushed.

All three carry the vehicle's number and a UTC second, and that is the id of a fix.
Only `OdometerInKM` names its unit; `Speed` is what the account's setting says (km/h
unless told otherwise). What Reveal marks private has no coordinates for us.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from fleetd.errors import PayloadError
from fleetd.event import MPH_PER_KPH, NOBODY, AnyEvent, Position
from fleetd.providers import reading
from fleetd.providers.reading import (
    Wire,
    count,
    number,
    silent,
    trimmed,
    words,
)
from fleetd.providers.verizon.wire import (
    LABELS,
    SHORT,
    WHOSE,
    address,
    hidden,
    line_of,
    moment_in,
    named,
    number_of,
    person,
    plain,
    utc,
)

MILES_PER_KM = MPH_PER_KPH
State = Literal["On", "Off", "Idle"]
STATES: dict[str, State] = {
    "moving": "On", "driving": "On", "drive": "On", "move": "On",
    "idle": "Idle", "idling": "Idle",
    "stop": "Off", "stopped": "Off", "off": "Off", "parked": "Off", "park": "Off",
    "towing": "Off", "towed": "Off", "tow": "Off",
    "ignitionoff": "Off", "ignition off": "Off",
}  # fmt: skip
POINTS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE",
          "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")  # fmt: skip
COMPASS = {name.lower(): n * 22.5 for n, name in enumerate(POINTS)} | {
    "north": 0.0, "northeast": 45.0, "east": 90.0, "southeast": 135.0,
    "south": 180.0, "southwest": 225.0, "west": 270.0, "northwest": 315.0,
}  # fmt: skip
GOOD = range(200, 300)


class Address(Struct, frozen=True, rename="pascal"):
    """Every key exactly as in the samples: whatever differs is read leniently."""

    address_line1: str | None
    address_line2: str | None
    locality: str | None
    administrative_area: str | None
    postal_code: str | None


class Value(Struct, frozen=True, rename="pascal"):
    """A last place exactly as it should come."""

    latitude: float
    longitude: float
    speed: float | None
    odometer: float | None = field(name="OdometerInKM")
    update_utc: datetime
    is_private: bool
    driver_number: str | None
    first_name: str | None
    last_name: str | None
    address: Address | None


class Content(Struct, frozen=True, rename="pascal"):
    value: Value


class Item(Struct, frozen=True, rename="pascal"):
    """One vehicle's answer in a bulk one."""

    vehicle_number: str
    status_code: int
    content_resource: Content


class Point(Struct, frozen=True, rename="pascal"):
    """A point of a track exactly as it should come, its vehicle put in front."""

    vehicle: str = field(name="_vehicle")
    update: datetime = field(name="UpdateUTC")
    latitude: float
    longitude: float
    speed: float | None
    direction: float | None
    display_state: str | None
    driver_number: str | None
    is_private: bool
    address: Address | None
    # a track does not say these; where it does after all, they are read leniently
    odometer: None = field(name="OdometerInKM", default=None)
    first_name: None = None
    last_name: None = None


_item = msgspec.json.Decoder(Item).decode
_point = msgspec.json.Decoder(Point).decode


def last_place(metric: bool, body: bytes) -> Iterator[AnyEvent]:
    """One vehicle's answer in a bulk one; a vehicle that is not served says nothing."""
    try:
        item = _item(body)
    except msgspec.ValidationError:
        yield from answered(metric, body)
        return
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    value, whose = item.content_resource.value, item.vehicle_number.strip()
    at, place = utc(value.update_utc), value.address
    odd = value.is_private or item.status_code not in GOOD
    if odd or at is None or not whose:
        yield from answered(metric, body)
        return
    speed, odometer = value.speed, value.odometer
    name = _name(value.first_name, value.last_name)
    yield Position(
        id=named(whose, at),
        at=at,
        vehicle=whose,
        number=whose,
        driver=trimmed(value.driver_number) or (None if name else NOBODY),
        driver_name=name,
        latitude=value.latitude,
        longitude=value.longitude,
        speed_mph=None if speed is None else speed * MPH_PER_KPH if metric else speed,
        location_description=None if place is None else _line(place),
        odometer=None if odometer is None else odometer * MILES_PER_KM,
    )


def track_point(metric: bool, body: bytes) -> Iterator[AnyEvent]:
    """One point of a vehicle's track."""
    try:
        point = _point(body)
    except msgspec.ValidationError:
        yield fix(metric, plain(body))
        return
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    at, whose = utc(point.update), point.vehicle
    place = _line(point.address) if point.address else None
    if point.is_private or at is None or place is None:
        yield fix(metric, plain(body))
        return
    speed, state = point.speed, point.display_state
    yield Position(
        id=named(whose, at),
        at=at,
        vehicle=whose,
        number=whose,
        driver=trimmed(point.driver_number) or NOBODY,
        latitude=point.latitude,
        longitude=point.longitude,
        speed_mph=None if speed is None else speed * MPH_PER_KPH if metric else speed,
        heading_degrees=reading.heading(point.direction),
        engine_state=STATES.get(state.strip().lower()) if state else None,
        location_description=place,
    )


def _name(first: str | None, last: str | None) -> str | None:
    first, last = trimmed(first), trimmed(last)
    return f"{first} {last}" if first and last else first or last or None


def _line(place: Address) -> str | None:
    area, code = place.administrative_area, place.postal_code
    parts = (place.address_line1, place.address_line2, place.locality)
    end = (one.strip() for one in (area, code) if one)
    return line_of(
        *(one and one.strip() for one in parts), " ".join(one for one in end if one)
    )


def answered(metric: bool, body: bytes) -> Iterator[Position]:
    """The same in whatever form; an answer without a place is none."""
    whose, value = content(body)
    if value:
        yield fix(metric, {**value, "_vehicle": whose})


def content(body: bytes) -> tuple[str, Wire]:
    """Whose answer in a bulk one this is and what it holds; `{}` where it is refused.

    The names of the wrapper come from one client and half a page: a value that lies one
    level higher, bare, or alone in a list is as good. Where something is there that is
    no such thing, it is a `PayloadError`: a vehicle must not fall silent over it.
    """
    item = plain(body)
    code = count(item, "statuscode", "status")
    held = _held(item) if code is None or code in GOOD else {}
    return words(item, *WHOSE) or number_of(held or item), held


def _held(item: Wire) -> Wire:
    outer = _object(item, "contentresource", "content", "resource")
    if "value" in outer:
        return _object(outer, "value")
    return outer or ({} if "contentresource" in item else item)


def _object(record: Wire, *names: str) -> Wire:
    for name in names:
        found = record.get(name)
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if found and not isinstance(found, dict):
            raise PayloadError(f"{LABELS.get(name, name)} is no object")
        if found:
            return found
    return {}


def fix(metric: bool, record: Wire) -> Position:
    """A fix in whatever form; without vehicle or time it is a `PayloadError`."""
    whose = number_of(record)
    at = moment_in(record, whose)
    speed = measure(record, whose, at, "speed")
    odometer = measure(record, whose, at, "odometerinkm")
    driver, name = person(record)
    if not (driver or name) and silent(record.get("drivernumber", "?")):
        driver = NOBODY
    return Position(
        id=named(whose, at),
        at=at,
        vehicle=whose,
        number=whose,
        driver=driver,
        driver_name=name,
        speed_mph=None if speed is None else speed * MPH_PER_KPH if metric else speed,
        heading_degrees=heading(record),
        engine_state=state_of(record),
        odometer=None if odometer is None else odometer * MILES_PER_KM,
        **spot(record, whose, at),
    )


def spot(record: Wire, whose: str, at: datetime) -> dict[str, Any]:
    """Where it was; nothing at all of a place that Reveal marks private."""
    if hidden(record, "isprivate"):
        return {}
    return {
        "latitude": measure(record, whose, at, "latitude", "lat"),
        "longitude": measure(record, whose, at, "longitude", "lon", "lng"),
        "location_description": address(record) or words(record, "geofencename"),
    }


def measure(record: Wire, whose: str, at: datetime, *names: str) -> float | None:
    """A number or null; anything else is a fault of the record."""
    found = number(record, *names)
    if found is None and not all(silent(record.get(one)) for one in names):
        when = at.isoformat()[:19]
        name = LABELS.get(names[0], names[0])
        raise PayloadError(f"{name} is no number (vehicle {whose[:SHORT]}, {when})")
    return found


def heading(record: Wire) -> float | None:
    """Degrees; where only the compass is told, its middle."""
    found = number(record, "direction", "bearing")
    if found is None:
        found = number(record, "heading")
    if found is None:
        said = words(record, "heading", "direction") or ""
        return COMPASS.get(said.lower().replace("-", "").replace(" ", ""))
    return reading.heading(found)


def state_of(record: Wire) -> State | None:
    """What the engine does, by the state that Reveal shows."""
    return STATES.get((words(record, "displaystate") or "").lower())
