"""Samsara's directory records: vehicles, drivers and addresses."""

from __future__ import annotations

from fleetd.errors import PayloadError
from fleetd.event import Driver, Place, Vehicle
from fleetd.providers.reading import (
    Wire,
    flag,
    inner,
    moment,
    number,
    objects,
    texts,
    words,
)
from fleetd.providers.samsara.told import Told, driver_of, vin


def vehicle(told: Told) -> Vehicle:
    """A unit of the fleet. Samsara's own numbers need no units of the vehicle."""
    unit = inner(told.data, "vehicle") or told.data
    named = needed(unit, "vehicle.id")
    ids, assigned = inner(unit, "externalIds"), inner(unit, "staticAssignedDriver")
    serial = words(unit, "serial") or words(inner(unit, "gateway"), "serial")
    serial = serial or words(ids, "samsara.serial")
    return Vehicle(
        id=named,
        at=moment(unit, "updatedAtTime") or told.at,
        revision=told.revision_of(unit),
        vehicle=named,
        number=words(unit, "name"),
        vin=vin(unit),
        make=words(unit, "make"),
        model=words(unit, "model"),
        year=words(unit, "year"),
        plate=words(unit, "licensePlate"),
        serial=serial and serial.replace("-", ""),
        groups=tags_of(unit),
        since=moment(unit, "createdAtTime"),
        **driver_of(assigned),
    )


def tags_of(unit: Wire) -> tuple[str, ...]:
    """Its tags by name and by id: a source may be narrowed by either."""
    ids = (words(one, "id") for one in objects(unit, "tags"))
    return tuple(dict.fromkeys((*texts(unit, "tags"), *filter(None, ids))))


def driver(told: Told) -> Driver:
    """A driver; a deactivated one is still known, `state` says so."""
    person = inner(told.data, "driver") or told.data
    named = needed(person, "driver.id")
    return Driver(
        id=named,
        at=moment(person, "updatedAtTime") or told.at,
        revision=told.revision_of(person),
        driver=named,
        driver_name=words(person, "name"),
        state=words(person, "driverActivationStatus") or gone(person),
        username=words(person, "username"),
        phone=words(person, "phone"),
        email=words(person, "email"),
        zone=words(person, "timezone"),
        groups=texts(person, "tags"),
        role="driver",
    )


def gone(person: Wire) -> str | None:
    """The same where only the older flag says it."""
    sent_away = flag(person, "isDeactivated")
    return None if sent_away is None else "deactivated" if sent_away else "active"


def place(told: Told) -> Place:
    """An address with its fence; a polygon's centre is the middle of its corners."""
    spot = inner(told.data, "address") or told.data
    circle = inner(inner(spot, "geofence"), "circle")
    latitude, longitude = number(spot, "latitude"), number(spot, "longitude")
    if latitude is None or longitude is None:
        latitude, longitude = centre(spot, circle)
    return Place(
        id=needed(spot, "address.id"),
        at=moment(spot, "updatedAtTime") or told.at,
        revision=told.revision_of(spot),
        name=words(spot, "name"),
        address=words(spot, "formattedAddress"),
        latitude=latitude,
        longitude=longitude,
        radius_metres=number(circle, "radiusMeters"),
        groups=texts(spot, "tags"),
        removed=told.type == "address_deleted",
    )


def centre(spot: Wire, circle: Wire) -> tuple[float | None, float | None]:
    """The middle of the fence."""
    polygon = inner(inner(spot, "geofence"), "polygon")
    corners = objects(polygon, "vertices") or [circle]
    lats = [at for one in corners if (at := number(one, "latitude")) is not None]
    lons = [at for one in corners if (at := number(one, "longitude")) is not None]
    return middle(lats), middle(lons)


def middle(found: list[float]) -> float | None:
    """The mean, if there is any."""
    return sum(found) / len(found) if found else None


def needed(thing: Wire, name: str) -> str:
    """The id without which a directory record says nothing about anybody."""
    found = words(thing, "id")
    if found is None:
        raise PayloadError(f"{name} is missing")
    return found
