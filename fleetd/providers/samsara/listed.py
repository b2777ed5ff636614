"""Samsara's polled records: one normalizer a feed, each of one record's own bytes.

Where the same thing is pushed as well it gets the same id: directory records and
inspections by their own, incidents by configuration, time and vehicle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from fleetd.errors import PayloadError
from fleetd.event import (
    AnyEvent,
    Duty,
    Engine,
    Safety,
    Trip,
    millis,
    stamp,
)
from fleetd.providers.reading import (
    Wire,
    flag,
    inner,
    link,
    loads,
    moment,
    number,
    objects,
    print_of,
    snake,
    texts,
    when_ms,
    words,
)
from fleetd.providers.samsara import directory, papers
from fleetd.providers.samsara.alerts import incident
from fleetd.providers.samsara.kinds import SEVERITIES, STATUSES, Severity, mph
from fleetd.providers.samsara.told import Told, Who, driver_of, vehicle_of, who

SECRETS = frozenset({"secretKey"})
METRES_PER_MILE = 1609.344
HOUR_MS = 3_600_000
FOREVER = 9000  # a year: some write an end that never comes as 9999


def record_of(
    reader: Callable[[Told], AnyEvent], key: str
) -> Callable[[bytes], Iterator[AnyEvent]]:
    """A normalizer of bare records, read as the push would tell them under `key`.

    The list tells each as it is now: tags, a name or a driver change without
    `updatedAtTime`, so the list's own order decides what is newer.
    """

    def normalize(body: bytes) -> Iterator[AnyEvent]:
        told = loads(body, SECRETS)
        listed = Told(type=key, data={key: told}, id=print_of(body), who=who(told))
        yield replace(reader(listed), revision=None)

    return normalize


vehicle = record_of(directory.vehicle, "vehicle")
driver = record_of(directory.driver, "driver")
place = record_of(directory.place, "address")


def inspection(body: bytes) -> Iterator[AnyEvent]:
    """A driver's inspection, under the id its push has."""
    told = loads(body, SECRETS)
    if words(told, "id") is None:
        raise PayloadError("id of the inspection is missing")
    yield papers.inspection(
        Told(type="dvir", data={"dvir": told}, id=print_of(body), who=who(told))
    )


def alert(body: bytes) -> Iterator[AnyEvent]:
    """An incident exactly as its push: the same id, the same revision."""
    told = loads(body, SECRETS)
    needed(told, "happenedAtTime", "the incident")
    yield incident({"data": told}, print_of(body))


def trip(body: bytes) -> Iterator[AnyEvent]:
    """A trip has no id of its own: vehicle and start name it. An open one comes again."""
    told = loads(body, SECRETS)
    whose = unit(told)
    started = needed(told, "tripStartTime", f"vehicle {whose['vehicle']}")
    ended = lasting(told, "tripEndTime")
    metres = number(told, "finalDistanceMeters")
    first, last = inner(told, "startLocation"), inner(told, "endLocation")
    yield Trip(
        **whose | driver_of(inner(told, "driver")),
        id=f"{whose['vehicle']}@{millis(started)}@trip",
        at=started,
        revision=when_ms(told, "updatedAtTime"),
        type="trip",
        started_at=started,
        ended_at=ended,
        distance_miles=None if metres is None else metres / METRES_PER_MILE,
        duration_s=seconds(started, ended),
        start_place=spoken(first),
        end_place=spoken(last),
        start_latitude=number(first, "latitude"),
        start_longitude=number(first, "longitude"),
        end_latitude=number(last, "latitude"),
        end_longitude=number(last, "longitude"),
    )


LABELS = {
    "braking": "harsh_brake",
    "brake": "harsh_brake",
    "harsh_braking": "harsh_brake",
    "acceleration": "harsh_acceleration",
    "harsh_accel": "harsh_acceleration",
    "harsh_turn": "harsh_corner",
    "turn": "harsh_corner",
    "turning": "harsh_corner",
    "cornering": "harsh_corner",
    "max_speed": "speeding",
    "speeding": "speeding",
}
GRAVEST = ("crash", "rollover", "near_collision")


def safety(body: bytes) -> Iterator[AnyEvent]:
    """A safety event; reviewed or coached, it comes again as a revision.

    `startMs` and `endMs` are RFC 3339 texts in spite of their names.
    """
    told = loads(body, SECRETS)
    started = moment(told, "startMs") or moment(told, "createdAtTime")
    if started is None:
        raise PayloadError(f"startMs is missing (event {words(told, 'id')})"[:160])
    listed = objects(told, "behaviorLabels")
    labels = [label for one in listed if (label := words(one, "label", "name"))]
    labels = labels or list(texts(told, "behaviorLabels"))
    kind, grade = behaviour([snake(one) for one in labels])
    speeding, spot = inner(told, "speedingMetadata"), inner(told, "location")
    state = words(told, "eventState")
    yield Safety(
        **who(told),
        id=words(told, "id") or print_of(body),
        at=started,
        revision=when_ms(told, "updatedAtTime"),
        type=kind,
        severity=grade,
        started_at=started,
        ended_at=lasting(told, "endMs"),
        speed_mph=mph(speeding, "maxSpeedKilometersPerHour"),
        limit_mph=mph(speeding, "postedSpeedLimitKilometersPerHour"),
        latitude=number(spot, "latitude"),
        longitude=number(spot, "longitude"),
        place_name=spoken(spot),
        state=snake(state) if state else None,
        text=", ".join(labels) or None,
        url=link(told, "inboxEventUrl") or link(told, "incidentReportUrl"),
    )


def behaviour(labels: list[str]) -> tuple[str, Severity | None]:
    """Our word for the gravest of Samsara's labels, and how grave it is."""
    for wanted in GRAVEST:
        for label in labels:
            if wanted in label:
                return wanted, None
    for label in labels:
        if "speeding" in label:
            return "speeding", SEVERITIES.get(label.removesuffix("_speeding"))
    label = labels[0] if labels else "unknown"
    return LABELS.get(label, label), None


def duty(body: bytes) -> Iterator[AnyEvent]:
    """A stretch of one duty status; the open one comes again with its end."""
    told = loads(body, SECRETS)
    log, person = inner(told, "hosLogs"), driver_of(inner(told, "driver"))
    if person["driver"] is None:
        raise PayloadError("id of the driver is missing")
    started = needed(log, "logStartTime", f"driver {person['driver']}")
    ended = lasting(log, "logEndTime")
    status = snake(words(log, "hosStatusType") or "") or None
    yield Duty(
        **vehicle_of(inner(log, "vehicle")) | person,
        id=f"{person['driver']}@{millis(started)}@log",
        at=started,
        type="status",
        status=STATUSES.get(status, status) if status else None,
        name=words(log, "remark"),
        started_at=started,
        ended_at=ended,
        duration_s=seconds(started, ended),
    )


def violation(body: bytes) -> Iterator[AnyEvent]:
    """A broken rule. While it lasts it grows, and is told again by the hour."""
    told = loads(body, SECRETS)
    one = inner(told, "violations") or told
    person = driver_of(inner(one, "driver") or inner(told, "driver"))
    if person["driver"] is None:
        raise PayloadError("id of the driver is missing")
    started = needed(one, "violationStartTime", f"driver {person['driver']}")
    rule, ms = snake(words(one, "type") or "") or None, number(one, "durationMs")
    ended = None if ms is None else after(started, ms)
    yield Duty(
        **vehicle_of(inner(one, "vehicle")) | person,
        id=f"{person['driver']}@{millis(started)}@{rule or 'violation'}",
        at=started,
        revision=millis(started) + int((ms or 0) // HOUR_MS * HOUR_MS),
        type="violation",
        name=words(one, "description"),
        rule=rule,
        started_at=started,
        ended_at=ended,
        duration_s=None if ms is None else ms / 1000,
    )


def assignment(body: bytes) -> Iterator[AnyEvent]:
    """Who drives a vehicle, from when to when; a passenger drives nothing.

    Several overlap: a `static` one is only who usually drives, so it is told as
    `static_assignment`. What still goes on (`ongoing`) has no end yet, whatever it says.
    """
    told = loads(body, SECRETS)
    if flag(told, "isPassenger"):
        return
    whose = vehicle_of(inner(told, "vehicle")) | driver_of(inner(told, "driver"))
    if whose["vehicle"] is None or whose["driver"] is None:
        raise PayloadError("id of the vehicle or of the driver is missing")
    started = needed(told, "startTime", f"vehicle {whose['vehicle']}")
    ended = None if flag(told, "ongoing") else lasting(told, "endTime")
    kind = snake(words(told, "assignmentType") or "") or None
    yield Duty(
        **whose,
        id=f"{whose['vehicle']}@{millis(started)}@{whose['driver']}@{kind or ''}",
        at=started,
        type="static_assignment" if kind == "static" else "assignment",
        status=kind,
        started_at=started,
        ended_at=ended,
        duration_s=seconds(started, ended),
    )


def idling(body: bytes) -> Iterator[AnyEvent]:
    """The engine ran and nothing moved; ids are numbers here, and there is no end key."""
    told = loads(body, SECRETS)
    whose, ms = unit(told), number(told, "durationMilliseconds")
    started = needed(told, "startTime", f"vehicle {whose['vehicle']}")
    yield Engine(
        **whose | driver_of(inner(told, "operator")),
        id=words(told, "eventUuid") or f"{whose['vehicle']}@{millis(started)}@idling",
        at=started,
        revision=None if ms is None else millis(after(started, ms)),
        type="idle",
        duration_s=None if ms is None else ms / 1000,
        latitude=number(told, "latitude"),
        longitude=number(told, "longitude"),
    )


def unit(told: Wire) -> Who:
    """The vehicle of a record, without which it says nothing of anybody."""
    whose = vehicle_of(inner(told, "asset", "vehicle"))
    if whose["vehicle"] is None:
        raise PayloadError("asset.id is missing")
    return whose


def needed(told: Wire, key: str, about: str) -> datetime:
    """A time without which a record cannot be placed."""
    found = moment(told, key)
    if found is None:
        raise PayloadError(f"{key} is missing or unreadable ({about[:80]})")
    return found


def lasting(told: Wire, key: str) -> datetime | None:
    """An end, unless it is one that never comes."""
    found = moment(told, key)
    return None if found is None or found.year >= FOREVER else found


def after(started: datetime, ms: float) -> datetime:
    """So much later, or `PayloadError` where no calendar goes as far."""
    try:
        return started + timedelta(milliseconds=ms)
    except OverflowError as bad:
        raise PayloadError(f"a duration of {ms:g} ms from {stamp(started)}") from bad


def seconds(started: datetime, ended: datetime | None) -> float | None:
    """How long it took, if it is over and did not end before it began."""
    if ended is None or ended < started:
        return None
    return (ended - started).total_seconds()


PARTS = ("street", "city", "state", "postalCode")


def spoken(spot: Wire) -> str | None:
    """A place in words: as one text, or joined from the parts of its address."""
    address: Any = spot.get("address")
    if not isinstance(address, dict):
        return words(spot, "formattedLocation", "address", "name")
    number_and_street = words(address, "streetNumber"), words(address, "street")
    street = " ".join(one for one in number_and_street if one)
    rest = (words(address, one) for one in PARTS[1:])
    return ", ".join(one for one in (street, *rest) if one) or words(address, "name")
