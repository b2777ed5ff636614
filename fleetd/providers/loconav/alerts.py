"""LocoNav's alerts, pushed in two shapes and listed in a third, as the same events.

A point alert is one event, `<kind>:<id>`. An alert that lasts is two, since it is told
in two messages that come apart, in any order, or one of them never: its begin under
`<kind>:<id>`, its end under `<kind>:<id>:end`. A message that carries both, and every
record of `GET /alerts` that is over, tells both. Nothing that is told later changes
what a begin or an end was, so each is revised only by its own time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

from msgspec import Struct

from fleetd.errors import PayloadError
from fleetd.event import (
    MPH_PER_KPH,
    Alert,
    AnyEvent,
    Detail,
    Device,
    Engine,
    Fault,
    Fuel,
    Geofence,
    Maintenance,
    Other,
    Route,
    Safety,
    millis,
)
from fleetd.providers import reading
from fleetd.providers.loconav import names
from fleetd.providers.loconav.told import (
    needed,
    point,
    short,
    short_id,
    vehicle_of,
)
from fleetd.providers.reading import Wire, inner, rest, snake, words

OBD = re.compile(r"[PCBU][0-9][0-9A-F]{3}")
READ = (
    "id", "kind", "eventType", "localizeEventType", "vehicle", "vehicle_number",
    "vehicleId", "event_time", "eventTime", "latitude", "longitude",
    "active_event_time", "active_event_latitude", "active_event_longitude",
    "inactive_event_time", "inactive_event_latitude", "inactive_event_longitude",
    "startedTs", "endedTs", "startLocation", "endLocation", "created_at", "updated_at",
)  # fmt: skip


class Phase(Struct, frozen=True):
    """One of the moments of an alert: when and where; `over` at its end."""

    at: datetime | None
    place: tuple[float | None, float | None]
    address: str | None = None
    over: bool = False


class Told(Struct, frozen=True):
    """An alert, whichever way it came."""

    kind: str
    id: str
    record: Wire
    vehicle: str | None
    number: str | None
    phases: tuple[Phase, ...]
    began: datetime | None = None
    ended: datetime | None = None

    def base(self, phase: Phase) -> dict[str, Any]:
        """What every kind of event takes of a moment.

        The whole second is the revision: pushes tell ms, the API does not.
        """
        stamp = 0 if phase.at is None else millis(phase.at) // 1000 * 1000
        return {
            "id": f"{self.id}:end" if phase.over else self.id,
            "at": phase.at,
            "revision": stamp,
            "vehicle": self.vehicle,
            "number": self.number,
        }

    def lasting(self, phase: Phase) -> dict[str, Any]:
        """The same, with begin and end as far as they are told, and the place."""
        return self.base(phase) | {
            "started_at": self.began,
            "ended_at": self.ended,
            "resolved": True if phase.over or self.ended is not None else None,
            "latitude": phase.place[0],
            "longitude": phase.place[1],
            "place_name": phase.address,
        }

    @property
    def text(self) -> str | None:
        return words(self.record, "localizeEventType")

    @property
    def url(self) -> str | None:
        return reading.link(inner(self.record, "videoDetail"), "url", "videoUrl")

    @property
    def duration_s(self) -> float | None:
        if self.began is None or self.ended is None or self.ended < self.began:
            return None
        return (self.ended - self.began).total_seconds()


Reader = Callable[[Told, Phase], AnyEvent]


def pushed(zone: tzinfo, body: bytes) -> Iterator[AnyEvent]:
    """A pushed alert: active fields begin it, inactive ones end it, or it is a point."""
    record = reading.loads(body)
    vehicle, number = vehicle_of(record)
    began, ended, at = (
        needed(zone, record, key, vehicle)
        for key in ("active_event_time", "inactive_event_time", "event_time")
    )
    phases = []
    if began is not None:
        phases.append(Phase(began, place(record, "active_event_")))
    if ended is not None:
        phases.append(Phase(ended, place(record, "inactive_event_"), over=True))
    if not phases:
        at = at or needed(zone, record, "start_time", vehicle)
        at = at or needed(zone, record, "created_at", vehicle)
        phases.append(Phase(at, place(record, "")))
    kind = names.name_of(words(record, "kind") or "")
    yield from events(
        Told(
            kind, named(record, kind, vehicle, phases[0], body), record, vehicle,
            number, tuple(phases), began, ended,
        )
    )  # fmt: skip


def listed(zone: tzinfo, body: bytes) -> Iterator[AnyEvent]:
    """A record of `GET /alerts`. While it is open its end says 0,0, which is nowhere."""
    record = reading.loads(body)
    vehicle, number = vehicle_of(record)
    happened, began, ended = (
        needed(zone, record, key, vehicle)
        for key in ("eventTime", "startedTs", "endedTs")
    )
    kind = names.name_of(words(record, "eventType", "kind") or "")
    if not kind:
        raise PayloadError(f"eventType is missing (vehicle {short(vehicle)})")
    moment = happened or began if kind in names.POINTS else began or happened
    over = has_end(kind, moment, ended)
    phases = []
    if moment is not None or not over:
        phases.append(Phase(moment, *at_place(record, "startLocation")))
    if over:
        phases.append(Phase(ended, *at_place(record, "endLocation"), over=True))
    lasts = kind in names.LASTING or over
    yield from events(
        Told(
            kind, named(record, kind, vehicle, phases[0], body), record, vehicle,
            number, tuple(phases), moment if lasts else None, ended if over else None,
        )
    )  # fmt: skip


def has_end(kind: str, began: datetime | None, ended: datetime | None) -> bool:
    """Whether an alert's end is a moment of its own.

    What is pushed as a point has none, and what we know nothing of only where it lasted.
    """
    if ended is None or kind in names.POINTS:
        return False
    return kind in names.LASTING or began is None or ended > began


def place(record: Wire, prefix: str) -> tuple[float | None, float | None]:
    return point(record.get(f"{prefix}latitude"), record.get(f"{prefix}longitude"))


def at_place(
    record: Wire, key: str
) -> tuple[tuple[float | None, float | None], str | None]:
    """A place of the API and its address."""
    found = inner(record, key)
    where = point(found.get("lat"), found.get("long", found.get("lng")))
    return where, words(found, "address")


def named(
    record: Wire, kind: str, vehicle: str | None, phase: Phase, body: bytes
) -> str:
    """The kind and the vendor's id, or whose and when where it gave none."""
    given = words(record, "id")
    if given is None and vehicle is not None and phase.at is not None:
        given = f"{vehicle}@{millis(phase.at)}"
    if given is None:
        return reading.print_of(body)
    return short_id(f"{kind or 'unknown'}:{given}", body)


def events(told: Told) -> Iterator[AnyEvent]:
    """Every moment of an alert, by the reader of its kind; a kind we do not know is kept."""
    reader = READERS.get(told.kind) or partial(
        detail, of=Other, type_=told.kind or "unknown"
    )
    for phase in told.phases:
        yield reader(told, phase)


def safety(told: Told, phase: Phase, *, type_: str) -> Safety:
    """Driving behaviour; speeds are km/h."""
    rpm = reading.number(told.record, "rpm_value")
    return Safety(
        **told.lasting(phase),
        type=type_,
        speed_mph=speed_mph(told.record, phase),
        text=told.text if rpm is None else f"{rpm:g} rpm",
        url=told.url,
    )


def speed_mph(record: Wire, phase: Phase) -> float | None:
    """What a push says under `speed`, the API under `valueWithUnit` where that is one.

    The API's value is the alert's, not that of the moment it ended.
    """
    found = reading.number(record, "speed")
    if found is not None:
        return found * MPH_PER_KPH
    told = {} if phase.over else inner(record, "valueWithUnit")
    found, unit = reading.number(told, "value"), words(told, "unit") or ""
    if found is None:
        return None
    if unit.lower() in ("km/h", "kmph", "kph", "kmh", "km/hr"):
        return found * MPH_PER_KPH
    return found if unit.lower() in ("mph", "mi/h") else None


def ignition(told: Told, phase: Phase) -> Engine:
    """The begin of an ignition alert is the engine on, its end the engine off."""
    return engine(told, phase, type_="off" if phase.over else "on")


def idling(told: Told, phase: Phase) -> Engine:
    """The engine idles, and no longer: what it does then, no alert says."""
    return engine(told, phase, type_="idle_ended" if phase.over else "idle")


def engine(told: Told, phase: Phase, *, type_: str) -> Engine:
    return Engine(
        **told.base(phase),
        type=type_,
        duration_s=told.duration_s if phase.over else None,
        latitude=phase.place[0],
        longitude=phase.place[1],
        text=told.text,
        resolved=True if phase.over else None,
    )


def geofence(told: Told, phase: Phase) -> Geofence:
    """A crossing, by its `event_key`; the end of whichever alert is an exit.

    Without a key (the API documents none) the way is unknown, and is said to be.
    """
    about = inner(told.record, "value", "geofence", "polygon")
    said = words(told.record, "event_key", "eventKey") or words(
        about, "event_key", "eventKey"
    )
    way = way_of(said)
    return Geofence(
        **told.base(phase),
        type="exit" if way and phase.over else way,
        place=words(told.record, "polygon_id", "polygonId")
        or words(about, "id", "polygonId", "geofenceId"),
        place_name=words(about, "name", "geofenceName"),
        duration_s=told.duration_s if phase.over else None,
        text=told.text,
        resolved=True if phase.over else None,
        url=told.url,
    )


def way_of(said: str | None) -> str | None:
    found = snake(said or "")
    if "exit" in found or "leave" in found:
        return "exit"
    return "entry" if "enter" in found or "entry" in found else None


def fault(told: Told, phase: Phase) -> Fault:
    """A trouble code came on, or went off: one fault, whose later state counts."""
    code = words(told.record, "dtc_code", "dtcCode")
    code = code.upper() if code else None
    return Fault(
        **told.base(phase) | {"id": told.id},
        type="off" if phase.over else "on",
        network="obdii" if code and OBD.fullmatch(code) else None,
        code=code,
        text=told.text,
        url=told.url,
    )


def detail(
    told: Told, phase: Phase, *, of: type[Detail], type_: str | None
) -> AnyEvent:
    """An alert whose fields are its own: whatever else it says is kept as it stands."""
    found = of(
        **told.lasting(phase),
        type=type_,
        text=told.text,
        url=told.url,
        detail=rest(told.record, *READ),
    )
    assert isinstance(found, Alert | Device | Fuel | Maintenance | Other | Route)
    return found


def details(of: type[Detail], types: Mapping[str, str]) -> dict[str, Reader]:
    return {name: partial(detail, of=of, type_=type_) for name, type_ in types.items()}


def same(kinds: frozenset[str]) -> dict[str, str]:
    return {kind: kind for kind in kinds}


READERS: Mapping[str, Reader] = {
    **{name: partial(safety, type_=type_) for name, type_ in names.SAFETY.items()},
    **details(Fuel, names.FUEL),
    **details(Device, same(names.DEVICE)),
    **details(Maintenance, same(names.MAINTENANCE)),
    **details(Route, same(names.ROUTE)),
    **details(Alert, same(names.ALERTS)),
    "ignition": ignition,
    "vehicle_idle": idling,
    "geofence": geofence,
    "dtc": fault,
}
