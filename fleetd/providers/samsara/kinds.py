"""Samsara's events by kind: one reader for the event and the alert that wraps it."""

from __future__ import annotations

from typing import Any, Literal

from fleetd.event import (
    MPH_PER_KPH,
    Alert,
    AnyEvent,
    Device,
    Duty,
    Engine,
    Fault,
    Fuel,
    Geofence,
    Route,
    Safety,
    millis,
)
from fleetd.providers.reading import (
    Wire,
    count,
    flag,
    inner,
    link,
    moment,
    number,
    objects,
    rest,
    said,
    snake,
    words,
)
from fleetd.providers.samsara.told import PARTIES, Told, detailed


def geofence(told: Told, *, kind: str) -> Geofence:
    """An entry or exit of a place; where the vehicle itself was is not said."""
    place, trailer = inner(told.data, "address"), inner(told.data, "trailer")
    return Geofence(
        **told.base(told.when(told.data, "happenedAtTime", "time")),
        **told.extra(),
        type=kind,
        place=words(place, "id"),
        place_name=words(place, "name"),
        asset=words(trailer, "id"),
        asset_name=words(trailer, "name"),
    )


def engine(told: Told, *, kind: str) -> Engine:
    """The engine went on, off or idle."""
    return Engine(**told.base(), **told.extra(), type=kind)


def device(told: Told, *, kind: str | None = None) -> Device:
    """The gateway or the camera itself; `gateway` holds its vehicle."""
    unit = inner(told.data, "gateway") or told.data
    named = said(model=words(unit, "model"), serial=words(unit, "serial"))
    return detailed(
        told, of=Device, kind=kind, detail=named or rest(told.data, *PARTIES)
    )


Severity = Literal["low", "medium", "high", "severe"]
SEVERITIES: dict[str, Severity] = {
    "light": "low", "low": "low", "moderate": "medium", "medium": "medium",
    "heavy": "high", "high": "high", "severe": "severe", "critical": "severe",
}  # fmt: skip


def safety(told: Told, *, kind: str | None = None) -> Safety:
    """Panic, SOS, a harsh event; only an SOS says where."""
    spot = inner(told.data, "location")
    return Safety(
        **told.base(),
        type=kind or told.type,
        severity=SEVERITIES.get(snake(words(told.data, "severity") or "")),
        started_at=told.at,
        ended_at=told.ended_at,
        latitude=number(spot, "latitude"),
        longitude=number(spot, "longitude"),
        place_name=words(spot, "formattedLocation", "name"),
        state=None
        if told.resolved is None
        else "resolved"
        if told.resolved
        else "open",
        resolved=told.resolved,
        text=told.text,
        url=told.url or link(told.data, "workerSafetyIncidentUrl"),
    )


def speed(told: Told) -> Safety | Alert:
    """An alert on speed, in km/h. Slower than a threshold is no speeding."""
    data = told.data
    limit = mph(data, "thresholdSpeedKilometersPerHour")
    if snake(words(data, "operation") or "") in ("less", "inside_range"):
        return detailed(told, of=Alert, kind="speed")
    return Safety(
        **told.base(),
        **told.extra(),
        type="speeding",
        started_at=told.at,
        ended_at=told.ended_at,
        speed_mph=mph(data, "currentSpeedKilometersPerHour"),
        limit_mph=limit,
        state=None
        if told.resolved is None
        else "resolved"
        if told.resolved
        else "open",
    )


def mph(data: Wire, *names: str) -> float | None:
    """A speed in km/h as miles an hour."""
    found = number(data, *names)
    return None if found is None else found * MPH_PER_KPH


def speeding(told: Told, *, state: str | None = None, severe: bool = False) -> Safety:
    """Speeding that starts and ends is one thing told twice: vehicle and start name it.

    The start's revision is its start and the end's its end, so that the copy with the
    end stands in a sink that upserts, in whichever order the two arrive.
    """
    data = inner(told.data, "data") or told.data
    started, ended = moment(data, "startTime"), moment(data, "endTime")
    last = ended or (told.at if state == "ended" else started)
    fields = told.base(started)
    if not told.alert and started and fields["vehicle"]:
        what = "severe_speeding" if severe else "speeding"
        fields["id"] = f"{fields['vehicle']}@{millis(started)}@{what}"
        fields["revision"] = millis(last or started) + (state == "ended")
    grade = snake(words(data, "severityLevel", "severity") or "")
    return Safety(
        **fields | told.extra(),
        type="speeding",
        severity="severe" if severe else SEVERITIES.get(grade),
        started_at=started,
        ended_at=ended or told.ended_at,
        speed_mph=mph(
            data, "maxSpeedKilometersPerHour", "currentSpeedKilometersPerHour"
        ),
        limit_mph=mph(data, "postedSpeedLimitKilometersPerHour"),
        state=state or ("ended" if ended else "started"),
    )


def fault(told: Told, *, kind: str) -> Fault:
    """A fault code; going off may say no more than which lamps are out.

    The code of a vehicle is one thing, pushed or polled: on, off and seen again are
    revisions of it.
    """
    data = inner(told.data, "fault") or told.data
    arm, network = arm_of(data)
    code = j1939(arm) if network != "obdii" else obd(arm)
    lamps = inner(arm, "lamps", "checkEngineLights", "checkEngineLight")
    off = kind == "off" or (told.alert and told.resolved)
    base = told.base()
    if not told.alert and told.at and base["vehicle"] and alone(code["code"]):
        base["id"] = fault_id(base["vehicle"], code["code"], words(arm, "txId"))
        base["revision"] = millis(told.at)
    return Fault(
        **base,
        type="off" if off else "on",
        network=network,
        count=count(arm, "occurrenceCount"),
        lamps=tuple(sorted(lamp(one) for one in lamps if flag(lamps, one))),
        url=told.url,
        **code | {"text": code.get("text") or told.text},
    )


def fault_id(vehicle: str, code: str, tx: str | None) -> str:
    """`vehicle@code@unit`: the control unit that sends it, where that is told."""
    return f"{vehicle}@{code}" + (f"@{tx}" if tx else "")


def alone(code: str | None) -> bool:
    """Whether it is one code, and no list of them."""
    return code is not None and ", " not in code


def arm_of(data: Wire) -> tuple[Wire, Literal["j1939", "obdii"] | None]:
    """The arm of a fault that says something, and the network it names."""
    for key, value in data.items():
        name = snake(key).replace("_", "")
        if isinstance(value, dict) and name == "j1939":
            return value, "j1939"
        if isinstance(value, dict) and (name.startswith("obd") or name == "passenger"):
            return value, "obdii"
    return data, None


def lamp(key: str) -> str:
    """`emissionsIsOn` as `emissions`."""
    return snake(key).removesuffix("_is_on")


def j1939(arm: Wire) -> dict[str, Any]:
    """SPN and FMI, each an object with its description or a bare number."""
    one = next(iter(objects(arm, "diagnosticTroubleCodes")), arm)
    of_spn, of_fmi = inner(one, "spn"), inner(one, "fmi")
    spn = count(of_spn, "id") if of_spn else count(one, "spn", "spnId")
    fmi = count(of_fmi, "id") if of_fmi else count(one, "fmi", "fmiId")
    told = (
        words(of_spn, "description") or words(one, "spnDescription"),
        words(of_fmi, "description") or words(one, "fmiDescription", "fmiText"),
    )
    parts = (
        None if spn is None else f"SPN {spn}",
        None if fmi is None else f"FMI {fmi}",
    )
    return {
        "spn": spn,
        "fmi": fmi,
        "code": " ".join(part for part in parts if part) or None,
        "text": ": ".join(part for part in told if part) or None,
    }


CODE_LISTS = ("confirmedDtcs", "pendingDtcs", "permanentDtcs", "diagnosticTroubleCodes")


def obd(arm: Wire) -> dict[str, Any]:
    """The OBD-II codes of one fault."""
    found = [arm, *(one for name in CODE_LISTS for one in objects(arm, name))]
    deeper = (objects(one, name) for one in found[1:] for name in CODE_LISTS[:3])
    found += [one for listed in deeper for one in listed]
    dtcs = [inner(one, "dtc") or one for one in found]
    codes = [words(one, "dtcShortCode", "shortCode", "code", "dtcCode") for one in dtcs]
    texts = [words(one, "dtcDescription", "description") for one in dtcs]
    return {
        "code": ", ".join(dict.fromkeys(one for one in codes if one)) or None,
        "text": "; ".join(dict.fromkeys(one for one in texts if one)) or None,
    }


def duty(told: Told, *, kind: str) -> Duty:
    """A duty status or a violation; alerts name the driver and seldom more."""
    status = words(told.data, "hosStatusType", "dutyStatus", "status")
    rule = words(told.data, "type", "violationType")
    name = snake(status) if status and kind == "status" else None
    return Duty(
        **told.base(),
        type=kind,
        status=STATUSES.get(name, name) if name else None,
        name=words(told.data, "description") or told.text,
        rule=snake(rule) if rule else None,
        started_at=told.at,
        ended_at=told.ended_at,
        resolved=told.resolved,
        url=told.url,
    )


STATUSES = {"sleeper_bed": "sleeper_berth", "sleeper": "sleeper_berth"}


def fuel(told: Told, *, kind: str) -> Fuel:
    """A level that rose or fell at once, with where the vehicle was."""
    data, spot = told.data, inner(told.data, "location")
    before = number(data, "fuelLevelBeforeMillipercent")
    after = number(data, "fuelLevelAfterMillipercent")
    levels = said(
        before_percent=None if before is None else before / 1000,
        after_percent=None if after is None else after / 1000,
    )
    return detailed(
        told,
        of=Fuel,
        kind=kind,
        at=told.when(data, "changeStartTime", "changeEndTime"),
        started_at=moment(data, "changeStartTime"),
        ended_at=moment(data, "changeEndTime") or told.ended_at,
        latitude=number(spot, "latitude"),
        longitude=number(spot, "longitude"),
        detail=levels or rest(data, *PARTIES),
    )


def route(told: Told, *, kind: str | None = None) -> Route:
    """A stop reached, left, late; where the stop lies is not where the vehicle is."""
    plan, stop = inner(told.data, "route"), inner(told.data, "routeStopDetails")
    named = words(stop, "id")
    listed = (one for one in objects(plan, "stops") if words(one, "id") == named)
    place = next(listed, {}) if named else {}
    state = words(stop, "state")
    return detailed(
        told,
        of=Route,
        kind=kind,
        at=told.when(told.data, "time"),
        state=snake(state) if state else None,
        place_name=words(place, "name") or words(stop, "name"),
        url=told.url or link(stop, "liveSharingUrl"),
        detail=said(
            route=words(plan, "id"),
            route_name=words(plan, "name"),
            stop=named,
            operation=words(told.data, "operation"),
            arrival_status=words(told.data, "arrivalStatus"),
            deviation_minutes=number(told.data, "deviationMinutes"),
            scheduled_arrival=words(place, "scheduledArrivalTime"),
            **{snake(key): words(stop, key) for key in STOP_TIMES},
        ),
    )


STOP_TIMES = (
    "eta",
    "enRouteTime",
    "actualArrivalTime",
    "actualDepartureTime",
    "skippedTime",
)


def alert(told: Told, *, kind: str | None = None) -> AnyEvent:
    """An alert of no other kind."""
    state = None if told.resolved is None else "resolved" if told.resolved else "open"
    return detailed(told, of=Alert, kind=kind, state=state)
