"""What only Motive's lists hold, or hold in another form than its webhooks.

Every record read here is also named by what it says of itself, so that it stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from fleetd.errors import PayloadError
from fleetd.event import (
    MPH_PER_KPH,
    AnyEvent,
    Duty,
    Engine,
    Fuel,
    Place,
    Position,
    Trip,
    millis,
)
from fleetd.providers.contract import Normalize
from fleetd.providers.motive.feeds import UNMEASURED
from fleetd.providers.motive.people import driver_of, who
from fleetd.providers.motive.positions import lenient
from fleetd.providers.motive.records import (
    DUTIES,
    SECRETS,
    fault,
    geofence,
    inspection,
    needed,
    seconds,
    user,
    vehicle,
    violation,
)
from fleetd.providers.motive.safety import performance, speeding
from fleetd.providers.reading import (
    UNREADABLE,
    Wire,
    inner,
    link,
    loads,
    moment,
    number,
    objects,
    print_of,
    rest,
    snake,
    texts,
    when_ms,
    words,
)

MILES_PER_KM = MPH_PER_KPH
DISTANCE = re.compile(r"([\d,]{0,20}\.?\d{1,20})\s*(mi|km)", re.IGNORECASE)
Reader = Callable[[Wire, str], AnyEvent]


def reads(reader: Reader, what: str, body: bytes) -> Iterator[AnyEvent]:
    """One record, one event; without a time it says whose it is and what is missing."""
    told = loads(body, SECRETS)
    found = reader(told, print_of(body))
    if found.at is None:
        raise PayloadError(f"{what} without a time{whose(told)}")
    yield found


def whose(told: Wire) -> str:
    """Which record it is, for people."""
    of = {"id": words(told, "id"), "vehicle": who(told)["vehicle"]}
    named = ", ".join(f"{key} {one[:40]}" for key, one in of.items() if one)
    return f" ({named})" if named else ""


def listed_vehicle(body: bytes) -> Iterator[AnyEvent]:
    """A unit as it is now: the list tells it, whenever the vendor last wrote to it.

    `updated_at` need not move with the driver, so the list's own order decides.
    """
    found = vehicle(loads(body), "")
    yield replace(found, at=None, revision=None)


def listed_user(body: bytes) -> Iterator[AnyEvent]:
    """A user as the list has them now."""
    yield replace(user(loads(body), ""), revision=None)


def place(body: bytes) -> Iterator[AnyEvent]:
    """A fence; the middle of its corners where it has no centre of its own."""
    told = loads(body)
    corners = [
        (number(one, "lat"), number(one, "lon"))
        for one in objects(told, "geofence_locations", "locations", "points")
    ]
    lat, lon = middle(corners)
    centre_lat = number(told, "centre_lat", "center_lat", "lat")
    yield Place(
        id=needed(told, "id"),
        at=moment(told, "updated_at", "created_at"),
        name=words(told, "name"),
        address=words(told, "address"),
        latitude=lat if centre_lat is None else centre_lat,
        longitude=lon
        if centre_lat is None
        else number(told, "centre_lon", "center_lon", "lon"),
        radius_metres=number(told, "radius_in_meters", "radius"),
        groups=texts(told, "group_ids", "groups"),
    )


def middle(
    corners: Sequence[tuple[float | None, float | None]],
) -> tuple[float | None, float | None]:
    """The mean of corners; a fence's first corner may come again as its last."""
    whole = [(lat, lon) for lat, lon in corners if lat is not None and lon is not None]
    if len(whole) > 1 and whole[0] == whole[-1]:
        whole = whole[:-1]
    if not whole:
        return None, None
    lats, lons = zip(*whole, strict=True)
    return round(sum(lats) / len(lats), 7), round(sum(lons) / len(lons), 7)


def unmeasured(body: bytes) -> Iterator[AnyEvent]:
    """The same without its numbers, which a later copy fills in: in which units, is not known."""
    for fix in location(body):
        yield replace(fix, speed_mph=None, odometer=None, units="us")


def location(body: bytes) -> Iterator[Position]:
    """A vehicle with its newest point, under the point's own id; without one, nothing."""
    unit = loads(body)
    point = inner(unit, "current_location")
    if not point:
        needed(unit, "id")
        return
    own = {key: one for key, one in unit.items() if key != "current_location"}
    driver = {"driver": own["current_driver"]} if "current_driver" in own else {}
    yield lenient(driver | point | {"vehicle": own})


def trip(told: Wire, _named: str) -> Trip:
    """A driving period; while it goes on its end is null and its duration not told.

    Distances are kilometres by odometer, else text such as `42.2 mi`.
    """
    began, ended = moment(told, "start_time"), moment(told, "end_time")
    kind = words(told, "type")
    lasted = number(told, "duration")
    return Trip(
        id=needed(told, "id"),
        at=began,
        revision=when_ms(told, "updated_at"),
        type=snake(kind) if kind else None,
        started_at=began,
        ended_at=ended,
        distance_miles=distance(told) if ended else None,
        duration_s=(seconds(began, ended) if lasted is None else lasted)
        if ended
        else None,
        start_place=words(told, "origin"),
        end_place=words(told, "destination"),
        start_latitude=number(told, "origin_lat"),
        start_longitude=number(told, "origin_lon"),
        end_latitude=number(told, "destination_lat"),
        end_longitude=number(told, "destination_lon"),
        **who(told),
    )


def distance(told: Wire) -> float | None:
    """The miles of a driving period."""
    first, last = number(told, "start_kilometers"), number(told, "end_kilometers")
    if first is not None and last is not None and last >= first:
        return (last - first) * MILES_PER_KM
    text = DISTANCE.fullmatch(words(told, "distance") or "")
    if text is None:
        return None
    amount = float(text[1].replace(",", ""))
    return amount if text[2].lower() == "mi" else amount * MILES_PER_KM


def idle(told: Wire, _named: str) -> Engine:
    """An engine that ran while its vehicle stood."""
    began, ended = moment(told, "start_time"), moment(told, "end_time")
    town = (words(told, "city"), words(told, "state"))
    return Engine(
        id=needed(told, "id"),
        at=began,
        type="idle",
        duration_s=seconds(began, ended),
        latitude=number(told, "lat"),
        longitude=number(told, "lon"),
        text=words(told, "location") or ", ".join(one for one in town if one) or None,
        **who(told),
    )


def fences(body: bytes) -> Iterator[AnyEvent]:
    """A visit: the list has entry and exit as one record, pushes have one each."""
    told, named = loads(body), print_of(body)
    if moment(told, "start_time", "end_time") is None:
        raise PayloadError(f"geofence event without a time{whose(told)}")
    after = {"end_time", "end_driver", "duration", "event_type"}
    if moment(told, "start_time") is not None:
        entry = {key: one for key, one in told.items() if key not in after}
        yield geofence(entry | {"event_type": "entry"}, named)
    if moment(told, "end_time") is not None:
        yield geofence(told | {"event_type": "exit"}, f"{named}:exit")


class Log(Struct, frozen=True):
    """A driver's day, its events not looked into."""

    driver: Raw = Raw(b"null")
    vehicles: Raw = Raw(b"null")
    events: list[Raw] = []


_log = msgspec.json.Decoder(Log).decode
WIDE, MANY = 1 << 20, 64  # bytes that events may take apart, and times their log


def log_events(item: bytes) -> Sequence[bytes]:
    """A day's log as one record a duty event, each with its driver.

    A log without any, of another shape, or that would grow many times, stays as it is.
    """
    try:
        log = _log(item)
    except UNREADABLE:
        return (item,)
    head = b'{"driver":%b,"vehicles":%b,"event":' % (log.driver, log.vehicles)
    if len(head) * len(log.events) > max(WIDE, MANY * len(item)):
        return (item,)  # each of the events would say all of that
    return [head + one + b"}" for one in unwrapped_all(log.events)] or (item,)


def unwrapped_all(events: Sequence[Raw]) -> Iterator[bytes]:
    """`{"event": {…}}` without its wrapper, each as it came where it has none."""
    for one in events:
        try:
            found = bytes(_event(one).event)
        except UNREADABLE:
            found = b""
        yield found or bytes(one)


class Wrapped(Struct, frozen=True):
    """A duty event in its wrapper."""

    event: Raw = Raw(b"")


_event = msgspec.json.Decoder(Wrapped).decode


def duty(body: bytes) -> Iterator[AnyEvent]:
    """A status of a driver's log, named by driver and start as pushed ones are.

    A day without events says nothing. The vehicle is the day's only one, while driving.
    """
    told = loads(body)
    if "event" not in told and not told.get("events"):
        return
    event, person = inner(told, "event"), driver_of(told, "driver")
    began, ended = moment(event, "start_time"), moment(event, "end_time")
    kind = snake(words(event, "type") or "")
    if began is None or person["driver"] is None:
        driver = (person["driver"] or "nobody")[:40]
        raise PayloadError(f"event.start_time or driver is missing (driver {driver})")
    units = [inner(one, "vehicle") or one for one in objects(told, "vehicles")]
    alone = kind == "driving" and len(units) == 1
    vehicle_too = who({"vehicle": units[0]}) if alone else {}
    yield Duty(
        id=f"{person['driver']}@{millis(began)}",
        at=began,
        type="status",
        status=DUTIES.get(kind, kind) or None,
        started_at=began,
        ended_at=ended,
        duration_s=seconds(began, ended),
        **vehicle_too | person,
    )


def fuel(told: Wire, _named: str) -> Fuel:
    """Fuel bought; amounts come as numbers or as text."""
    shop, where = words(told, "vendor"), words(told, "jurisdiction")
    return Fuel(
        id=needed(told, "id"),
        at=moment(told, "purchased_at"),
        revision=when_ms(told, "updated_at"),
        type="purchase",
        text=shop,
        place_name=", ".join(one for one in (shop, where) if one) or None,
        url=link(told, "receipt_upload_url"),
        detail=rest(
            {
                "quantity": number(told, "fuel"),
                "unit": words(told, "fuel_unit"),
                "cost": number(told, "total_cost"),
                "currency": words(told, "currency"),
                "fuel_type": words(told, "fuel_type"),
                "jurisdiction": where,
                "reference": words(told, "ref_no"),
                "odometer_miles": odometer(told),
            }
        ),
        **who(told, "driver", "uploader"),
    )


def odometer(told: Wire) -> float | None:
    """The miles on a receipt, whatever its unit."""
    found = number(told, "odometer")
    kilometres = (words(told, "odometer_unit") or "").lower().startswith("k")
    return found * MILES_PER_KM if found is not None and kilometres else found


NORMALIZERS: dict[str, Normalize] = {
    "vehicles": listed_vehicle,
    "drivers": listed_user,
    "places": place,
    "locations": location,
    UNMEASURED: unmeasured,
    "trips": partial(reads, trip, "driving period"),
    "idling": partial(reads, idle, "idle event"),
    "violations": partial(reads, violation, "violation"),
    "duty": duty,
    "faults": partial(reads, fault, "fault code"),
    "inspections": partial(reads, inspection, "inspection report"),
    "safety": partial(reads, performance, "performance event"),
    "speeding": partial(reads, speeding, "speeding event"),
    "geofences": fences,
    "fuel": partial(reads, fuel, "fuel purchase"),
}
