"""Reveal's directory: vehicles and drivers.

A vehicle's id is its `VehicleNumber`: nothing else stands in a location, a trip or a
push, and every call asks by it. Customers edit it. The VIN of the listing is what joins
the old number and the new one (the `vin` column, `vehicles.csv`); the old one is then
missing from the listing and goes as any removed vehicle does.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetd.errors import PayloadError
from fleetd.event import AnyEvent, Driver, Vehicle, vin_of
from fleetd.providers.reading import flag, texts, words
from fleetd.providers.verizon.wire import UNNUMBERED, person, plain


def vehicle(body: bytes) -> Iterator[AnyEvent]:
    """One vehicle; without a number it is known, and asked for by nobody."""
    unit = plain(body)
    number, vin = words(unit, "vehiclenumber", "number"), words(unit, "vin")
    name = words(unit, "name", "vehiclename")
    ident = number or (f"{UNNUMBERED}{vin or name}" if vin or name else None)
    if ident is None:
        raise PayloadError("a vehicle without VehicleNumber, VIN and Name")
    yield Vehicle(
        id=ident,
        vehicle=ident,
        number=number or name,
        vin=vin_of(vin),
        state="active" if number else "unnumbered",
        make=words(unit, "make"),
        model=words(unit, "model"),
        year=words(unit, "year"),
        plate=words(unit, "registrationnumber", "licenseplate"),
        serial=words(unit, "esn", "serialnumber", "deviceserialnumber"),
        groups=texts(unit, "groups", "vehiclegroups"),
    )


def driver(body: bytes) -> Iterator[AnyEvent]:
    """One driver; the listing holds the active ones."""
    who = plain(body)
    number, name = person({**who, "drivernumber": words(who, "drivernumber", "number")})
    name = name or words(who, "fullname", "name")
    ident = number or (f"{UNNUMBERED}{name}" if name else None)
    if ident is None:
        raise PayloadError("a driver without DriverNumber and name")
    active = flag(who, "isactive", "active", "enabled")
    yield Driver(
        id=ident,
        driver=ident,
        driver_name=name,
        state="inactive" if active is False else "active",
        username=words(who, "username"),
        employee_number=words(who, "employeenumber", "employeeid"),
        phone=words(who, "phonenumber", "mobilephone", "mobilenumber", "phone"),
        email=words(who, "emailaddress", "email"),
        zone=words(who, "timezone"),
        groups=texts(who, "groups", "drivergroups"),
    )
