"""Geotab's devices, users and zones as vehicles, drivers and places.

Fields: https://developers.geotab.com/myGeotab/apiReference/objects/Device
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fleetd.event import AnyEvent, Driver, Place, Vehicle, vin_of
from fleetd.providers.geotab.people import (
    SECRETS,
    full_name,
    reference,
    required,
    standing,
)
from fleetd.providers.reading import Wire, flag, loads, moment, number, objects, words

METRES_PER_DEGREE = 111_320.0


def vehicle(body: bytes) -> Iterator[AnyEvent]:
    """A `Device`: its VIN is the one typed in, else what the engine says (`?`: nothing)."""
    told = loads(body, SECRETS)
    named = required(told, "id")
    typed = vin_of(words(told, "vehicleIdentificationNumber"))
    yield Vehicle(
        id=named,
        vehicle=named,
        number=words(told, "name"),
        vin=typed or vin_of(words(told, "engineVehicleIdentificationNumber")),
        state=standing(told),
        make=words(told, "vinInfoMake"),
        model=words(told, "vinInfoModel"),
        year=words(told, "vinInfoYear"),
        plate=words(told, "licensePlate"),
        serial=words(told, "serialNumber"),
        groups=groups(told, "groups"),
        since=moment(told, "activeFrom"),
    )


def driver(body: bytes) -> Iterator[AnyEvent]:
    """A `User`, by name where one was typed in; `role` tells drivers from the others."""
    told = loads(body, SECRETS)
    named = required(told, "id")
    login = words(told, "name")
    yield Driver(
        id=named,
        driver=named,
        driver_name=full_name(told),
        state=standing(told),
        username=login,
        employee_number=words(told, "employeeNo"),
        phone=words(told, "phoneNumber"),
        email=login if login and "@" in login else None,
        zone=words(told, "timeZoneId"),
        groups=groups(told, "driverGroups", "companyGroups"),
        role="driver" if flag(told, "isDriver") else "user",
    )


def place(body: bytes) -> Iterator[AnyEvent]:
    """A `Zone`: the middle of its outline, and how far that reaches."""
    told = loads(body, SECRETS)
    latitude, longitude, reach = circle(told)
    yield Place(
        id=required(told, "id"),
        name=words(told, "name"),
        address=words(told, "address", "comment"),
        latitude=latitude,
        longitude=longitude,
        radius_metres=reach,
        groups=groups(told, "groups"),
    )


def groups(told: Wire, *names: str) -> tuple[str, ...]:
    """The ids of the groups something is in."""
    for name in names:
        value = told.get(name)
        if isinstance(value, list) and value:
            found = (reference(one) for one in value)
            return tuple(one for one in found if one)
    return ()


def circle(told: Wire) -> tuple[float | None, float | None, float | None]:
    """Latitude, longitude and metres of the circle around an outline's points."""
    points = [
        (y, x)
        for one in objects(told, "points")
        if (y := number(one, "y")) is not None and (x := number(one, "x")) is not None
    ]
    if not points:
        return None, None, None
    ys, xs = [y for y, _ in points], [x for _, x in points]
    latitude, longitude = (min(ys) + max(ys)) / 2, (min(xs) + max(xs)) / 2
    flat = math.cos(math.radians(latitude))
    reach = max(
        math.hypot(y - latitude, (x - longitude) * flat) * METRES_PER_DEGREE
        for y, x in points
    )
    return round(latitude, 7), round(longitude, 7), round(reach, 1)
