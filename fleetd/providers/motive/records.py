"""Motive's other records: one reader an action, by the table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Literal

from fleetd.errors import PayloadError
from fleetd.event import (
    MPH_PER_KPH,
    AnyEvent,
    Device,
    Document,
    Driver,
    Duty,
    Engine,
    Fault,
    Geofence,
    Inspection,
    Other,
    Vehicle,
    millis,
    vin_of,
)
from fleetd.providers.motive.people import (
    HAPPENED,
    driver_of,
    full_name,
    metric,
    vehicle_of,
    who,
)
from fleetd.providers.motive.positions import lenient
from fleetd.providers.motive.pushed import POINTS
from fleetd.providers.motive.safety import performance, speeding
from fleetd.providers.reading import (
    Wire,
    count,
    flag,
    inner,
    link,
    loads,
    moment,
    near,
    number,
    objects,
    print_of_all,
    rest,
    snake,
    texts,
    when_ms,
    words,
)

SECRETS = frozenset({"secret"})  # the delivery log repeats it
Reader = Callable[[Wire, str], AnyEvent]


def record(body: bytes) -> Iterator[AnyEvent]:
    """Any webhook record but a location point: its `action` says what it is."""
    told = loads(body, SECRETS)
    said = words(told, "action")
    if said is None:
        raise PayloadError("action is missing")
    action = snake(said)
    known = action in POINTS or "located_at" in told
    if action.startswith("vehicle_location_") and known:
        yield lenient(told)
    else:
        yield reader_of(action)(told, print_of_all(told))  # the log writes it anew


def reader_of(action: str) -> Reader:
    """The reader of an action; dispatch forms go by any of several names."""
    if "form_entry" in action:
        return partial(document, kind="form")
    return READERS.get(action, other)


def geofence(told: Wire, named: str) -> Geofence:
    """An entry or an exit; both carry one id, and neither where the vehicle was."""
    leaves = leaving(told)
    way = "exit" if leaves else "entry"
    fence, moved = inner(told, "geofence"), inner(told, "asset")
    given = words(told, "id")
    drivers = ("end_driver", "start_driver") if leaves else ("start_driver",)
    return Geofence(
        id=f"{given}:{way}" if given else named,
        at=moment(told, *(("end_time", "start_time") if leaves else ("start_time",))),
        type=way,
        place=words(told, "geofence_id") or words(fence, "id"),
        place_name=words(fence, "name") or words(told, "geofence_name"),
        duration_s=number(told, "duration"),
        asset=words(moved, "id") or words(told, "asset_id"),
        asset_name=words(moved, "name", "number"),
        **who(told, *drivers, "driver", "current_driver"),
    )


def leaving(told: Wire) -> bool:
    """Whether it is an exit: as `event_type` says, else when there is an end."""
    said = snake(words(told, "event_type") or "")
    if "exit" in said or "entry" in said or "enter" in said:
        return "exit" in said
    return moment(told, "end_time") is not None


def fault(told: Wire, named: str) -> Fault:
    """A code opened or closed, at its last observation; a later one is a revision.

    The vendor has no updated-at here; a closing counts one ms more than an opening
    observed in the same moment, so that it stands last.
    """
    way = words(told, "action") or words(told, "status") or ""
    opened = "closed" not in way.lower()
    seen = when_ms(told, "last_observed_at", "updated_at")
    times = ("last_observed_at", "updated_at", "first_observed_at", *HAPPENED)
    code = words(told, "code", "code_label")
    network = network_of(words(told, "network"))
    spn = count(told, "code") if network == "j1939" else None
    fmi = count(told, "fmi")
    said = (words(told, "code_description"), words(told, "fmi_description"))
    return Fault(
        id=words(told, "id") or named,
        at=moment(told, *times),
        revision=None if seen is None else seen + (not opened),
        type="on" if opened else "off",
        network=network,
        code=code if spn is None else spn_code(spn, fmi),
        spn=spn,
        fmi=fmi,
        text=": ".join(one for one in said if one) or None,
        count=count(told, "occurrence_count", "num_observations"),
        **who(told),
    )


def spn_code(spn: int, fmi: int | None) -> str:
    """A J1939 code as people write it."""
    return f"SPN {spn}" + ("" if fmi is None else f" FMI {fmi}")


def network_of(said: str | None) -> Literal["j1939", "obdii"] | None:
    """The vehicle's network in our words."""
    name = snake(said or "").replace("_", "")
    if name in ("j1939", "j1708", "j1587"):
        return "j1939" if name == "j1939" else None
    return "obdii" if name.startswith("obd") else None


def violation(told: Wire, named: str) -> Duty:
    """A broken hours-of-service rule; one that ends later comes again."""
    started, ended = moment(told, "start_time"), moment(told, "end_time")
    rule = words(told, "type")
    return Duty(
        id=words(told, "id") or named,
        at=started or moment(told, *HAPPENED),
        revision=when_ms(told, "updated_at"),
        type="violation",
        name=words(told, "name") or rule,
        rule=snake(rule) if rule else None,
        started_at=started,
        ended_at=ended,
        duration_s=seconds(started, ended),
        **who(told, "user", "driver", "current_driver"),
    )


def seconds(started: datetime | None, ended: datetime | None) -> float | None:
    """How long it took, once it is over."""
    return (ended - started).total_seconds() if started and ended else None


DUTIES = {"sleeper": "sleeper_berth", "sleeper_bed": "sleeper_berth"}


def duty(told: Wire, named: str) -> Duty:
    """A driver's new status; the record's id is the user's, the time makes it one.

    The user was created long before.
    """
    times = (one for one in ("updated_at", *HAPPENED) if one != "created_at")
    user, at = words(told, "id", "user_id"), moment(told, *times)
    said = snake(words(told, "duty_status") or "")
    return Duty(
        id=f"{user}@{millis(at)}" if user and at else named,
        at=at,
        type="status",
        status=DUTIES.get(said, said) or None,
        started_at=at,
        **who(told) | {"driver": user, "driver_name": full_name(told)},
    )


def user(told: Wire, _named: str) -> Driver:
    """A user of any role; `role` says which, nobody is lost and a sink can choose.

    Drivers are named in other records by the same ids, and a user can become a driver.
    """
    return Driver(
        id=needed(told, "id"),
        at=moment(told, "updated_at", "created_at"),
        revision=when_ms(told, "updated_at"),
        driver=words(told, "id"),
        driver_name=full_name(told),
        state=words(told, "status"),
        username=words(told, "username"),
        employee_number=words(told, "driver_company_id"),
        phone=words(told, "phone"),
        email=words(told, "email"),
        zone=words(told, "time_zone"),
        groups=texts(told, "group_ids", "groups"),
        role=words(told, "role"),
    )


def vehicle(told: Wire, _named: str) -> Vehicle:
    """A unit of the fleet, with the units its numbers come in."""
    return Vehicle(
        id=needed(told, "id"),
        at=moment(told, "updated_at", "created_at"),
        revision=when_ms(told, "updated_at"),
        vehicle=words(told, "id"),
        number=words(told, "number"),
        vin=vin_of(words(told, "vin")),
        state=words(told, "status"),
        make=words(told, "make"),
        model=words(told, "model"),
        year=words(told, "year"),
        plate=words(told, "license_plate_number"),
        serial=words(inner(told, "eld_device"), "identifier"),
        metric_units=flag(told, "metric_units"),
        groups=texts(told, "group_ids", "groups"),
        since=moment(told, "created_at"),
        **driver_of(told, "current_driver"),
    )


def needed(told: Wire, key: str) -> str:
    """The id without which a directory record says nothing about anybody."""
    found = words(told, key)
    if found is None:
        raise PayloadError(f"{key} is missing")
    return found


INSPECTED = {
    "safe": "safe", "satisfactory": "safe", "harmless": "safe", "no_defects": "safe",
    "unsafe": "unsafe", "unsatisfactory": "unsafe", "harmful": "unsafe",
    "resolved": "resolved", "corrected": "resolved", "repaired": "resolved",
}  # fmt: skip


def inspection(told: Wire, named: str) -> Inspection:
    """A driver's report; `harmless` defects leave a vehicle safe to drive."""
    said = snake(words(told, "status") or "")
    miles = number(told, "odometer")
    kind = words(told, "inspection_type", "type")
    town = (words(told, "city"), words(told, "state"))
    return Inspection(
        id=words(told, "id") or named,
        at=moment(told, "time", "driver_signed_at", *HAPPENED),
        revision=when_ms(told, "updated_at"),
        type=snake(kind) if kind else None,
        status=INSPECTED.get(said, said) or None,
        defects=tuple(defect(one) for one in objects(told, "defects")),
        odometer=miles * MPH_PER_KPH if miles and metric(told) else miles,
        place_name=words(told, "location")
        or ", ".join(one for one in town if one)
        or None,
        text=words(told, "notes", "mechanic_notes"),
        **who(told),
    )


def defect(told: Wire) -> str:
    """`Mirrors (tractor): cracked`."""
    one = inner(told, "defect") or told
    area, notes = words(one, "area"), words(one, "notes")
    name = words(one, "category", "name", "id") or "defect"
    return name + (f" ({area})" if area else "") + (f": {notes}" if notes else "")


TOGGLES = {"on": "on", "off": "off", "start": "on", "stop": "off"}


def engine(told: Wire, named: str) -> Engine:
    """The engine went on or off; the vendor gives no id, so whose and when make one."""
    said = snake(words(told, "trigger", "event_type", "type", "status") or "")
    said = said.removeprefix("engine_").removeprefix("ignition_")
    whose, at = who(told), moment(told, *HAPPENED)
    unit, way = whose["vehicle"], TOGGLES.get(said, said) or None
    known = f"{unit}@{millis(at)}@engine_{way}" if unit and at else named
    return Engine(
        id=words(told, "id") or known,
        at=at,
        type=way,
        hours=number(told, "engine_hours"),
        latitude=number(told, "lat"),
        longitude=number(told, "lon"),
        **whose,
    )


def gateway(told: Wire, named: str, *, kind: str) -> Device:
    """The device lost its vehicle, or has it back: the end is a later revision."""
    started, ended = moment(told, "start_time"), moment(told, "end_time")
    at = started if kind == "disconnected" else ended
    unit = inner(told, "eld_device", "vehicle_gateway")
    stamp = when_ms(told, "updated_at", "end_time", "start_time")
    return Device(
        id=words(told, "id") or named,
        at=at or moment(told, *HAPPENED),
        revision=stamp,
        type=kind,
        started_at=started,
        ended_at=ended,
        resolved=kind != "disconnected",
        place_name=words(told, "location"),
        latitude=number(told, "lat"),
        longitude=number(told, "lon"),
        detail=rest(
            {"serial": words(unit, "identifier"), "model": words(unit, "model")}
        ),
        **who(told),
    )


def document(told: Wire, named: str, *, kind: str) -> Document:
    """Something handed in: a dispatch form, a coaching recap."""
    return Document(
        id=words(told, "id") or named,
        at=moment(told, "submitted_at", *HAPPENED),
        revision=when_ms(told, "updated_at"),
        type=kind,
        text=words(told, "title", "name", "summary"),
        state=words(told, "status"),
        url=link(told, "url", "recap_url", "video_url"),
        detail=rest(told, *TOLD),
        **who(told),
    )


TOLD = (
    "action", "id", "vehicle", "current_vehicle", "vehicle_id", "driver",
    "current_driver", "driver_id", "user",
)  # fmt: skip


def other(told: Wire, named: str) -> Other:
    """An action we do not know; its id may be anything's, so the action joins it."""
    action = snake(words(told, "action") or "") or "unknown"
    given = words(told, "id")
    whose = who(told)
    if whose["vehicle"] is None:
        whose |= vehicle_of(dict(near(told, frozenset({"vehicle", "current_vehicle"}))))
    return Other(
        id=f"{action}:{given}" if given else named,
        at=moment(told, *HAPPENED),
        revision=when_ms(told, "updated_at"),
        type=action,
        detail=rest(told, *TOLD),
        **whose,
    )


READERS: dict[str, Reader] = {
    "vehicle_geofence_event": geofence,
    "asset_geofence_event": geofence,
    "fault_code_opened": fault,
    "fault_code_closed": fault,
    "hos_violation_upserted": violation,
    "user_duty_status_updated": duty,
    "user_upserted": user,
    "vehicle_upserted": vehicle,
    "inspection_report_upserted": inspection,
    "driver_performance_event_created": performance,
    "driver_performance_event_updated": performance,
    "speeding_event_created": speeding,
    "speeding_event_updated": speeding,
    "engine_toggle_event": engine,
    "vehicle_gateway_disconnected": partial(gateway, kind="disconnected"),
    "vehicle_gateway_disconnect_ended": partial(gateway, kind="reconnected"),
    "ai_coach_recap_created": partial(document, kind="coaching_recap"),
}
