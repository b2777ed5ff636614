"""What each demo vehicle does all day: shifts, tours, stops, lunch and the night."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache, lru_cache

from msgspec import Struct

from fleetd.providers.demo.land import TOURS, Path, Site, draw, legs_of, site_at
from fleetd.providers.demo.motion import Motion, drive

VEHICLES, BY_DAY, BY_NIGHT = 25, 5, 3
DAY = 86_400
WEST = 8 * 3_600  # local noon is 20:00 UTC, summer and winter
EPOCH_DAY = 20_089  # 2025-01-01, when every odometer stood at its first reading
ROLLOVER = 4e9  # metres; before 2025 they stand just below it, never below zero
HOUR, MINUTE = 3_600, 60
SHORT = 0.2  # a stop so short, of all, is made with the engine idling


class Shift(Struct, frozen=True):
    """A vehicle's habit: its yard, local start of work, hours, and how many drivers."""

    yard: str
    start: int
    hours: float
    drivers: tuple[int, ...]
    call_s: float = 21.0 * MINUTE  # at a customer, more or less
    rests: int | None = None  # day % 7 when it stays in the yard


class Leg(Struct, frozen=True):
    """A part of the day: a drive when `motion` is there, else standing at `origin`.

    `metres` is what the service day drove before; the engine idles until `idle_until`.
    """

    start: int
    end: int
    origin: Site
    target: Site
    metres: float
    heading: float
    driver: int | None = None
    idle_until: int = 0
    lunch: bool = False
    motion: Motion | None = None


class Plan(Struct, frozen=True):
    """One vehicle's service day: it begins and ends standing in the yard."""

    vehicle: int
    day: int
    starts: tuple[int, ...]
    legs: tuple[Leg, ...]

    def leg(self, time: int) -> Leg:
        return self.legs[max(bisect_right(self.starts, time) - 1, 0)]


@cache
def shift_of(vehicle: int) -> Shift:
    """Five work by day, three by night; the rest have two drivers and hardly rest."""
    yard = ("STK", "FRE")[vehicle % 2]
    if vehicle < BY_DAY:
        start = 5 * HOUR + vehicle * 35 * MINUTE
        return Shift(yard, start, 9.5, (vehicle,), rests=vehicle)
    if vehicle < BY_DAY + BY_NIGHT:
        start = 17 * HOUR + (vehicle - BY_DAY) * 50 * MINUTE
        return Shift(yard, start, 9.5, (vehicle,))
    pair = vehicle - BY_DAY - BY_NIGHT
    return Shift(
        yard, pair * 84 * MINUTE, 21.6, (vehicle, VEHICLES + pair), 6.0 * MINUTE
    )


def day_of(vehicle: int, time: int) -> int:
    """The service day of a moment; it turns half an hour before the shift."""
    return (time - _dawn(vehicle)) // DAY


@lru_cache(maxsize=80)
def plan(vehicle: int, day: int) -> Plan:
    """One service day, from the number of the vehicle and of the day."""
    shift, begin = shift_of(vehicle), day * DAY + _dawn(vehicle)
    yard = site_at(shift.yard)
    day_plan = _Planner(vehicle, day, begin)
    work = rounds(vehicle, day % 7)
    if work:
        day_plan.stand(
            yard, 25 * MINUTE + int(15 * MINUTE * draw("late", vehicle, day))
        )
        day_plan.take(shift.drivers[0])
        day_plan.stand(yard, 10 * MINUTE, idle=10 * MINUTE)
    for number, tour in enumerate(work):
        second = len(shift.drivers) > 1 and number >= (len(work) + 1) // 2
        day_plan.take(shift.drivers[int(second)])
        for origin, target, path in legs_of(tour):
            day_plan.go(origin, target, path)
            day_plan.call(target)
    day_plan.take(None)
    day_plan.stand(yard, begin + DAY - day_plan.time)
    starts = tuple(leg.start for leg in day_plan.legs)
    return Plan(vehicle, day, starts, tuple(day_plan.legs))


@lru_cache(maxsize=80)
def odometer(vehicle: int, day: int) -> float:
    """Metres at the wheel when a service day begins.

    Which tours a vehicle drives depends on the weekday alone, so that this is
    arithmetic and no walk through the years.
    """
    week = [sum(_metres(tour) for tour in rounds(vehicle, n)) for n in range(7)]
    weeks, rest = divmod(day, 7)
    first_weeks, first_rest = divmod(EPOCH_DAY, 7)
    driven = (
        (weeks - first_weeks) * sum(week) + sum(week[:rest]) - sum(week[:first_rest])
    )
    return (3e7 + 9e7 * draw("odometer", vehicle) + driven) % ROLLOVER


@cache
def rounds(vehicle: int, weekday: int) -> tuple[str, ...]:
    """The tours of a weekday: as many as the hours of the shift hold."""
    shift, chosen, spent = shift_of(vehicle), [], 0.0
    if weekday == shift.rests:
        return ()
    for pick in range(16):
        tours = TOURS[shift.yard]
        tour = tours[int(len(tours) * draw("tour", vehicle, weekday, pick))]
        takes = sum(path.nominal_s + shift.call_s for _, _, path in legs_of(tour))
        if spent + takes <= shift.hours * HOUR:
            chosen.append(tour)
            spent += takes
    return tuple(chosen)


@cache
def parked_heading(yard: str) -> float:
    """How a vehicle stands in its yard: as it came in."""
    return legs_of(TOURS[yard][0])[-1][2].headings[-1]


@cache
def _metres(tour: str) -> float:
    return sum(path.metres for _, _, path in legs_of(tour))


@cache
def _dawn(vehicle: int) -> int:
    return (shift_of(vehicle).start + WEST - 30 * MINUTE) % DAY


class _Planner:
    """A day as it grows, leg by leg."""

    def __init__(self, vehicle: int, day: int, begin: int) -> None:
        self.seed, self.time = (vehicle, day), begin
        self.legs: list[Leg] = []
        self._driver: int | None = None
        self._metres, self._heading = 0.0, parked_heading(shift_of(vehicle).yard)
        self._ate, self._wheel = False, 0

    def take(self, driver: int | None) -> None:
        """Change who drives; who comes fresh has not had lunch."""
        if driver != self._driver:
            self._driver, self._ate, self._wheel = driver, False, 0

    def stand(
        self, site: Site, seconds: int, *, idle: int = 0, lunch: bool = False
    ) -> None:
        """Stay somewhere; the engine idles for the first `idle` seconds."""
        self._add(
            site, site, seconds, idle_until=self.time + idle, lunch=lunch, motion=None
        )

    def go(self, origin: Site, target: Site, path: Path) -> None:
        """Drive a way."""
        motion = drive(path, *self.seed, len(self.legs))
        seconds = int(motion.seconds) + 1
        self._wheel += seconds
        self._add(origin, target, seconds, idle_until=0, lunch=False, motion=motion)
        self._metres += path.metres
        self._heading = path.headings[-1]

    def call(self, site: Site) -> None:
        """Load or unload, and eat when it is time."""
        luck = draw("dwell", *self.seed, len(self.legs))
        shift = shift_of(self.seed[0])
        seconds = int(shift.call_s * (0.5 + luck))
        alone = len(shift.drivers) == 1  # of two, one eats while the other drives
        hungry = alone and not self._ate and self._wheel > 3.5 * HOUR
        if hungry:
            self._ate = True
            seconds += int((30 + 10 * luck) * MINUTE)
        idle = (
            seconds if luck < SHORT and not hungry else int((0.5 + 2 * luck) * MINUTE)
        )
        self.stand(site, seconds, idle=idle, lunch=hungry)

    def _add(
        self,
        origin: Site,
        target: Site,
        seconds: int,
        *,
        idle_until: int,
        lunch: bool,
        motion: Motion | None,
    ) -> None:
        end = self.time + seconds
        self.legs.append(
            Leg(
                start=self.time,
                end=end,
                origin=origin,
                target=target,
                metres=self._metres,
                heading=self._heading,
                driver=self._driver,
                idle_until=idle_until,
                lunch=lunch,
                motion=motion,
            )
        )
        self.time = end
