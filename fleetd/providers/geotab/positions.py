"""Where Geotab's vehicles were: the full track, and the state that has a heading.

A `LogRecord` has no heading; `DeviceStatusInfo` has one, and the driver, but no id. Both
are named by vehicle and time, so that what they say of the same moment is one event.
The state's time is that of the newest datum of any sort, which its place may be older
than: it is polled only where the config asks for it, and its fixes are flagged.
Fields: https://developers.geotab.com/myGeotab/apiReference/objects/LogRecord and
https://developers.geotab.com/myGeotab/apiReference/objects/DeviceStatusInfo
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from fleetd.errors import PayloadError
from fleetd.event import MILES_PER_METRE, AnyEvent, Position, millis
from fleetd.providers import reading
from fleetd.providers.geotab.people import (
    NOBODY,
    SECRETS,
    moment_of,
    mph,
    numeral,
    person,
    refers,
    vehicle_of,
)
from fleetd.providers.reading import Wire, flag, moment, objects

LAST_KNOWN = "last_known"
MOVES_KPH = 5.0  # above it the engine runs; a standing vehicle may do either
FRESH = timedelta(minutes=10)  # how far a reading may lie from the fix it is told with
ODOMETERS = frozenset({"DiagnosticOdometerId", "DiagnosticOdometerAdjustmentId"})


class Device(Struct, frozen=True):
    id: str


class Log(Struct, frozen=True, rename="camel"):
    """A point exactly as it should come; whatever differs is left to `lenient`."""

    device: Device
    date_time: datetime
    latitude: float
    longitude: float
    speed: float | None = None


_log = msgspec.json.Decoder(Log).decode


def position(body: bytes) -> Iterator[AnyEvent]:
    """A `LogRecord`: a point of the track, without a heading; its speed is km/h."""
    try:
        log = _log(body)
    except msgspec.ValidationError:
        yield lenient(reading.loads(body, SECRETS))
        return
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not JSON: {reading.short(bad)}") from bad
    at, vehicle, speed = log.date_time, log.device.id.strip(), log.speed
    if at.tzinfo is not UTC or at.year == 1 or not vehicle or NOBODY.fullmatch(vehicle):
        yield lenient(reading.loads(body, SECRETS))
        return
    yield Position(
        id=f"{vehicle}@{millis(at)}",
        at=at,
        vehicle=vehicle,
        latitude=log.latitude,
        longitude=log.longitude,
        speed_mph=mph(speed),
        engine_state="On" if speed is not None and speed > MOVES_KPH else None,
    )


def lenient(told: Wire) -> Position:
    """A point in whatever form; without vehicle or time it is a `PayloadError`."""
    vehicle = vehicle_of(told)
    at = moment_of(told, "dateTime", vehicle)
    speed = numeral(told, "speed", vehicle, at)
    return Position(
        id=f"{vehicle}@{millis(at)}",
        at=at,
        vehicle=vehicle,
        latitude=numeral(told, "latitude", vehicle, at),
        longitude=numeral(told, "longitude", vehicle, at),
        speed_mph=mph(speed),
        engine_state="On" if speed is not None and speed > MOVES_KPH else None,
    )


def status(body: bytes) -> Iterator[AnyEvent]:
    """A `DeviceStatusInfo`: the last known state of a vehicle.

    Its driver may be only the last one there was, and then drives no more.
    """
    told = reading.loads(body, SECRETS)
    fix = lenient(told)
    assert fix.vehicle is not None
    assert fix.at is not None
    bearing = numeral(told, "bearing", fix.vehicle, fix.at)
    known = bearing is not None and bearing >= 0  # below zero: unknown
    past = flag(told, "isHistoricLastDriver")
    whose = {} if past else person(told)
    yield msgspec.structs.replace(
        fix,
        heading_degrees=reading.heading(bearing) if known else None,
        engine_state="On" if flag(told, "isDriving") else fix.engine_state,
        odometer=odometer(told, fix.at),
        flags=(LAST_KNOWN,),
        **whose,
    )


def odometer(told: Wire, at: datetime) -> float | None:
    """Miles, where the state brings a reading of about the same time."""
    for one in objects(told, "statusData"):
        metres, read = reading.number(one, "data"), moment(one, "dateTime")
        fresh = read is None or abs(read - at) <= FRESH
        if fresh and metres is not None and refers(one, "diagnostic") in ODOMETERS:
            return metres * MILES_PER_METRE
    return None
