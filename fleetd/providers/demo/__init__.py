"""A simulated fleet of 25 vehicles: no account, no network, its own far side."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec

from fleetd.errors import PayloadError
from fleetd.event import (
    MPH_PER_KPH,
    AnyEvent,
    Driver,
    Duty,
    Engine,
    Fault,
    Geofence,
    Other,
    Place,
    Position,
    Record,
    Safety,
    Trip,
    Vehicle,
    millis,
    moment_of,
    text,
    vin_of,
)
from fleetd.providers import reading
from fleetd.providers.contract import (
    Ask,
    Feed,
    Normalize,
    Page,
    Past,
    Provider,
    Turn,
    Unpacked,
    Webhook,
)
from fleetd.providers.demo import wire
from fleetd.providers.demo.far import answer
from fleetd.providers.signing import check_hmac, from_hex
from fleetd.providers.windows import Window, went_on, window
from fleetd.web import Request

MILES_PER_KM = 1 / 1.609344
PAGE = timedelta(minutes=10)
PIECE = timedelta(hours=1)
KEPT = timedelta(days=1)  # this vendor forgets what is older
SPAN = ("after_ms", "until_ms")


def ask_window(path: str, before: timedelta, turn: Turn) -> Ask | None:
    """Ask from the bookmark on, ten minutes at most; a newcomer begins `before` now."""
    asked = window(turn, longest=PAGE, begins=before, oldest=KEPT)
    if asked is None or millis(asked.until) <= millis(asked.since):
        return None
    span = {"after_ms": str(millis(asked.since)), "until_ms": str(millis(asked.until))}
    return Ask(path, params=span)


def unpack_window(ask: Ask, body: bytes, turn: Turn) -> Page:
    """The records of a window; more waits while it ends before now."""
    after, until = (moment_of(int(str(ask.params[one]))) for one in SPAN)
    bookmark, more = went_on(Window(after, until), None, turn)
    return Page(_records(body), bookmark, more=more)


def ask_listing(path: str, _turn: Turn) -> Ask:
    return Ask(path)


def unpack_listing(_ask: Ask, body: bytes, _turn: Turn) -> Page:
    return Page(_records(body), complete=True)


def position(body: bytes) -> Iterator[AnyEvent]:
    fix = _read(body, wire.Fix)
    states = {"on": "On", "idle": "Idle", "off": "Off"}
    at = _utc(fix.time)
    yield Position(
        id=f"{fix.vehicle_id}@{at.timestamp():.3f}",
        at=at,
        vehicle=fix.vehicle_id,
        number=text(fix.unit),
        driver=text(fix.driver_id),
        driver_name=text(fix.driver_name),
        latitude=fix.lat,
        longitude=fix.lon,
        speed_mph=round(fix.speed_kph * MPH_PER_KPH, 2),
        heading_degrees=fix.heading % 360,
        engine_state=states[fix.ignition],  # type: ignore[arg-type]
        location_description=text(fix.place),
        odometer=round(fix.odometer_km * MILES_PER_KM, 3),
    )


def activity(body: bytes) -> Iterator[AnyEvent]:
    """A note of the known shapes, or one of kind `other`."""
    told = _read(body, _Told)
    reader = READERS.get(told.type)
    yield reader(body) if reader else _other(body)


def vehicle(body: bytes) -> Iterator[AnyEvent]:
    unit = _read(body, wire.Unit)
    yield Vehicle(
        id=unit.id,
        vehicle=unit.id,
        number=text(unit.unit),
        vin=vin_of(unit.vin),
        state="active",
        make=unit.make,
        model=unit.model,
        year=unit.year,
        plate=unit.plate,
        serial=unit.serial,
        metric_units=False,
        groups=(unit.group,),
        since=_utc(unit.since),
    )


def driver(body: bytes) -> Iterator[AnyEvent]:
    person = _read(body, wire.Person)
    yield Driver(
        id=person.id,
        driver=person.id,
        driver_name=text(person.name),
        state="active",
        username=person.username,
        employee_number=person.employee_number,
        phone=person.phone,
        groups=(person.group,),
    )


def place(body: bytes) -> Iterator[AnyEvent]:
    spot = _read(body, wire.Spot)
    yield Place(
        id=spot.id,
        name=text(spot.name),
        address=text(spot.address),
        latitude=spot.lat,
        longitude=spot.lon,
        radius_metres=spot.radius_m,
        groups=(spot.group,),
    )


def _about(note: wire.Note) -> dict[str, Any]:
    return {
        "id": note.id,
        "at": _utc(note.time),
        "vehicle": note.vehicle_id,
        "number": text(note.unit),
        "driver": text(note.driver_id),
        "driver_name": text(note.driver_name),
    }


def _trip(body: bytes) -> AnyEvent:
    note = _read(body, wire.TripNote)
    began = _utc(note.started_at)
    ended = _utc(note.ended_at) if note.ended_at else None
    return Trip(
        **_about(note),
        revision=millis(note.time),
        type="trip",
        started_at=began,
        ended_at=ended,
        distance_miles=_miles(note.distance_km),
        duration_s=(ended - began).total_seconds() if ended else None,
        start_place=note.start_site,
        end_place=note.end_site,
        start_latitude=note.start_lat,
        start_longitude=note.start_lon,
        end_latitude=note.end_lat,
        end_longitude=note.end_lon,
    )


def _engine(body: bytes) -> AnyEvent:
    note = _read(body, wire.IgnitionNote)
    return Engine(**_about(note), type=note.state)


def _geofence(body: bytes) -> AnyEvent:
    note = _read(body, wire.FenceNote)
    return Geofence(
        **_about(note),
        type="entry" if note.state == "enter" else "exit",
        place=note.site_id,
        place_name=note.site_name,
        duration_s=note.stayed_s,
    )


def _safety(body: bytes) -> AnyEvent:
    note = _read(body, wire.SafetyNote)
    return Safety(
        **_about(note),
        type={"harshBrake": "harsh_brake"}.get(note.event, note.event),
        severity=note.severity,
        started_at=_utc(note.since),
        ended_at=_utc(note.time),
        speed_mph=_mph(note.speed_kph),
        limit_mph=_mph(note.limit_kph),
        latitude=note.lat,
        longitude=note.lon,
        place_name=note.place,
    )


def _fault(body: bytes) -> AnyEvent:
    note = _read(body, wire.FaultNote)
    return Fault(
        **_about(note),
        revision=millis(note.time),
        type="on" if note.state == "active" else "off",
        network="j1939",
        code=f"SPN {note.spn} FMI {note.fmi}",
        spn=note.spn,
        fmi=note.fmi,
        text=note.text,
    )


def _duty(body: bytes) -> AnyEvent:
    note = _read(body, wire.DutyNote)
    states = {"onDuty": "on_duty", "offDuty": "off_duty"}
    return Duty(
        **_about(note),
        type="violation" if note.violation else "status",
        status=states.get(note.status, note.status),
        name=note.violation,
        started_at=_utc(note.time),
    )


def _other(body: bytes) -> AnyEvent:
    note = reading.loads(body)
    return Other(id=reading.print_of(body), type=text(note["type"]), detail=note)


READERS: Mapping[str, Callable[[bytes], AnyEvent]] = {
    "trip": _trip,
    "ignition": _engine,
    "fence": _geofence,
    "safety": _safety,
    "fault": _fault,
    "duty": _duty,
}


def verify(request: Request, secrets: Sequence[str]) -> datetime | None:
    """The body's HMAC-SHA256 in hex; this vendor signs no time."""
    claimed = from_hex(request.header("x-demo-signature"))
    check_hmac([secret.encode() for secret in secrets], request.body, claimed)
    return None


def unpack(request: Request) -> Unpacked:
    records = _records(request.body)
    return Unpacked(records, empty=int(not records))


def sign(body: bytes, secret: str, _now: datetime) -> Mapping[str, str]:
    return {"x-demo-signature": hmac.digest(secret.encode(), body, "sha256").hex()}


class _Told(msgspec.Struct, frozen=True):
    type: str


T = TypeVar("T")


def _read(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not what the demo sends: {reading.short(bad)}") from bad


def _records(body: bytes) -> list[Record]:
    page = _read(body, wire.Envelope)
    if page.feed not in NORMALIZERS:
        raise PayloadError(f"the demo has no feed {page.feed[:40]!r}")
    return [Record(page.feed, bytes(item)) for item in page.items]


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as bad:
        raise PayloadError(f"not a time: {moment}") from bad


def _miles(km: float | None) -> float | None:
    return None if km is None else round(km * MILES_PER_KM, 3)


def _mph(kph: float | None) -> float | None:
    return None if kph is None else round(kph * MPH_PER_KPH, 2)


NORMALIZERS: Mapping[str, Normalize] = {
    "positions": position,
    "activity": activity,
    "vehicles": vehicle,
    "drivers": driver,
    "places": place,
}


TOLD = ("trip", "engine", "geofence", "safety", "fault", "duty")


def _listing(name: str, kind: str) -> Feed:
    ask = partial(ask_listing, f"/{name}")
    return Feed(name, 3600.0, ask, unpack_listing, kinds=(kind,), listing=kind)


def _window(name: str, every: float, before: timedelta, *kinds: str) -> Feed:
    ask = partial(ask_window, f"/{name}", before)
    past = Past(
        ask, unpack_window, within=KEPT, call=f"its own diary of {name}", chunk=PIECE
    )
    return Feed(
        name, every, ask, unpack_window, kinds=kinds, begins=before, past=past
    )  # fmt: skip


PROVIDER = Provider(
    name="demo",
    title="Demo fleet",
    normalize=NORMALIZERS,
    webhook=Webhook(verify=verify, unpack=unpack, sign=sign),
    feeds=(
        _listing("vehicles", "vehicle"),
        _listing("drivers", "driver"),
        _listing("places", "place"),
        _window("positions", 5.0, timedelta(minutes=5), "position"),
        _window("activity", 10.0, timedelta(hours=1), *TOLD),
    ),
    answer=answer,
)
