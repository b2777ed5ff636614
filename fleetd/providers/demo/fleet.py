"""Who and what the demo fleet is: vehicles, drivers, sites."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from fleetd.providers.demo.land import YARDS, draw, sites
from fleetd.providers.demo.plan import BY_DAY, BY_NIGHT, VEHICLES, shift_of
from fleetd.providers.demo.wire import Person, Spot, Unit

DRIVERS = VEHICLES + VEHICLES - BY_DAY - BY_NIGHT
SINCE = datetime(2025, 1, 1, tzinfo=UTC)
MODELS = (
    ("Freightliner", "Cascadia"),
    ("Kenworth", "T680"),
    ("Peterbilt", "579"),
    ("Volvo", "VNL 760"),
    ("International", "LT625"),
)
FIRST = (
    "Ana", "Ben", "Carla", "Dev", "Elena", "Frank", "Grace", "Hank", "Ines", "Jorge",
    "Kim", "Luis", "Maya", "Nate", "Olga", "Pedro", "Quinn", "Rosa", "Sam", "Tess",
    "Umar", "Vera", "Walt", "Ximena", "Yusuf", "Zoe", "Arlo", "Bea", "Cruz", "Dina",
    "Emil", "Faye", "Gus", "Hope", "Ivan",
)  # fmt: skip
LAST = (
    "Alvarez", "Brandt", "Castro", "Dhillon", "Evans", "Fonseca", "Garcia", "Hughes",
    "Ibarra", "Jensen", "Kaur",
)  # fmt: skip
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"  # a VIN has no I, O and Q


def vehicle_id(vehicle: int) -> str:
    return f"demo-{4101 + vehicle * 7}"


def number_of(vehicle: int) -> str:
    return f"T-{101 + vehicle}"


def driver_id(driver: int) -> str:
    return f"driver-{201 + driver}"


@cache
def name_of(driver: int) -> str:
    return f"{FIRST[driver % len(FIRST)]} {LAST[driver * 4 % len(LAST)]}"


@cache
def units() -> list[Unit]:
    """The 25 vehicles."""
    return [_unit(vehicle) for vehicle in range(VEHICLES)]


@cache
def people() -> list[Person]:
    """The drivers: one or two a vehicle."""
    homes = {
        driver: YARDS[shift_of(vehicle).yard]
        for vehicle in range(VEHICLES)
        for driver in shift_of(vehicle).drivers
    }
    return [
        Person(
            id=driver_id(driver),
            name=name_of(driver),
            username=name_of(driver).lower().replace(" ", "."),
            employee_number=f"E{3001 + driver * 13}",
            phone=f"+1 209 555 01{driver:02}",
            group=homes[driver],
        )
        for driver in range(DRIVERS)
    ]


@cache
def spots() -> list[Spot]:
    """The yards and the customers."""
    return [
        Spot(
            id=site.id,
            name=site.name,
            address=site.address,
            lat=site.lat,
            lon=site.lon,
            radius_m=site.radius,
            group="yards" if site.yard else "customers",
        )
        for site in sites()
    ]


def _unit(vehicle: int) -> Unit:
    make, model = MODELS[int(len(MODELS) * draw("model", vehicle))]
    letters = [LETTERS[int(len(LETTERS) * draw("vin", vehicle, n))] for n in range(9)]
    serial = 100_000 + int(900_000 * draw("serial", vehicle))
    return Unit(
        id=vehicle_id(vehicle),
        unit=number_of(vehicle),
        vin=f"1D{''.join(letters)}{serial:06}",
        make=make,
        model=model,
        year=str(2017 + int(8 * draw("year", vehicle))),
        plate=f"9{''.join(letters[:3])}{serial % 1000:03}",
        serial=f"DEMO{serial}",
        group=YARDS[shift_of(vehicle).yard],
        since=SINCE,
    )
