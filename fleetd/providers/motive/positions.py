"""Motive's location points: the hot path, bytes to a typed struct in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from fleetd.errors import PayloadError
from fleetd.event import MPH_PER_KPH, NOBODY, AnyEvent, Position, millis
from fleetd.providers import reading
from fleetd.providers.motive.people import metric, who
from fleetd.providers.reading import Wire, moment, number, silent, trimmed, words

STATES: dict[str, Literal["On", "Off", "Idle"]] = {
    "ignition_off": "Off",
    "engine_stop": "Off",
    "vehicle_stopped": "Idle",
    "gps_stopped": "Idle",
    "ignition_on": "Idle",
    "engine_start": "Idle",
    "vehicle_moving": "On",
    "vehicle_driving": "On",
    "gps_moving": "On",
}
CREEPS: dict[bool | None, float] = {None: 3.0, False: 3.0, True: 3.0 / MPH_PER_KPH}
UNITS: dict[bool | None, Literal["us", "metric", "unknown"]]
UNITS = {None: "unknown", False: "us", True: "metric"}


class Person(Struct, frozen=True, gc=False):
    """The driver of a point."""

    id: int
    first_name: str | None = None
    last_name: str | None = None
    name: None = None


class Fix(Struct, frozen=True, gc=False):
    """A point exactly as it should come; whatever differs is left to `lenient`.

    The keys typed None are read there too, once they hold something.
    """

    id: str
    vehicle_id: int
    located_at: datetime
    lat: float
    lon: float
    type: str | None = None
    vehicle_number: str | None = None
    speed: float | None = None
    bearing: float | None = None
    odometer: float | None = None
    true_odometer: float | None = None
    description: str | None = None
    metric_units: bool | None = None
    vehicle: None = None
    current_vehicle: None = None
    driver: Person | UnsetType | None = UNSET
    action: str | None = None
    current_driver: None = None
    driver_id: None = None


_fix = msgspec.json.Decoder(Fix).decode


def position(body: bytes) -> Iterator[AnyEvent]:
    """One point; speed and odometer as they came, `units` says how to read them."""
    try:
        fix = _fix(body)
    except msgspec.ValidationError:
        yield lenient(reading.loads(body))
        return
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    at, named, number = fix.located_at, fix.id.strip(), fix.vehicle_number
    place, odometer, driver = fix.description, fix.true_odometer, fix.driver
    if at.tzinfo is not UTC or at.year == 1 or not named:
        yield lenient(reading.loads(body))
        return
    yield Position(
        id=named,
        at=at,
        vehicle=str(fix.vehicle_id),
        number=trimmed(number),
        driver=driven_by(fix),
        driver_name=named_as(driver) if driver else None,
        latitude=fix.lat,
        longitude=fix.lon,
        speed_mph=fix.speed,
        heading_degrees=reading.heading(fix.bearing),
        engine_state=engine_state(fix.type, fix.speed, fix.metric_units),
        location_description=trimmed(place),
        odometer=fix.odometer if odometer is None else odometer,
        units=UNITS[fix.metric_units],
    )


def driven_by(fix: Fix) -> str | None:
    """The driver of a point; nobody where a list says null, None where it is silent.

    A push says nothing of who drives.
    """
    driver = fix.driver
    if driver:
        return str(driver.id)
    return None if driver is UNSET or fix.action else NOBODY


def named_as(driver: Person) -> str | None:
    """First and last name."""
    first, last = driver.first_name, driver.last_name
    if first and last and first.strip() == first and last.strip() == last:
        return f"{first} {last}"
    parts = ((driver.first_name or "").strip(), (driver.last_name or "").strip())
    return " ".join(one for one in parts if one) or None


def lenient(record: Wire) -> Position:
    """A point in whatever form; without vehicle or time it is a `PayloadError`."""
    whose = who(record)
    vehicle, at = whose["vehicle"], moment(record, "located_at")
    if vehicle is None:
        raise PayloadError("vehicle_id is missing")
    if at is None:
        raise PayloadError(
            f"located_at is missing or unreadable (vehicle {str(vehicle)[:40]})"
        )
    kind, speed = words(record, "type"), number(record, "speed")
    units = metric(record)
    listed = words(record, "action") is None
    if whose["driver"] is None and listed and record.get("driver", UNSET) is None:
        whose["driver"] = NOBODY
    return Position(
        id=words(record, "id") or f"{vehicle}@{millis(at)}@{kind or ''}",
        at=at,
        latitude=degrees(record, "lat", vehicle),
        longitude=degrees(record, "lon", vehicle),
        speed_mph=speed,
        heading_degrees=reading.heading(number(record, "bearing")),
        engine_state=engine_state(kind, speed, units),
        location_description=words(record, "description"),
        odometer=number(record, "true_odometer", "odometer"),
        units=UNITS[units],
        **whose,
    )


def degrees(record: Wire, key: str, vehicle: str) -> float | None:
    """A coordinate; null says that there is no fix, anything unreadable is a fault."""
    found = number(record, key)
    if found is None and not silent(record.get(key)):
        at = words(record, "located_at") or ""
        raise PayloadError(f"{key} is no number (vehicle {vehicle[:40]} at {at[:40]})")
    return found


def engine_state(
    kind: str | None, speed: float | None, metric_units: bool | None = None
) -> Literal["On", "Off", "Idle"] | None:
    """What a point says of the engine: by its type, else by whether it moves.

    A type we do not know can show that the engine runs, but not that it idles.
    """
    kind = kind.strip() if kind else ""
    state = STATES.get(kind)
    if state is not None or speed is None:
        return state
    if speed > CREEPS[metric_units]:
        return "On"
    return "Idle" if kind in ("", "breadcrumb") else None
