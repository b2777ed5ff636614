"""The demo fleet's land: towns, roads, yards and customers of an invented valley."""

from __future__ import annotations

import math
from functools import cache
from hashlib import blake2b
from itertools import pairwise

from msgspec import Struct

METRES_PER_DEGREE = 111_320.0
KPH = 1 / 3.6
SPACING = 2_000.0  # metres between two points of a road
YARD_FENCE, CUSTOMER_FENCE = 300.0, 180.0
TURN_DEGREES = 35.0


def draw(*what: object) -> float:
    """A number in [0, 1) that is always the same for the same words."""
    digest = blake2b(repr(what).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class Town(Struct, frozen=True):
    name: str
    lat: float
    lon: float


class Site(Struct, frozen=True):
    """A yard or a customer: it lies off the road, so that passing is not entering."""

    id: str
    name: str
    address: str
    lat: float
    lon: float
    radius: float
    yard: bool


class Path(Struct, frozen=True):
    """A way from site to site: points, metres along, and for each piece what holds."""

    lats: tuple[float, ...]
    lons: tuple[float, ...]
    along: tuple[float, ...]
    headings: tuple[float, ...]
    limits: tuple[float, ...]
    labels: tuple[str, ...]
    lights: frozenset[int]
    turns: frozenset[int]

    @property
    def metres(self) -> float:
        return self.along[-1]

    @property
    def nominal_s(self) -> float:
        """How long it takes on a day when nothing happens."""
        pieces = zip(self.along, self.along[1:], self.limits, strict=False)
        return sum((upto - since) / (limit * 0.92) for since, upto, limit in pieces)


TOWNS = {
    "SAC": Town("Sacramento", 38.545, -121.465),
    "ELK": Town("Elk Grove", 38.409, -121.371),
    "GAL": Town("Galt", 38.255, -121.300),
    "LOD": Town("Lodi", 38.130, -121.265),
    "STK": Town("Stockton", 37.957, -121.262),
    "TRA": Town("Tracy", 37.739, -121.425),
    "MAN": Town("Manteca", 37.797, -121.216),
    "ESC": Town("Escalon", 37.797, -120.997),
    "OAK": Town("Oakdale", 37.766, -120.847),
    "RIP": Town("Ripon", 37.742, -121.124),
    "MOD": Town("Modesto", 37.639, -120.997),
    "TUR": Town("Turlock", 37.494, -120.846),
    "LIV": Town("Livingston", 37.387, -120.724),
    "MER": Town("Merced", 37.302, -120.483),
    "CHO": Town("Chowchilla", 37.123, -120.260),
    "MAD": Town("Madera", 36.961, -120.060),
    "FRE": Town("Fresno", 36.737, -119.787),
    "SEL": Town("Selma", 36.571, -119.612),
    "VIS": Town("Visalia", 36.330, -119.330),
    "TUL": Town("Tulare", 36.207, -119.347),
    "DEL": Town("Delano", 35.769, -119.247),
    "BAK": Town("Bakersfield", 35.373, -119.019),
    "HAN": Town("Hanford", 36.327, -119.646),
    "LEM": Town("Lemoore", 36.300, -119.783),
    "KET": Town("Kettleman City", 36.008, -119.962),
    "KER": Town("Kerman", 36.724, -120.060),
    "MDT": Town("Mendota", 36.753, -120.381),
    "LBN": Town("Los Banos", 37.058, -120.850),
    "SNL": Town("Santa Nella", 37.095, -121.017),
    "GIL": Town("Gilroy", 37.006, -121.568),
    "NEW": Town("Newman", 37.314, -121.060),
    "PAT": Town("Patterson", 37.471, -121.170),
}
ROADS = (
    ("CA-99", 89, "SAC ELK GAL LOD STK MAN RIP MOD TUR LIV MER CHO MAD FRE SEL"),
    ("CA-99", 89, "SEL VIS TUL DEL BAK"),
    ("I-5", 89, "STK TRA PAT NEW SNL"),
    ("CA-152", 80, "GIL SNL LBN CHO"),
    ("CA-120", 80, "MAN ESC OAK"),
    ("CA-198", 80, "VIS HAN LEM"),
    ("CA-41", 80, "FRE LEM KET"),
    ("CA-180", 80, "FRE KER MDT"),
    ("CA-33", 80, "MDT LBN"),
)
CUSTOMERS = {
    "SAC": "Riverbend Distribution",
    "ELK": "Cosumnes Building Supply",
    "LOD": "Mokelumne Cold Storage",
    "TRA": "Altamont Cross-Dock",
    "ESC": "Eastside Feed & Grain",
    "OAK": "Knights Ferry Dairy",
    "MOD": "Tuolumne Almond Works",
    "TUR": "Stanislaus Poultry",
    "MER": "Bear Creek Packing",
    "MAD": "Fresno River Vintners",
    "SEL": "Raisin City Warehouse",
    "VIS": "Kaweah Citrus",
    "DEL": "Poso Creek Table Grapes",
    "BAK": "Kern Delta Pipe & Steel",
    "HAN": "Kings County Creamery",
    "KET": "Interstate Fuel Depot",
    "KER": "Westlands Cotton Gin",
    "MDT": "Panoche Melon Sheds",
    "LBN": "Grassland Tomato",
    "SNL": "Pacheco Truck Plaza",
    "GIL": "South Valley Garlic",
    "NEW": "Orestimba Cannery",
    "PAT": "Del Puerto Logistics",
}
YARDS = {"STK": "Stockton Yard", "FRE": "Fresno Yard"}
TOURS = {
    "STK": (
        "STK LOD* GAL ELK* SAC* ELK GAL LOD STK*",
        "STK MAN RIP MOD* TUR LIV MER* LIV TUR* MOD RIP MAN STK*",
        "STK TRA* PAT NEW* SNL LBN* SNL NEW PAT* TRA STK*",
        "STK MAN ESC* OAK* ESC MAN STK*",
        "STK MAN RIP MOD TUR LIV MER CHO MAD* FRE* MAD CHO MER* LIV TUR MOD RIP MAN STK*",
        "STK TRA PAT NEW SNL* GIL* SNL NEW* PAT TRA STK*",
    ),
    "FRE": (
        "FRE SEL* VIS TUL DEL* BAK* DEL TUL VIS* SEL FRE*",
        "FRE KER* MDT* LBN* CHO MAD FRE*",
        "FRE MAD* CHO MER* LIV TUR MOD* TUR LIV MER CHO MAD FRE*",
        "FRE LEM KET* LEM HAN* VIS* SEL FRE*",
        "FRE MAD CHO MER LIV TUR MOD RIP MAN STK* MAN RIP MOD TUR* LIV MER CHO MAD FRE*",
    ),
}


def apart(lat: float, lon: float, lat2: float, lon2: float) -> tuple[float, float]:
    """How many metres north and east the second point lies of the first."""
    east = (lon2 - lon) * math.cos(math.radians((lat + lat2) / 2))
    return (lat2 - lat) * METRES_PER_DEGREE, east * METRES_PER_DEGREE


def moved(lat: float, lon: float, north: float, east: float) -> tuple[float, float]:
    """The point so many metres away."""
    stretch = METRES_PER_DEGREE * math.cos(math.radians(lat))
    return lat + north / METRES_PER_DEGREE, lon + east / stretch


@cache
def site_at(town: str) -> Site:
    """The one site of a town, a mile or so from its junction."""
    yard = town in YARDS
    angle, far = 2 * math.pi * draw("angle", town), 900 + 1_200 * draw("far", town)
    middle = TOWNS[town]
    lat, lon = moved(
        middle.lat, middle.lon, far * math.cos(angle), far * math.sin(angle)
    )
    number = 100 + int(8_900 * draw("number", town))
    return Site(
        id=f"site-{town.lower()}",
        name=YARDS.get(town) or CUSTOMERS[town],
        address=f"{number} Industrial Way, {middle.name}, CA",
        lat=round(lat, 6),
        lon=round(lon, 6),
        radius=YARD_FENCE if yard else CUSTOMER_FENCE,
        yard=yard,
    )


def sites() -> list[Site]:
    """Every yard and customer."""
    return [site_at(town) for town in (*YARDS, *CUSTOMERS)]


@cache
def legs_of(tour: str) -> tuple[tuple[Site, Site, Path], ...]:
    """A tour as its drives: from, to, and the way between them."""
    towns = tour.split()
    found, since = [], 0
    for place, town in enumerate(towns):
        if town.endswith("*"):
            names = [one.rstrip("*") for one in towns[since : place + 1]]
            ends = site_at(names[0]), site_at(names[-1])
            found.append((*ends, path(tuple(names))))
            since = place
    return tuple(found)


Point = tuple[float, float]


@cache
def path(towns: tuple[str, ...]) -> Path:
    """From the first town's site by its junction, down the roads, to the last one's."""
    points: list[Point] = list(reversed(_lane(towns[0])))
    told = [(50 * KPH, TOWNS[towns[0]].name)] * (len(points) - 1)
    lights = {len(points) - 1}
    for here, there in pairwise(towns):
        name, limit, bends = _road(here, there)
        half = len(bends) // 2
        points += bends[1:]
        told += [
            (limit * KPH, f"{name} near {TOWNS[here if n < half else there].name}")
            for n in range(len(bends) - 1)
        ]
    lights.add(len(points) - 1)
    points += _lane(towns[-1])[1:]
    told += [(50 * KPH, TOWNS[towns[-1]].name)] * (len(points) - 1 - len(told))
    return _surveyed(points, told, frozenset(lights))


def _surveyed(
    points: list[Point], told: list[tuple[float, str]], lights: frozenset[int]
) -> Path:
    along, headings = [0.0], []
    for (lat, lon), (lat2, lon2) in pairwise(points):
        north, east = apart(lat, lon, lat2, lon2)
        along.append(along[-1] + math.hypot(north, east))
        headings.append(math.degrees(math.atan2(east, north)) % 360)
    turns = {
        n + 1
        for n, (one, two) in enumerate(pairwise(headings))
        if abs((two - one + 180) % 360 - 180) > TURN_DEGREES
    }
    return Path(
        lats=tuple(lat for lat, _ in points),
        lons=tuple(lon for _, lon in points),
        along=tuple(along),
        headings=tuple(headings),
        limits=tuple(limit for limit, _ in told),
        labels=tuple(label for _, label in told),
        lights=lights,
        turns=frozenset(turns),
    )


def _lane(town: str) -> list[Point]:
    """From a town's junction to its site, round one corner."""
    middle, site = TOWNS[town], site_at(town)
    corner = (middle.lat, (middle.lon + site.lon * 2) / 3)
    return [(middle.lat, middle.lon), corner, (site.lat, site.lon)]


def _road(here: str, there: str) -> tuple[str, float, list[Point]]:
    """A road between neighbours; the way back is the same road."""
    for name, limit, along in ROADS:
        towns = along.split()
        for one, two in pairwise(towns):
            if (one, two) == (here, there):
                return name, limit, list(_bends(one, two))
            if (two, one) == (here, there):
                return name, limit, list(reversed(_bends(one, two)))
    raise LookupError(f"no road from {here} to {there}")


@cache
def _bends(one: str, two: str) -> tuple[Point, ...]:
    """A gentle, invented curve from town to town."""
    a, b = TOWNS[one], TOWNS[two]
    north, east = apart(a.lat, a.lon, b.lat, b.lon)
    length = math.hypot(north, east)
    count = max(2, round(length / SPACING))
    wide = length * 0.03 * (draw("bow", one, two) - 0.5)
    small = length * 0.012 * (draw("wave", one, two) - 0.5)
    points = []
    for n in range(count + 1):
        done = n / count
        side = wide * math.sin(math.pi * done) + small * math.sin(5 * math.pi * done)
        points.append(
            moved(
                a.lat + (b.lat - a.lat) * done,
                a.lon + (b.lon - a.lon) * done,
                -side * east / length,
                side * north / length,
            )
        )
    return tuple(points)
