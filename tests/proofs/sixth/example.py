"""Example: a vendor of the tests' own, and the whole of what adding a sixth one takes.

It lists vehicles in numbered pages, has a feed of fixes whose cursor is a time, a history
of fixes by day, and pushes each fix signed with HMAC-SHA256 over the body.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import PayloadError
from fleetd.event import (
    MILES_PER_METRE,
    MPH_PER_KPH,
    AnyEvent,
    Position,
    Record,
    Vehicle,
)
from fleetd.providers.contract import (
    Ask,
    Feed,
    Limits,
    Page,
    Past,
    Probe,
    Provider,
    Turn,
    Unpacked,
    Webhook,
)
from fleetd.providers.signing import check_hmac, from_hex
from fleetd.providers.windows import place, went_on, window
from fleetd.web import Request

SIGNATURE = "x-example"


class Fixes(Struct, frozen=True):
    """A page of fixes; none of its keys may be missing."""

    fixes: list[Raw]
    next: str
    more: bool


class Units(Struct, frozen=True):
    vehicles: list[Raw]
    more: bool


class Fix(Struct, frozen=True):
    vehicle: str
    time: datetime
    lat: float
    lon: float
    kph: float | None = None
    heading: float | None = None
    engine: str | None = None
    metres: float | None = None


class Unit(Struct, frozen=True):
    id: str
    unit: str | None = None
    vin: str | None = None


def read(kind: type[Struct], body: bytes) -> Struct:
    """A page or a record of that shape, or `PayloadError`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as bad:
        raise PayloadError(told(body, bad)) from bad


def told(body: bytes, bad: Exception) -> str:
    """What is wrong, and with whose record."""
    try:
        said = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return f"not JSON: {str(bad)[:100]}"
    if not isinstance(said, dict):
        return str(bad)[:150]
    whose = f"{str(said.get('vehicle'))[:40]} at {str(said.get('time'))[:40]}"
    return f"{whose}: {str(bad)[:90]}"


def ask_fixes(turn: Turn) -> Ask | None:
    since = turn.since or turn.now
    return Ask("/v1/fixes", {"after": turn.bookmark or str(int(since.timestamp()))})


def unpack_fixes(_ask: Ask, body: bytes, _turn: Turn) -> Page:
    page = read(Fixes, body)
    records = [Record("positions", bytes(one)) for one in page.fixes]
    return Page(records, page.next, page.more)


WINDOW = partial(window, longest=timedelta(hours=6))


def ask_past(turn: Turn) -> Ask | None:
    asked = WINDOW(turn)
    if asked is None:
        return None
    params = {
        "from": asked.since.isoformat(),
        "to": asked.until.isoformat(),
        "page": asked.page or "1",
    }
    return Ask("/v1/history", params, tier="history")


def unpack_past(ask: Ask, body: bytes, turn: Turn) -> Page:
    page = read(Fixes, body)
    records = [Record("positions", bytes(one)) for one in page.fixes]
    asked = place(turn.bookmark)
    if asked is None or asked.page is None:
        asked = WINDOW(turn)
    assert asked is not None
    bookmark, more = went_on(asked, page.next if page.more else None, turn)
    return Page(records, bookmark, more)


def ask_vehicles(turn: Turn) -> Ask | None:
    return Ask("/v1/vehicles", {"page": turn.bookmark or "1"}, tier="vehicles")


def unpack_vehicles(ask: Ask, body: bytes, _turn: Turn) -> Page:
    page = read(Units, body)
    records = [Record("vehicles", bytes(one)) for one in page.vehicles]
    following = str(int(str(ask.params["page"])) + 1) if page.more else None
    return Page(records, following, page.more, complete=not page.more)


def position(body: bytes) -> Iterator[AnyEvent]:
    fix = read(Fix, body)
    yield Position(
        id=f"{fix.vehicle}@{fix.time.timestamp():.3f}",
        vehicle=fix.vehicle,
        at=fix.time,
        latitude=fix.lat,
        longitude=fix.lon,
        speed_mph=None if fix.kph is None else fix.kph * MPH_PER_KPH,
        heading_degrees=fix.heading,
        engine_state=fix.engine if fix.engine in {"On", "Off", "Idle"} else None,
        odometer=None if fix.metres is None else fix.metres * MILES_PER_METRE,
    )


def vehicle(body: bytes) -> Iterator[AnyEvent]:
    unit = read(Unit, body)
    yield Vehicle(id=unit.id, vehicle=unit.id, number=unit.unit, vin=unit.vin)


def verify(request: Request, secrets: Sequence[str]) -> datetime | None:
    keys = [one.encode() for one in secrets]
    check_hmac(keys, request.body, from_hex(request.header(SIGNATURE)))
    return None


def sign(body: bytes, secret: str, _now: datetime) -> Mapping[str, str]:
    return {SIGNATURE: hmac.digest(secret.encode(), body, "sha256").hex()}


def unpack(request: Request) -> Unpacked:
    return Unpacked([Record("positions", request.body)])


def authorize(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Token {token}"}


PROVIDER = Provider(
    name="example",
    title="Example",
    base_url="https://api.example.com",
    normalize={"positions": position, "vehicles": vehicle},
    webhook=Webhook(verify=verify, unpack=unpack, sign=sign, kinds=("position",)),
    feeds=(
        Feed(
            "vehicles", 60.0, ask_vehicles, unpack_vehicles,
            kinds=("vehicle",), listing="vehicle", begins=None,
        ),
        Feed(
            "positions", 2.0, ask_fixes, unpack_fixes, kinds=("position",),
            past=Past(ask_past, unpack_past, timedelta(days=365), "GET /v1/history"),
        ),
    ),
    authorize=authorize,
    limits=Limits(per_second=50.0, tiers={"vehicles": 5.0, "history": 20.0}),
    whoami=Probe(Ask("/v1/vehicles", {"page": "1"}), lambda _body: ("example",)),
)  # fmt: skip
