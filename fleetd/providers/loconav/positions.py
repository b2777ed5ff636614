"""LocoNav's fixes: the live location push in its two shapes, and `last_known`.

A fix is one event by any road: its id is the vehicle number and the time of its
coordinates, and these as well in the hour that clocks show twice, where two fixes bear
one time. The engine is `On` or `Off`, as the ignition; LocoNav does not tell idling in a
fix.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Literal

import msgspec
from msgspec import Struct

from fleetd.errors import PayloadError
from fleetd.event import MPH_PER_KPH, AnyEvent, Position, millis, stamp
from fleetd.providers import reading
from fleetd.providers.loconav.told import (
    has_offset,
    moment_in,
    short,
    short_id,
    twice,
    vehicle_of,
)
from fleetd.providers.reading import Wire, inner, words

State = Literal["On", "Off"]
IGNITION: dict[str, State] = {
    "1": "On", "on": "On", "true": "On", "0": "Off", "off": "Off", "false": "Off",
}  # fmt: skip
ASSUMED = ("zone_assumed",)
MARKS = {  # of a live push; the alert of the same name tells the event itself
    "sharpTurn": "sharp_turn",
    "harshBraking": "harsh_braking",
    "harshAcceleration": "harsh_acceleration",
    "rockBreakerPedal": "rock_breaker_pedal",
}


class Live(Struct, frozen=True, rename="camel", gc=False):
    """A live push of the documented shape; whatever differs is left to `lenient`."""

    vehiclenumber: str
    gpstime: str
    latitude: float
    longitude: float
    speed: float | None = None
    orientation: float | None = None
    ignition: str | None = None
    sharp_turn: str | None = None
    harsh_braking: str | None = None
    harsh_acceleration: str | None = None
    rock_breaker_pedal: str | None = None


_live = msgspec.json.Decoder(Live).decode


def live(zone: tzinfo, sure: bool, body: bytes) -> Iterator[AnyEvent]:
    """A pushed fix. `sure` says that somebody configured the zone of its time."""
    try:
        fix = _live(body)
    except msgspec.ValidationError:
        yield lenient(zone, sure, body)
        return
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    number, at = fix.vehiclenumber.strip(), moment_in(zone, fix.gpstime)
    if at is None or not number:
        yield lenient(zone, sure, body)
        return
    yield Position(
        id=named(zone, number, at, (fix.latitude, fix.longitude), body),
        at=at,
        vehicle=number,
        number=number,
        latitude=fix.latitude,
        longitude=fix.longitude,
        speed_mph=None if fix.speed is None else fix.speed * MPH_PER_KPH,
        heading_degrees=heading(fix.orientation),
        engine_state=state(fix.ignition),
        flags=flags(
            fix.gpstime, sure and not twice(zone, at), fix.sharp_turn, fix.harsh_braking,
            fix.harsh_acceleration, fix.rock_breaker_pedal,
        ),
    )  # fmt: skip


def lenient(zone: tzinfo, sure: bool, body: bytes) -> Position:
    """A pushed fix in whatever form, the second shape among them.

    `device_imei`, `vehicle_number`, epoch `gpstime`, `ignition_on`, `direction` and an
    odometer in km: seen in one receiver only, confirmed by no vendor text.
    """
    record = reading.loads(body)
    vehicle, number = vehicle_of(record)
    if vehicle is None:
        raise PayloadError("vehiclenumber and imei are missing")
    said = record.get("gpstime")
    at = moment_in(zone, said)
    if at is None:
        raise PayloadError(
            f"gpstime is no time: {short(said)!r} (vehicle {short(vehicle)})"
        )
    km = reading.number(record, "odometer_reading", "odometer")
    kph = reading.number(record, "speed")
    lat = degrees(record, "latitude", vehicle, at)
    lon = degrees(record, "longitude", vehicle, at)
    marks = (record.get(one) for one in MARKS)
    return Position(
        id=named(zone, vehicle, at, (lat, lon), body),
        at=at,
        vehicle=vehicle,
        number=number,
        latitude=lat,
        longitude=lon,
        speed_mph=None if kph is None else kph * MPH_PER_KPH,
        heading_degrees=heading(reading.number(record, "orientation", "direction")),
        engine_state=state(record.get("ignition")) or state(record.get("ignition_on")),
        odometer=None if km is None else km * MPH_PER_KPH,
        flags=flags(said, sure and not twice(zone, at), *marks),
    )


def named(
    zone: tzinfo, whose: str, at: datetime, place: tuple[float | None, ...], body: bytes
) -> str:
    """The id of a fix; of an hour that comes twice neither half hides the other."""
    where = f"~{place[0]},{place[1]}" if twice(zone, at) else ""
    return short_id(f"{whose}@{millis(at)}{where}", body)


def flags(said: object, sure: bool, *marks: object) -> tuple[str, ...]:
    """What else a live push says, and whether its time was read in an assumed zone."""
    found = tuple(
        name
        for name, mark in zip(MARKS.values(), marks, strict=True)
        if mark is not None and str(mark).strip().lower() in ("1", "true")
    )
    return found if sure or has_offset(said) else found + ASSUMED


def heading(degrees: float | None) -> float | None:
    """A heading below 360; LocoNav writes north as 360 too, and -1 for none."""
    if degrees is None or not 0 <= degrees <= reading.FULL_TURN:
        return None
    return reading.heading(degrees)


def state(said: object) -> State | None:
    """The ignition in our words, from text, number or truth."""
    said = reading.ident(said) if isinstance(said, float) else said  # 1.0 is a 1
    return None if said is None else IGNITION.get(str(said).strip().lower())


def degrees(record: Wire, key: str, vehicle: str, at: datetime | None) -> float | None:
    """A coordinate; null says that there is no fix, anything unreadable is a fault."""
    found = reading.as_number(record.get(key))
    if found is None and not reading.silent(record.get(key)):
        said = short(record[key])
        raise PayloadError(
            f"{key} is no number: {said!r} (vehicle {short(vehicle)}, {stamp(at)})"
        )
    return found


class Leaf(Struct, frozen=True):
    """One reading of `last_known`, with a time of its own (or none, as the ignition)."""

    value: str | float | bool | None = None
    timestamp: str | float | None = None
    unit: str | None = None


class Fix(Struct, frozen=True):
    """A vehicle of `last_known`, leaf by leaf."""

    vehicle: str
    number: str | None
    latitude: Leaf
    longitude: Leaf
    speed: Leaf
    heading: Leaf
    ignition: Leaf
    odometer: Leaf


class Coordinates(Struct, frozen=True):
    """Where it was, each half with its time."""

    lat: Leaf
    long: Leaf


class Gps(Struct, frozen=True, rename={"place": "currentLocationCoordinates"}):
    """The group of leaves that is asked for as `gps`."""

    place: Coordinates
    speed: Leaf | None = None
    ignition: Leaf | None = None
    orientation: Leaf | None = None


class Row(Struct, frozen=True, rename={"number": "vehicleNumber"}):
    """A vehicle of `last_known` as documented; whatever differs is left to `fix_of`."""

    number: str
    gps: Gps
    odometer: Leaf | None = None


_row = msgspec.json.Decoder(Row).decode
NOTHING = Leaf()
TOGETHER = timedelta(seconds=1)  # leaves of one report; some are rounded


def last_known(zone: tzinfo, body: bytes) -> Iterator[AnyEvent]:
    """The newest fix of a vehicle, at the time of its coordinates.

    Each leaf has a time of its own: the vendor's example shows a speed minutes younger
    than the place. Only what was read together with the coordinates is told of the fix;
    a speed from later is not its speed, and comes with the next fix. A leaf without a
    time is as old as the youngest. A vehicle without coordinates has no fix, which is
    counted (`no_fix`) and not a fault.
    """
    fix = read(body)
    times = [time_of(zone, one) for one in (fix.latitude, fix.longitude)]
    at = max((one for one in times if one is not None), default=None)
    lat, lon = value_of(fix, "latitude", at), value_of(fix, "longitude", at)
    if lat is None or lon is None or (lat == 0 and lon == 0):
        yield Position(
            id=short_id(f"{fix.vehicle}@", body), vehicle=fix.vehicle, number=fix.number
        )
        return
    if at is None:
        why = "currentLocationCoordinates has no readable timestamp"
        raise PayloadError(f"{why} (vehicle {short(fix.vehicle)})")
    together = beside(zone, fix, at)
    yield Position(
        id=named(zone, fix.vehicle, at, (lat, lon), body),
        at=at,
        vehicle=fix.vehicle,
        number=fix.number,
        latitude=lat,
        longitude=lon,
        speed_mph=miles(together(fix.speed)),
        heading_degrees=heading(reading.as_number(together(fix.heading).value)),
        engine_state=state(together(fix.ignition).value),
        odometer=miles(together(fix.odometer)),
    )


def beside(zone: tzinfo, fix: Fix, at: datetime) -> Any:
    """Gives a leaf back where it was read with the fix at that time, else an empty one."""
    leaves = (fix.speed, fix.heading, fix.ignition, fix.odometer)
    dated = [when for one in leaves if (when := time_of(zone, one)) is not None]
    youngest = max((at, *dated))

    def together(leaf: Leaf) -> Leaf:
        when = time_of(zone, leaf) or youngest
        return leaf if abs(when - at) <= TOGETHER else NOTHING

    return together


def value_of(
    fix: Fix, name: Literal["latitude", "longitude"], at: datetime | None
) -> float | None:
    """A coordinate of a row."""
    leaf: Leaf = getattr(fix, name)
    return degrees({name: leaf.value}, name, fix.vehicle, at)


def time_of(zone: tzinfo, leaf: Leaf) -> datetime | None:
    if type(leaf.timestamp) is float:
        return epoch(leaf.timestamp)
    return None if leaf.timestamp is None else moment_in(zone, leaf.timestamp)


epoch = lru_cache(maxsize=1024)(reading.from_epoch)  # the leaves of a row say the same


def miles(leaf: Leaf) -> float | None:
    """A speed or a distance in miles, from what its unit says; km where it says nothing."""
    found = reading.as_number(leaf.value)
    if found is None:
        return None
    unit = (leaf.unit or "").strip().lower()
    if unit.startswith("mi") or unit == "mph":
        return found
    if unit in ("m", "metre", "metres", "meter", "meters"):
        return found / 1000 * MPH_PER_KPH
    return found * MPH_PER_KPH


def read(body: bytes) -> Fix:
    """A vehicle of the list, as documented or in whatever form."""
    try:
        row = _row(body)
    except msgspec.ValidationError:
        return fix_of(reading.loads(body))
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    number, gps = row.number.strip(), row.gps
    if not number:
        return fix_of(reading.loads(body))
    return Fix(
        vehicle=number,
        number=number,
        latitude=gps.place.lat,
        longitude=gps.place.long,
        speed=gps.speed or NOTHING,
        heading=gps.orientation or NOTHING,
        ignition=gps.ignition or NOTHING,
        odometer=row.odometer or NOTHING,
    )


def fix_of(record: Wire) -> Fix:
    """A vehicle of the list; the older names of the gateway are read as well."""
    vehicle, number = vehicle_of(record)
    if vehicle is None:
        raise PayloadError("vehicleNumber and vehicleId are missing")
    gps = inner(record, "gps") or inner(inner(record, "sensors"), "gps")
    place = inner(gps, "currentLocationCoordinates") or gps
    return Fix(
        vehicle=vehicle,
        number=number,
        latitude=leaf_of(place.get("lat")),
        longitude=leaf_of(place.get("long", place.get("lng"))),
        speed=leaf_of(gps.get("speed")),
        heading=leaf_of(gps.get("orientation")),
        ignition=leaf_of(gps.get("ignition")),
        odometer=leaf_of(record.get("odometer")),
    )


def leaf_of(found: object) -> Leaf:
    """A leaf as an object, or as a bare value without a time."""
    if isinstance(found, dict):
        value, stamp = found.get("value"), found.get("timestamp")
        value = value if isinstance(value, str | int | float | bool) else None
        stamp = stamp if isinstance(stamp, str | int | float) else None
        return Leaf(value, stamp, words(found, "unit"))
    return Leaf(found) if isinstance(found, str | int | float) else NOTHING
