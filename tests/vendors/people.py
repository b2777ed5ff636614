"""Who and what a simulated fleet is made of: vehicles, drivers, spots, words."""

from __future__ import annotations

import random

from msgspec import Struct

MODELS = (
    ("Freightliner", "Cascadia"),
    ("Kenworth", "T680"),
    ("Peterbilt", "579"),
    ("Volvo", "VNL 760"),
    ("International", "LT625"),
)
FIRST = (
    "Ana", "Ben", "Carla", "Dev", "Elena", "Frank", "Grace", "Hank", "Inés", "Jorge",
    "Kim", "Luis", "Maya", "Nate", "Olga", "Pedro", "Quinn", "Rosa", "Sam", "Tess",
    "Umar", "Vera", "Walt", "Ximena", "Yusuf", "Zoë",
)  # fmt: skip
LAST = (
    "Alvarez", "Brandt", "Castro", "Dhillon", "Evans", "Fonseca", "García", "Hughes",
    "Ibarra", "Jensen", "Kaur", "O'Neil", "van Dyk",
)  # fmt: skip
TOWNS = (
    "Galt", "Lodi", "Tracy", "Manteca", "Escalon", "Oakdale", "Ripon", "Modesto",
    "Turlock", "Livingston", "Merced", "Peñasco", "Los Banos", "Patterson", "Newman",
)  # fmt: skip
CENTRE = (37.70, -121.10)
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"  # a VIN has no I, O and Q
WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
VALUES = dict(
    zip(
        "ABCDEFGHJKLMNPRSTUVWXYZ",
        (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9),
        strict=True,
    )
)
HARSH = (
    ("harsh_brake", "medium", 0.52),
    ("harsh_acceleration", "low", 0.41),
    ("harsh_turn", "low", 0.47),
    ("speeding", "medium", 0.1),
    ("harsh_brake", "high", 0.71),
    ("speeding", "severe", 0.1),
    ("crash", "severe", 2.1),
    ("sos", "severe", 0.0),
)
FAULTS = (
    (111, 1, "SPN 111 FMI 1", "Engine coolant level low"),
    (5246, 0, "SPN 5246 FMI 0", "SCR operator inducement severe"),
    (3251, 2, "SPN 3251 FMI 2", "DPF differential pressure erratic"),
    (190, 16, "SPN 190 FMI 16", "Engine speed high"),
)
DEFECTS = ("Air compressor", "Mirrors", "Tires", "Horn", "Lights")


class Unit(Struct, frozen=True):
    """`metric` asks for km; `bare` is listed by its vendor with next to nothing."""

    n: int
    number: str
    vin: str
    plate: str
    make: str
    model: str
    year: int
    serial: str
    metric: bool
    bare: bool


class Person(Struct, frozen=True):
    n: int
    first: str
    last: str
    username: str
    phone: str
    licence: str

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


class Spot(Struct, frozen=True):
    """A yard (0 to 3) or a customer, with a round fence."""

    n: int
    name: str
    address: str
    town: str
    lat: float
    lon: float
    radius_m: int
    yard: bool


def make_unit(seed: int, n: int) -> Unit:
    chance = random.Random(f"unit {seed} {n}")
    make, model = chance.choice(MODELS)
    letters = "".join(chance.choices(LETTERS, k=8))
    return Unit(
        n=n,
        number=f"T-{101 + n}",
        vin=with_check_digit(f"1F{letters[:6]}_{letters[6:]}{n:06}"),
        plate=f"9{''.join(chance.choices('ABCDEFGHJKLMNPRSTUVWXYZ', k=2))}{n:04}",
        make=make,
        model=model,
        year=chance.randrange(2016, 2026),
        serial=f"G{''.join(chance.choices(LETTERS, k=5))}{n:06}",
        metric=False,
        bare=n % 17 == 16,
    )


def with_check_digit(vin: str) -> str:
    """A VIN with its ninth place worked out."""
    total = sum(
        weight * (int(one) if one.isdigit() else VALUES.get(one, 0))
        for weight, one in zip(WEIGHTS, vin, strict=True)
        if one != "_"
    )
    return vin.replace("_", "X" if total % 11 == 10 else str(total % 11))


def make_person(seed: int, n: int) -> Person:
    chance = random.Random(f"person {seed} {n}")
    first, last = FIRST[n % len(FIRST)], LAST[(n * 4 + n // 26) % len(LAST)]
    return Person(
        n=n,
        first=first,
        last=last,
        username=f"{first}.{last}.{n}".lower().replace(" ", "").replace("'", ""),
        phone=f"+1209555{n:04}",
        licence=f"D{chance.randrange(10**7):07}",
    )


def make_spot(seed: int, n: int) -> Spot:
    chance = random.Random(f"spot {seed} {n}")
    town, yard = TOWNS[n % len(TOWNS)], n < 4
    return Spot(
        n=n,
        name=f"{town} {'Yard' if yard else 'Depot' if n % 2 else 'Market'} {n}",
        address=f"{chance.randrange(1, 9900)} {chance.choice(LAST)} Rd, {town}, CA 95{n:03}, USA",
        town=town,
        lat=round(CENTRE[0] + chance.uniform(-0.2, 0.2), 6),
        lon=round(CENTRE[1] + chance.uniform(-0.25, 0.25), 6),
        radius_m=300 if yard else 180,
        yard=yard,
    )
