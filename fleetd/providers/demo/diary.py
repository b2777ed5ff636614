"""What a demo vehicle's service day leaves behind besides its track."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from fleetd.providers.demo.fleet import driver_id, name_of, number_of, vehicle_id
from fleetd.providers.demo.land import KPH, draw
from fleetd.providers.demo.motion import Incident, Motion
from fleetd.providers.demo.plan import HOUR, MINUTE, Leg, Plan, plan
from fleetd.providers.demo.wire import (
    AnyNote,
    DutyNote,
    FaultNote,
    FenceNote,
    Ignition,
    IgnitionNote,
    SafetyNote,
    TripNote,
)

FAST = 20.0  # m/s
CRASHES, CALLS, FAULTS, BREACHES = 1 / 250, 1 / 200, 0.06, 1 / 40  # a vehicle and day
FAULT_CODES = (
    (111, 1, "Coolant level low"),
    (3251, 0, "Particulate filter differential pressure high"),
    (1761, 17, "Diesel exhaust fluid tank level low"),
    (100, 18, "Engine oil pressure low"),
    (168, 4, "Battery potential low"),
    (639, 9, "J1939 network: abnormal update rate"),
)


class Diary(Struct, frozen=True):
    """Notes in the order of time, as JSON."""

    times: tuple[int, ...]
    notes: tuple[bytes, ...]


@lru_cache(maxsize=80)
def diary(vehicle: int, day: int) -> Diary:
    """Everything that happened to a vehicle on a service day."""
    day_plan = plan(vehicle, day)
    told = sorted(_everything(day_plan), key=lambda note: (note.time, note.id))
    times = tuple(int(note.time.timestamp()) for note in told)
    return Diary(times, tuple(msgspec.json.encode(note) for note in told))


def moment(time: int) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def _everything(day_plan: Plan) -> Iterator[AnyNote]:
    yield from _engine(day_plan)
    yield from _duty(day_plan)
    drives = [leg for leg in day_plan.legs if leg.motion]
    arrived: int | None = None
    for leg in drives:
        assert leg.motion
        yield from _trip(day_plan, leg, leg.motion)
        entered = leg.start + _seconds(
            leg.motion.reaches(leg.motion.path.metres - leg.target.radius)
        )
        left = leg.start + _seconds(leg.motion.reaches(leg.origin.radius))
        stayed = None if arrived is None else float(left - arrived)
        yield _fence(day_plan, leg, left, "leave", stayed)
        yield _fence(day_plan, leg, entered, "enter", None)
        arrived = entered
        for incident in leg.motion.incidents:
            yield _incident(day_plan, leg, leg.motion, incident)
    if drives:
        yield from _bad_luck(day_plan, drives)


def _seconds(elapsed: float) -> int:
    return int(elapsed) + 1


def _common(day_plan: Plan, leg: Leg, time: int, what: str) -> dict[str, Any]:
    driver = leg.driver
    number = number_of(day_plan.vehicle)
    return {
        "id": f"{what}-{number[2:]}-{time}",
        "time": moment(time),
        "vehicle_id": vehicle_id(day_plan.vehicle),
        "unit": number,
        "driver_id": None if driver is None else driver_id(driver),
        "driver_name": None if driver is None else name_of(driver),
    }


def _engine(day_plan: Plan) -> Iterator[AnyNote]:
    """On, idle and off, where one follows another."""
    before: Ignition = "off"
    for leg in day_plan.legs:
        states: list[tuple[int, Ignition]]
        states = [(leg.start, "on" if leg.motion else "off")]
        if leg.idle_until > leg.start:
            states = [(leg.start, "idle"), (leg.idle_until, "off")]
        for time, state in states:
            if state != before and (time < leg.end or time == leg.start):
                common = _common(day_plan, leg, time, state)
                yield IgnitionNote(**common, state=state)
                before = state


def _duty(day_plan: Plan) -> Iterator[AnyNote]:
    """The drivers' log: on duty, driving, off duty."""
    last: Leg | None = None
    for leg in day_plan.legs:
        if last and last.driver is not None and last.driver != leg.driver:
            common = _common(day_plan, last, leg.start, "off-duty")
            yield DutyNote(**common, status="offDuty")
        if leg.driver is not None:
            rest = "offDuty" if leg.lunch else "onDuty"
            status = "driving" if leg.motion else rest
            common = _common(day_plan, leg, leg.start, "duty")
            yield DutyNote(**common, status=status)
        last = leg


def _trip(day_plan: Plan, leg: Leg, motion: Motion) -> Iterator[AnyNote]:
    """A trip as it begins, and again as it ends."""
    common = _common(day_plan, leg, leg.start, "trip")
    begun: dict[str, Any] = {
        "started_at": moment(leg.start),
        "start_site": leg.origin.name,
        "start_lat": leg.origin.lat,
        "start_lon": leg.origin.lon,
    }
    yield TripNote(**common, **begun)
    yield TripNote(
        **{**common, "time": moment(leg.end)},
        **begun,
        ended_at=moment(leg.end),
        end_site=leg.target.name,
        end_lat=leg.target.lat,
        end_lon=leg.target.lon,
        distance_km=round(motion.path.metres / 1000, 2),
    )


def _fence(
    day_plan: Plan, leg: Leg, time: int, state: Any, stayed: float | None
) -> FenceNote:
    site = leg.target if state == "enter" else leg.origin
    common = _common(day_plan, leg, time, state)
    return FenceNote(
        **common, state=state, site_id=site.id, site_name=site.name, stayed_s=stayed
    )


def _incident(
    day_plan: Plan, leg: Leg, motion: Motion, incident: Incident
) -> SafetyNote:
    state = motion.state(incident.upto)
    lat, lon = motion.point(state)
    time = leg.start + _seconds(incident.upto)
    fast = incident.type == "speeding"
    return SafetyNote(
        **_common(day_plan, leg, time, incident.type.lower()),
        event=incident.type,
        severity="medium" if fast or incident.speed > FAST else "low",
        since=moment(leg.start + int(incident.since)),
        speed_kph=round(incident.speed / KPH, 1),
        limit_kph=round(incident.limit / KPH, 1) if fast else None,
        lat=round(lat, 6),
        lon=round(lon, 6),
        place=motion.path.labels[state.piece],
    )


def _bad_luck(day_plan: Plan, drives: list[Leg]) -> Iterator[AnyNote]:
    """What is rare: a crash in a yard, a call for help, a fault, a breach."""
    seed = day_plan.vehicle, day_plan.day
    leg = drives[int(len(drives) * draw("where", *seed))]
    assert leg.motion
    if draw("crash", *seed) < CRASHES:
        bump = Incident("crash", leg.motion.seconds - 4, leg.motion.seconds - 3, 2.5, 0)
        yield _severe(_incident(day_plan, leg, leg.motion, bump))
    if draw("sos", *seed) < CALLS:
        half = leg.motion.seconds / 2
        speed = leg.motion.state(half).speed
        call = Incident("sos", half, half, speed, 0)
        yield _severe(_incident(day_plan, leg, leg.motion, call))
    if draw("fault", *seed) < FAULTS:
        yield from _fault(day_plan, leg)
    if draw("breach", *seed) < BREACHES:
        common = _common(day_plan, leg, leg.end, "breach")
        rule = "30-minute break after 8 hours of driving"
        yield DutyNote(**common, status="driving", violation=rule)


def _severe(note: SafetyNote) -> SafetyNote:
    return msgspec.structs.replace(note, severity="severe")


def _fault(day_plan: Plan, leg: Leg) -> Iterator[AnyNote]:
    luck = draw("code", day_plan.vehicle, day_plan.day)
    spn, fmi, text = FAULT_CODES[int(len(FAULT_CODES) * luck)]
    common = _common(day_plan, leg, leg.start + 3 * MINUTE, "fault")
    yield FaultNote(**common, state="active", spn=spn, fmi=fmi, text=text)
    end = min(leg.end + int(3 * HOUR * luck), day_plan.legs[-1].end - 1)
    yield FaultNote(
        **{**common, "time": moment(end)}, state="cleared", spn=spn, fmi=fmi, text=text
    )
