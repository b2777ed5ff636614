"""What a simulated fleet drove: pure functions of seed, vehicle and time, whole seconds.

Any window can be asked for without the time before it. Vehicles, drivers and spots are
numbers from 0; a vendor's simulator gives them ids of its own. Windows are half-open;
what lasts belongs to the window in which it began. With `now`, the end of what is not
over yet is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.vendors.driven import (
    Assignment,
    Duty,
    Fix,
    Harsh,
    Idling,
    Inspection,
    Stretch,
    Trip,
    Trouble,
    Visit,
    draw,
    moment,
    zulu,
)
from tests.vendors.people import (
    DEFECTS,
    FAULTS,
    HARSH,
    Person,
    Spot,
    Unit,
    make_person,
    make_spot,
    make_unit,
)
from tests.vendors.plan import DAY, METRES_PER_DEGREE, Plan

SWERVE_M, SWERVES = 600.0, 3

__all__ = [
    "DAY", "Assignment", "Duty", "Fix", "Harsh", "Idling", "Inspection", "Person", "Spot",
    "Stretch", "Trip", "Trouble", "Truth", "Unit", "Visit", "draw", "moment", "zulu",
]  # fmt: skip


class Truth:
    """A fleet's days. `every` and `parked` are seconds from fix to fix; 3600 % every == 0.

    With `parked == every` each vehicle has exactly 86 400 / every fixes a day.
    """

    def __init__(
        self, vehicles: int = 25, seed: int = 7, every: int = 60, parked: int = 3600
    ) -> None:
        self.vehicles, self.seed, self.every, self.parked = (
            vehicles,
            seed,
            every,
            parked,
        )
        self.spares = vehicles // 5 + 1
        self.units = [make_unit(seed, n) for n in range(vehicles)]
        self.people = [make_person(seed, n) for n in range(vehicles + self.spares)]
        self.spots = [make_spot(seed, n) for n in range(12 + vehicles // 5)]
        self.day = Plan(self.spots, vehicles, seed, every).day

    def unit(self, vehicle: int) -> Unit:
        return self.units[vehicle]

    def person(self, driver: int) -> Person:
        return self.people[driver]

    def spot(self, spot: int) -> Spot:
        return self.spots[spot]

    # where they were

    def fixes(self, vehicle: int, since: int, until: int) -> list[Fix]:
        """Every fix of one vehicle in a window, in order."""
        found: list[Fix] = []
        for stretch in self.stretches(vehicle, since, until):
            found += self._fixes(stretch, since, until)
        return found

    def last(self, vehicle: int, at: int) -> Fix:
        """The newest fix at or before a time."""
        until = at + 1
        while True:
            if found := self.fixes(vehicle, until - DAY, until):
                return found[-1]
            until -= DAY

    def stretches(self, vehicle: int, since: int, until: int) -> Iterator[Stretch]:
        """The parts of its days that reach into a window."""
        for day in range(since // DAY, (until - 1) // DAY + 1):
            for one in self.day(vehicle, day):
                if one.start < until and one.end > since:
                    yield one

    def odometer(self, vehicle: int, at: int) -> int:
        """Metres, at any second."""
        for one in self.stretches(vehicle, at, at + 1):
            if one.kind != "drive":
                return one.odometer_m
            share = _share((at - one.start) / (one.end - one.start))
            return round(one.odometer_m + one.metres * share)
        raise AssertionError(at)

    def driver(self, vehicle: int, at: int) -> int | None:
        return next(self.stretches(vehicle, at, at + 1)).driver

    # what lasts

    def trips(
        self, vehicle: int, since: int, until: int, now: int | None = None
    ) -> list[Trip]:
        """The drives that began in a window."""
        return [
            Trip(
                one.id, vehicle, one.driver or 0, one.start, end, one.origin,
                one.destination, one.odometer_m,
                round(one.metres) if end is not None else None,
            )
            for one in self._begun("drive", vehicle, since, until, now)
            for end in (_over(one.end, now),)
        ]  # fmt: skip

    def idlings(
        self, vehicle: int, since: int, until: int, now: int | None = None
    ) -> list[Idling]:
        """The engine ran and nothing moved."""
        return [
            Idling(
                one.id,
                vehicle,
                one.driver or 0,
                one.origin,
                one.start,
                _over(one.end, now),
            )
            for one in self._begun("idle", vehicle, since, until, now)
        ]

    def assignments(
        self, vehicle: int, since: int, until: int, now: int | None = None
    ) -> list[Assignment]:
        """Who drove, as far as it began in a window."""
        found: list[Assignment] = []
        for day in range(since // DAY, (until - 1) // DAY + 1):
            before: int | None = None
            for one in self.day(vehicle, day):
                if one.driver is not None and one.driver != before:
                    end = _until_driver(self.day(vehicle, day), one)
                    found.append(
                        Assignment(
                            one.id, vehicle, one.driver, one.start, _over(end, now)
                        )
                    )
                before = one.driver
        return [one for one in found if since <= one.start < _end(until, now)]

    def visits(
        self, vehicle: int, since: int, until: int, now: int | None = None
    ) -> list[Visit]:
        """Entries into a spot's fence in a window, each with its exit."""
        drives = list(self._begun("drive", vehicle, since - DAY, until + DAY, None))
        found = []
        for come, go in pairwise(drives):
            if since <= come.end < _end(until, now):
                found.append(
                    Visit(
                        come.id,
                        vehicle,
                        come.destination,
                        come.driver or 0,
                        go.driver or 0,
                        come.end,
                        _over(go.start, now),
                    )
                )
        return found

    def exits(self, vehicle: int, since: int, until: int) -> list[Visit]:
        """The visits that ended in a window."""
        return [
            one
            for one in self.visits(vehicle, since - 2 * DAY, until)
            if one.end is not None and since <= one.end < until
        ]

    def troubles(
        self, vehicle: int, since: int, until: int, now: int | None = None
    ) -> list[Trouble]:
        """Fault codes that came on in a window: about one drive in ten."""
        found = []
        for one in self._begun("drive", vehicle, since - DAY, until, now):
            luck = draw("fault", self.seed, one.id)
            start = one.start + 5 + int(luck * 1000) % max(one.end - one.start - 10, 1)
            if luck < 0.1 and since <= start < _end(until, now):
                spn, fmi, code, text = FAULTS[int(luck * 1e6) % len(FAULTS)]
                found.append(
                    Trouble(
                        one.id,
                        vehicle,
                        spn,
                        fmi,
                        code,
                        text,
                        start,
                        _over(one.end + 600, now),
                    )
                )
        return found

    # what happens

    def harsh(
        self, vehicle: int, since: int, until: int, now: int | None = None
    ) -> list[Harsh]:
        """Safety events that began in a window and are over: about one drive in four."""
        found = []
        for one in self._begun("drive", vehicle, since - DAY, until, now):
            luck = draw("harsh", self.seed, one.id)
            length = one.end - one.start
            start = one.start + int(length * (0.2 + 0.6 * draw("when", one.id)))
            if luck < 0.25 and since <= start < until:
                event = self._harsh(one, luck * 4, start)
                if event.end < _end(until + DAY, now):
                    found.append(event)
        return found

    def duties(
        self, vehicle: int, since: int, until: int, now: int | None = None
    ) -> list[Duty]:
        """Statuses that began in a window, of whoever drives this vehicle."""
        found: list[Duty] = []
        for day in range(since // DAY, (until - 1) // DAY + 1):
            found += self._duties(vehicle, day, now)
        return [one for one in found if since <= one.start < _end(until, now)]

    def inspections(
        self, vehicle: int, since: int, until: int, now: int | None = None
    ) -> list[Inspection]:
        """One before each day's first drive."""
        found = []
        for day in range(since // DAY, (until - 1) // DAY + 1):
            first = next(one for one in self.day(vehicle, day) if one.kind == "drive")
            at, luck = first.start - 900, draw("dvir", self.seed, first.id)
            if since <= at < _end(until, now):
                bad = (DEFECTS[int(luck * 1e6) % len(DEFECTS)],) if luck < 0.2 else ()
                found.append(
                    Inspection(
                        first.id,
                        vehicle,
                        first.driver or 0,
                        at,
                        not bad,
                        bad,
                        first.odometer_m,
                    )
                )
        return found

    def row(self, fix: Fix) -> dict[str, Any]:
        """The 14 columns as the truth has them; ids are numbers as texts."""
        unit = self.units[fix.vehicle]
        who = None if fix.driver is None else self.people[fix.driver]
        return {
            "provider": "",
            "provider_vehicle_id": str(fix.vehicle),
            "vin": unit.vin,
            "fleet_number": unit.number,
            "timestamp": zulu(fix.at, ms=True),
            "latitude": fix.lat,
            "longitude": fix.lon,
            "speed_mph": fix.kph / 1.609344,
            "heading_degrees": float(fix.heading),
            "engine_state": fix.engine,
            "driver_id": None if who is None else str(who.n),
            "driver_name": None if who is None else who.name,
            "location_description": fix.place,
            "odometer": fix.odometer_m / 1609.344,
        }

    # how it is made

    def _begun(
        self, kind: str, vehicle: int, since: int, until: int, now: int | None
    ) -> Iterator[Stretch]:
        upto = _end(until, now)
        for one in self.stretches(vehicle, since, max(upto, since + 1)):
            if one.kind == kind and since <= one.start < upto:
                yield one

    def _fixes(self, one: Stretch, since: int, until: int) -> Iterator[Fix]:
        step = self.parked if one.kind == "off" else self.every
        phase = one.vehicle * 7 % self.every
        begin = max(one.start, since)
        at = begin + (phase - begin) % step
        upto = min(one.end, until)
        first = one.start % self.every == phase and one.start >= since
        if first and at != one.start and one.start < upto:
            yield self._standing(one, one.start)
        if one.kind == "drive":
            yield from self._driving(one, at, upto, step)
        else:
            for when in range(at, upto, step):
                yield self._standing(one, when)

    def _standing(self, one: Stretch, at: int) -> Fix:
        spot = self.spots[one.origin]
        engine, why = ("Idle", "idle") if one.kind == "idle" else ("Off", "parked")
        if one.kind == "off" and at == one.start and at % DAY:
            why = "stop"
        heading = int(draw("heading", one.id) * 360)
        return Fix(
            one.vehicle, at, spot.lat, spot.lon, 0.0, heading, engine, one.odometer_m,
            one.driver, spot.name, why,
        )  # fmt: skip

    def _driving(self, one: Stretch, at: int, upto: int, step: int) -> Iterator[Fix]:
        a, b = self.spots[one.origin], self.spots[one.destination]
        north, east = b.lat - a.lat, b.lon - a.lon
        flat = math.cos(math.radians(a.lat))
        straight = math.hypot(north, east * flat) or 1e-9
        aside = SWERVE_M / METRES_PER_DEGREE
        up, right = -east * flat / straight * aside, north / straight * aside / flat
        wave, length = 2 * math.pi * SWERVES, one.end - one.start
        fast, near = one.metres / length * 6 * 3.6, f"on the way to {b.name}"
        for when in range(at, upto, step):
            part = (when - one.start) / length
            share = part * part * (3 - 2 * part)
            sine, tilt = math.sin(wave * share), wave * math.cos(wave * share)
            heading = math.atan2((east + right * tilt) * flat, north + up * tilt)
            yield Fix(
                one.vehicle, when,
                round(a.lat + north * share + up * sine, 6),
                round(a.lon + east * share + right * sine, 6),
                round(fast * part * (1 - part), 1),
                int(math.degrees(heading)) % 360,
                "On", round(one.odometer_m + one.metres * share), one.driver, near,
                "moving" if when != one.start else "start",
            )  # fmt: skip

    def _harsh(self, one: Stretch, luck: float, start: int) -> Harsh:
        kind, severity, g = HARSH[int(luck * len(HARSH))]
        end = start + (45 if kind == "speeding" else 4)
        (fix,) = self._driving(one, start, start + 1, 1)
        return Harsh(
            one.id, one.vehicle, one.driver or 0, kind, severity, start, end, fix.lat,
            fix.lon, fix.kph, round(fix.kph * 0.8), g,
        )  # fmt: skip

    def _duties(self, vehicle: int, day: int, now: int | None) -> Iterator[Duty]:
        changes: list[tuple[int, int, int, str]] = []
        for one in self.assignments(vehicle, day * DAY, day * DAY + DAY):
            assert one.end is not None
            changes.append((one.id, one.driver, one.start - 1200, "on_duty"))
            for drive in self.day(vehicle, day):
                if drive.kind == "drive" and drive.driver == one.driver:
                    changes.append((drive.id, one.driver, drive.start, "driving"))
                    changes.append((drive.id, one.driver, drive.end, "on_duty"))
            last = changes.pop()
            changes.append((last[0], one.driver, one.end, "off_duty"))
        for n, (id_, driver, at, status) in enumerate(changes):
            following = changes[n + 1] if n + 1 < len(changes) else None
            same = following is not None and following[1] == driver
            end = following[2] if following and same else at + 10 * 3600
            yield Duty(id_ * 10 + n % 10, driver, vehicle, status, at, _over(end, now))


def _share(part: float) -> float:
    return part * part * (3 - 2 * part)


def _over(end: int, now: int | None) -> int | None:
    """An end that is known, or None while it lies ahead."""
    return end if now is None or end <= now else None


def _end(until: int, now: int | None) -> int:
    return until if now is None else min(until, now + 1)


def _until_driver(day: tuple[Stretch, ...], first: Stretch) -> int:
    end = first.end
    for one in day:
        if one.start >= first.start:
            if one.driver != first.driver:
                break
            end = one.end
    return end
