"""Samsara's GPS readings: the hot path, bytes to a typed struct in one pass.

`decorations` put engine state and odometer beside each reading, so that every fix is a
row by itself (https://developers.samsara.com/docs/vehicle-stats-feed). Speed is in miles
an hour, the odometer in metres, and the VIN stands under `externalIds`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from fleetd.errors import PayloadError
from fleetd.event import (
    AnyEvent,
    Position,
    millis,
    stamp,
    vin_of,
)
from fleetd.providers import reading
from fleetd.providers.reading import (
    Wire,
    inner,
    moment,
    number,
    objects,
    silent,
    trimmed,
    words,
)
from fleetd.providers.samsara.cutting import Series
from fleetd.providers.samsara.told import vin

STATES: dict[str, Literal["On", "Off", "Idle"]] = {
    "on": "On",
    "off": "Off",
    "idle": "Idle",
}
ENGINE, OBD, GPS = "engineStates", "obdOdometerMeters", "gpsOdometerMeters"
METRES_PER_MILE = 1609.344
split = Series("positions", "gps", "id", "name", "externalIds", rare=(ENGINE, OBD, GPS))


class Engine(Struct, frozen=True, gc=False):
    value: Literal["On", "Off", "Idle"] | None = None


class Metres(Struct, frozen=True, gc=False):
    value: float | None = None


class Decorations(Struct, frozen=True, gc=False):
    engineStates: Engine | None = None  # noqa: N815  as on the wire
    obdOdometerMeters: Metres | None = None  # noqa: N815
    gpsOdometerMeters: Metres | None = None  # noqa: N815


class Place(Struct, frozen=True, gc=False):
    formattedLocation: str | None = None  # noqa: N815


class Spot(Struct, frozen=True, gc=False):
    name: str | None = None


class Gps(Struct, frozen=True, gc=False):
    time: datetime
    latitude: float
    longitude: float
    headingDegrees: float | None = None  # noqa: N815
    speedMilesPerHour: float | None = None  # noqa: N815
    reverseGeo: Place | None = None  # noqa: N815
    address: Spot | None = None
    decorations: Decorations | None = None


class Ids(Struct, frozen=True, gc=False, rename={"vin": "samsara.vin"}):
    vin: str | None = None


class Reading(Struct, frozen=True, gc=False):
    """A reading exactly as it should come; whatever differs is left to `lenient`.

    The keys typed None are read there too, once they hold something.
    """

    id: str
    gps: Gps
    name: str | None = None
    externalIds: Ids | None = None  # noqa: N815
    vin: None = None
    engineStates: None = None  # noqa: N815
    obdOdometerMeters: None = None  # noqa: N815
    gpsOdometerMeters: None = None  # noqa: N815


_reading = msgspec.json.Decoder(Reading).decode


def position(body: bytes) -> Iterable[AnyEvent]:
    """One GPS reading of one vehicle, named by vehicle and time."""
    try:
        told = _reading(body)
    except msgspec.ValidationError:
        return (lenient(reading.loads(body)),)
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    gps, named, name, ids = told.gps, told.id.strip(), told.name, told.externalIds
    at = gps.time
    if at.tzinfo is not UTC or at.year == 1 or not named:
        return (lenient(reading.loads(body)),)
    beside, geo = gps.decorations, gps.reverseGeo
    place = trimmed(geo.formattedLocation) if geo is not None else None
    if place is None and gps.address is not None:
        place = trimmed(gps.address.name)
    turned, state, metres = gps.headingDegrees, None, None
    if beside is not None:
        engine, odometer = beside.engineStates, beside.obdOdometerMeters
        state = None if engine is None else engine.value
        metres = None if odometer is None else odometer.value
        if metres is None and beside.gpsOdometerMeters is not None:
            metres = beside.gpsOdometerMeters.value
    return (
        Position(
            id=f"{named}@{millis(at)}",
            at=at,
            vehicle=named,
            number=trimmed(name),
            vin=None if ids is None else vin_of(ids.vin),
            latitude=gps.latitude,
            longitude=gps.longitude,
            speed_mph=gps.speedMilesPerHour,
            heading_degrees=reading.heading(turned),
            engine_state=state,
            location_description=place,
            odometer=None if metres is None else metres / METRES_PER_MILE,
        ),
    )


def lenient(told: Wire) -> Position:
    """A reading in whatever form; without vehicle, time or place it is a `PayloadError`."""
    named, gps = words(told, "id"), inner(told, "gps")
    if named is None:
        raise PayloadError("id of the vehicle is missing")
    at = moment(gps, "time")
    if at is None:
        why = f"gps.time is missing or unreadable (vehicle {named[:40]})"
        raise PayloadError(why)
    about = f"vehicle {named[:40]}, {stamp(at)}"
    metres = {key: beside(told, gps, key, at) for key in (OBD, GPS)}
    found = figure(metres, OBD, about)
    if found is None:
        found = figure(metres, GPS, about)
    return Position(
        id=f"{named}@{millis(at)}",
        at=at,
        vehicle=named,
        number=words(told, "name"),
        vin=vin(told),
        latitude=figure(gps, "latitude", about),
        longitude=figure(gps, "longitude", about),
        speed_mph=figure(gps, "speedMilesPerHour", about),
        heading_degrees=reading.heading(figure(gps, "headingDegrees", about)),
        engine_state=STATES.get(str(beside(told, gps, ENGINE, at)).strip().lower()),
        location_description=words(inner(gps, "reverseGeo"), "formattedLocation")
        or words(inner(gps, "address"), "name"),
        odometer=None if found is None else found / METRES_PER_MILE,
    )


def beside(told: Wire, gps: Wire, key: str, at: datetime) -> Any:
    """A stat at a fix: its decoration, else the last value up to then in the same page."""
    decorations = inner(gps, "decorations")
    if key in decorations:
        found = objects(decorations, key)[-1:] or [decorations[key]]
        return found[0].get("value") if isinstance(found[0], dict) else found[0]
    series = objects(told, key) or [inner(told, key)]
    timed = ((moment(one, "time"), one.get("value")) for one in series)
    before = [(when, value) for when, value in timed if when is not None and when <= at]
    return max(before, key=lambda one: one[0])[1] if before else None


def figure(gps: Wire, key: str, about: str) -> float | None:
    """A number, or null where nothing is said; anything unreadable is a fault."""
    found = number(gps, key)
    if found is None and not silent(gps.get(key)):
        raise PayloadError(f"gps.{key} is no number ({about})")
    return found
