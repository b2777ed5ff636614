"""LocoNav's vehicles, drivers, places and trips, as it lists them.

Of who drives what it lists no times: an assignment stands in a driver's own page, as it
is now and nothing of since when, so no fact is made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from fleetd.errors import PayloadError
from fleetd.event import MPH_PER_KPH, AnyEvent, Driver, Place, Trip, Vehicle, vin_of
from fleetd.providers import reading
from fleetd.providers.loconav.told import moment_in, point, short_id, vehicle_of
from fleetd.providers.reading import Wire, flag, inner, number, snake, words

PRIVATE = (  # of a driver, and nobody's business here
    "aadharNumber", "licenseNumber", "guarantorName", "guarantorPhoneNumber",
    "rfidTrackingId", "uploads",
)  # fmt: skip
SECRETS = frozenset(PRIVATE) | {snake(one) for one in PRIVATE}  # they write both
STATES = {
    "1": "initialized", "2": "trashed", "3": "ongoing", "4": "delayed",
    "5": "unsuccessful", "6": "completed",
}  # fmt: skip
BEGUN = frozenset({"ongoing", "delayed", "unsuccessful", "completed"})


def needed(record: Wire, *names: str) -> str:
    """The id without which a directory record says nothing about anybody."""
    found = words(record, *names)
    if found is None:
        raise PayloadError(f"{names[0]} is missing")
    return found


def vehicle(zone: tzinfo, body: bytes) -> Iterator[AnyEvent]:
    """A vehicle under its number, the one name that pushes know as well.

    `number` is the registration; blocks that LocoNav does not know it leaves out, and
    `model` comes as an integer at times.
    """
    told = reading.loads(body, SECRETS)
    named = needed(told, "number", "vehicleNumber", "vehicle_number")
    device = inner(told, "currentDevice", "current_device")
    active = flag(told, "status")
    yield Vehicle(
        id=short_id(named, body),
        at=moment_in(zone, told.get("updatedAt")),
        vehicle=short_id(named, body),
        number=named,
        vin=vin_of(words(told, "chassisNumber", "chassis_number")),
        state=None if active is None else "active" if active else "inactive",
        make=words(told, "make"),
        model=words(told, "model"),
        plate=named,
        serial=words(device, "serialNumber", "serial_number")
        or words(told, "deviceId"),
        since=moment_in(zone, told.get("createdAt")),
    )


def driver(zone: tzinfo, body: bytes) -> Iterator[AnyEvent]:
    """A driver; the text of the documents writes `phone_number`, their example does not."""
    told = reading.loads(body, SECRETS)
    named = short_id(needed(told, "id"), body)
    yield Driver(
        id=named,
        at=moment_in(zone, told.get("updatedAt")),
        driver=named,
        driver_name=words(told, "name"),
        phone=words(told, "phoneNumber", "phone_number"),
    )


def site(zone: tzinfo, body: bytes) -> Iterator[AnyEvent]:
    """A geofence: its centre as texts, its radius in metres, `updatedAt` in ms."""
    told = reading.loads(body)
    where = point(told.get("lat"), told.get("long", told.get("lng")))
    category = words(told, "geofenceCategory")
    yield Place(
        id=short_id(needed(told, "id"), body),
        at=moment_in(zone, told.get("updatedAt")),
        name=words(told, "name"),
        address=words(told, "address"),
        latitude=where[0],
        longitude=where[1],
        radius_metres=number(told, "radius"),
        groups=(category,) if category else (),
    )


def trip(zone: tzinfo, body: bytes) -> Iterator[AnyEvent]:
    """A dispatched trip: each change of it is a revision, `type` is its state.

    LocoNav lists when it should start; that counts as its start once it has begun, and
    is flagged, unless the record says when it truly did.
    """
    told = reading.loads(body)
    state = state_of(told)
    planned = moment_in(zone, told.get("shouldStartTs"))
    began = first(zone, told, "startedTs", "startTs", "startedAt", "actualStartTs")
    ended = first(zone, told, "endedTs", "endTs", "endedAt", "completedTs")
    started = began or (planned if state in BEGUN else None)
    whose, number_ = vehicle_of(told)
    person, km = inner(told, "driver"), number(told, "distance", "distanceTravelled")
    made = moment_in(zone, told.get("createdAt"))
    yield Trip(
        id=short_id(needed(told, "id", "uniqueId"), body),
        at=started or made or planned,
        vehicle=whose,
        number=number_,
        driver=words(person, "id") or words(told, "driverId"),
        driver_name=words(person, "name"),
        type=state,
        started_at=started,
        ended_at=ended,
        distance_miles=None if km is None else km * MPH_PER_KPH,
        duration_s=lasted(began, ended),
        start_place=words(told, "sourceName") or stop(told, 0),
        end_place=words(told, "destinationName") or stop(told, -1),
        flags=("start_planned",) if started is not None and began is None else (),
    )


def state_of(told: Wire) -> str | None:
    """The state as a word, also where it comes as its number."""
    said = words(told, "state")
    return None if said is None else STATES.get(said, snake(said) or None)


def first(zone: tzinfo, told: Wire, *names: str) -> datetime | None:
    """The first of these keys that holds a time."""
    for name in names:
        found = moment_in(zone, told.get(name))
        if found is not None:
            return found
    return None


def lasted(began: datetime | None, ended: datetime | None) -> float | None:
    if began is None or ended is None or ended < began:
        return None
    return (ended - began).total_seconds()


def stop(told: Wire, which: int) -> str | None:
    """The name of the first or the last of its check points."""
    stops = reading.objects(told, "checkPoints")
    if not stops:
        return None
    return words(stops[which], "name", "geofenceName", "address")
