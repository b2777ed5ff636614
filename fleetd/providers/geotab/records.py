"""Geotab's records of what vehicles and drivers did: engine, faults, trips, duty, papers.

Fields: https://developers.geotab.com/myGeotab/apiReference/objects/StatusData and its
sisters FaultData, Trip, DutyStatusLog, DVIRLog, DriverChange.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from fleetd.errors import PayloadError
from fleetd.event import (
    IMPLAUSIBLE,
    MILES_PER_METRE,
    MPH_PER_KPH,
    AnyEvent,
    Duty,
    Engine,
    Fault,
    Inspection,
    Trip,
    millis,
)
from fleetd.providers.geotab.people import (
    SECRETS,
    moment_of,
    numeral,
    of,
    person,
    reference,
    refers,
    span,
    spot,
    vehicle_of,
    version,
)
from fleetd.providers.geotab.positions import ODOMETERS
from fleetd.providers.reading import (
    UNREADABLE,
    Wire,
    count,
    flag,
    inner,
    loads,
    moment,
    number,
    objects,
    short,
    snake,
    words,
)

MILES_PER_KM = MPH_PER_KPH
FASTEST_KPH = 400.0
METRES = 30.0  # times what its own average speed says: it was told in metres
IGNITION = "DiagnosticIgnitionId"
HOURS = frozenset({"DiagnosticEngineHoursId", "DiagnosticEngineHoursAdjustmentId"})
READ = ODOMETERS | HOURS | {IGNITION}


class About(Struct, frozen=True):
    id: str


class Head(Struct, frozen=True):
    """As much of a reading as says whether it is one of those we keep."""

    diagnostic: About


_head = msgspec.json.Decoder(Head).decode


def engine(body: bytes) -> Iterator[AnyEvent]:
    """A `StatusData`: of its hundreds of diagnostics, ignition, engine hours, odometer.

    Odometers are metres and engine hours seconds, whatever the user's settings.
    """
    try:
        if _head(body).diagnostic.id not in READ:
            return
    except msgspec.ValidationError:
        pass
    except UNREADABLE as bad:
        raise PayloadError(f"not JSON: {short(bad)}") from bad
    told = loads(body, SECRETS)
    diagnostic = refers(told, "diagnostic")
    if diagnostic in READ:
        yield reading(told, diagnostic)


def reading(told: Wire, diagnostic: str) -> Engine:
    """One of the readings that we keep."""
    vehicle = vehicle_of(told)
    at = moment_of(told, "dateTime", vehicle)
    data = numeral(told, "data", vehicle, at)
    if data is None:
        raise PayloadError(f"data is missing ({of(vehicle, at)})")
    kind = "hours" if diagnostic in HOURS else "odometer"
    if diagnostic == IGNITION:
        kind = "on" if data else "off"
    return Engine(
        id=words(told, "id") or f"{vehicle}@{millis(at)}@{diagnostic}",
        at=at,
        vehicle=vehicle,
        type=kind,
        hours=data / 3600 if kind == "hours" else None,
        odometer=data * MILES_PER_METRE if kind == "odometer" else None,
    )


LAMPS = {
    "redStopLamp": "red_stop",
    "amberWarningLamp": "amber_warning",
    "malfunctionLamp": "malfunction",
    "protectWarningLamp": "protect",
}
OVER = frozenset({"inactive", "cleared", "none", "off", "not_active", "resolved"})


def fault(body: bytes) -> Iterator[AnyEvent]:
    """A `FaultData`: a code seen on or off; what it means is the diagnostic's name.

    Records refer to diagnostics and failure modes by id alone, unless they are told whole.
    """
    told = loads(body, SECRETS)
    vehicle = vehicle_of(told)
    at = moment_of(told, "dateTime", vehicle)
    diagnostic, mode = inner(told, "diagnostic"), inner(told, "failureMode")
    spn = count(diagnostic, "code") if is_j1939(diagnostic) else None
    fmi = count(mode, "code")
    named = refers(told, "diagnostic") or words(told, "flashCode")
    texts = words(told, "faultDescription") or words(diagnostic, "name")
    yield Fault(
        id=words(told, "id") or f"{vehicle}@{millis(at)}@{named or ''}",
        at=at,
        vehicle=vehicle,
        type="off" if state_of(told) in OVER else "on",
        network=network(told, diagnostic),
        code=named if spn is None else spn_code(spn, fmi),
        spn=spn,
        fmi=fmi,
        text=": ".join(one for one in (texts, words(mode, "name")) if one) or None,
        count=count(told, "count"),
        lamps=tuple(lamp for key, lamp in LAMPS.items() if flag(told, key)),
    )


def spn_code(spn: int, fmi: int | None) -> str:
    """A J1939 code as people write it."""
    return f"SPN {spn}" + ("" if fmi is None else f" FMI {fmi}")


def state_of(told: Wire) -> str:
    """`Active`, or `FaultStatusActiveId` in `faultStates`, as `active`."""
    states = inner(told, "faultStates")
    said = words(told, "faultState") or words(states, "effectiveStatus") or ""
    return snake(said.removeprefix("FaultStatus").removesuffix("Id"))


def is_j1939(diagnostic: Wire) -> bool:
    return snake(words(diagnostic, "diagnosticType") or "") == "suspect_parameter"


def network(told: Wire, diagnostic: Wire) -> Literal["j1939", "obdii"] | None:
    """The vehicle's network, as the controller's or the source's name gives it away."""
    if is_j1939(diagnostic):
        return "j1939"
    sources = (refers(told, "controller"), reference(diagnostic.get("source")))
    said = " ".join(one.lower() for one in sources if one)
    if "j1939" in said:
        return "j1939"
    return "obdii" if "obd" in said else None


def trip(body: bytes) -> Iterator[AnyEvent]:
    """A `Trip`, over once the vehicle has stood; recomputed ones come with a new id.

    What stays is the vehicle and the start:
    https://github.com/Geotab/mygeotab-api-adapter
    """
    told = loads(body, SECRETS)
    vehicle = vehicle_of(told)
    started = moment_of(told, "start", vehicle)
    stop, stood = moment(told, "stop"), span(told.get("stopDuration"))
    over = stop is not None and stood is not None and stood > 0
    drove = span(told.get("drivingDuration"))
    if drove is None and stop is not None:
        drove = (stop - started).total_seconds()
    latitude, longitude = spot(told, "stopPoint")
    distance = numeral(told, "distance", vehicle, started)
    driven = kilometres(distance, drove, number(told, "averageSpeed"))
    odd = driven is None and distance is not None
    yield Trip(
        id=f"{vehicle}@{millis(started)}",
        at=stop if over else started,
        revision=version(told),
        vehicle=vehicle,
        **person(told),
        flags=(IMPLAUSIBLE,) if odd else (),
        type="trip",
        started_at=started,
        ended_at=stop if over else None,
        distance_miles=None if driven is None else driven * MILES_PER_KM,
        duration_s=drove,
        end_latitude=latitude,
        end_longitude=longitude,
    )


def kilometres(
    distance: float | None, drove: float | None, average: float | None
) -> float | None:
    """A distance that could be driven in the time, or null.

    It is told in km. What nobody could drive was told in metres, as some databases do,
    where the trip's own average speed (km/h while driving) says so.
    """
    if distance is None or not drove or drove < 0:
        return distance
    hours = drove / 3600
    farthest, said = hours * FASTEST_KPH, hours * (average or 0.0)
    if distance > farthest and 0 < said * METRES < distance:
        distance /= 1000
    return distance if distance <= farthest else None


DUTIES: Mapping[str, str] = {
    "D": "driving",
    "ON": "on_duty",
    "OFF": "off_duty",
    "SB": "sleeper_berth",
    "YM": "yard_move",
    "PC": "personal_conveyance",
    "WT": "waiting",
}


def duty(body: bytes) -> Iterator[AnyEvent]:
    """A `DutyStatusLog`: edited ones keep their id, and only the version grows."""
    told = loads(body, SECRETS)
    at, said = moment_of(told, "dateTime"), words(told, "status") or ""
    state = snake(words(told, "state") or "active")
    whose = person(told)
    yield Duty(
        id=words(told, "id") or f"{whose['driver'] or ''}@{millis(at)}",
        at=at,
        revision=version(told),
        vehicle=refers(told, "device"),
        **whose,
        type="status",
        status=DUTIES.get(said.upper()) or snake(said) or None,
        started_at=at,
        resolved=True if state in {"inactive", "rejected"} else None,
    )


def inspection(body: bytes) -> Iterator[AnyEvent]:
    """A `DVIRLog`; of a trailer alone it names no vehicle."""
    told = loads(body, SECRETS)
    at, vehicle = moment_of(told, "dateTime"), refers(told, "device")
    kind = words(told, "logType")
    remarks = (words(told, one) for one in ("driverRemark", "repairRemark"))
    yield Inspection(
        id=words(told, "id") or f"{vehicle or ''}@{millis(at)}",
        at=at,
        revision=version(told),
        vehicle=vehicle,
        **person(told, "driver", "certifiedBy"),
        type=snake(kind) if kind else None,
        status=safe(told),
        defects=tuple(map(defect, objects(told, "dVIRDefects", "dvirDefects"))),
        text="; ".join(one for one in remarks if one) or None,
    )


def safe(told: Wire) -> str | None:
    if moment(told, "repairDate") is not None:
        return "resolved"
    good = flag(told, "isSafeToOperate")
    return None if good is None else "safe" if good else "unsafe"


def defect(told: Wire) -> str:
    """`Mirrors: cracked`, or the defect's id where that is all there is."""
    name = words(inner(told, "defect"), "name") or refers(told, "defect") or "defect"
    remarks = (words(one, "remark") for one in objects(told, "defectRemarks"))
    return ": ".join((name, *(one for one in remarks if one)))


def assignment(body: bytes) -> Iterator[AnyEvent]:
    """A `DriverChange`: who drives a vehicle from now on, or that nobody does."""
    told = loads(body, SECRETS)
    vehicle = vehicle_of(told)
    at, whose = moment_of(told, "dateTime", vehicle), person(told)
    somebody = whose["driver"] is not None
    yield Duty(
        id=words(told, "id") or f"{vehicle}@{millis(at)}",
        at=at,
        revision=version(told),
        vehicle=vehicle,
        **whose,
        type="assignment",
        started_at=at if somebody else None,
        ended_at=None if somebody else at,
    )
