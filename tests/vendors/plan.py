"""Where a simulated vehicle goes on a day: a tour from its yard and back, in stretches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from tests.vendors.driven import Stretch, draw
from tests.vendors.people import Spot

DAY = 86_400
METRES_PER_DEGREE = 111_320.0
ROAD = 1.15  # metres driven for a metre of straight line
KPH = 48.0  # of a whole drive; at most 1.5 times as fast in its middle
EARLIEST, LATEST = 1 * 3600, 13 * 3600  # when a day's first drive begins
SINCE_WEEK = 2700  # when the odometers were at their first


class Plan:
    """The days of a fleet: each weekday has its tour, each day its own hours."""

    def __init__(
        self, spots: Sequence[Spot], vehicles: int, seed: int, every: int
    ) -> None:
        self.spots, self.vehicles, self.seed, self.every = spots, vehicles, seed, every
        self._tour = lru_cache(maxsize=None)(self._make_tour)
        self.day = lru_cache(maxsize=4 * vehicles + 64)(self._make_day)

    def _make_tour(self, vehicle: int, weekday: int) -> tuple[tuple[int, ...], float]:
        """The spots of a weekday, from home and back, and the metres in all."""
        seed, home = self.seed, vehicle % 4
        stops, many = [home], 2 + int(4 * draw("stops", seed, vehicle, weekday))
        for k in range(many):
            at = 4 + int(
                (len(self.spots) - 4) * draw("stop", seed, vehicle, weekday, k)
            )
            stops += [at] if at != stops[-1] else []
        stops.append(home)
        legs = pairwise(stops)
        return tuple(stops), sum(self._metres(a, b) for a, b in legs)

    def _metres(self, a: int, b: int) -> float:
        one, two = self.spots[a], self.spots[b]
        north = (two.lat - one.lat) * METRES_PER_DEGREE
        east = (two.lon - one.lon) * METRES_PER_DEGREE
        return ROAD * math.hypot(north, east * math.cos(math.radians(one.lat)))

    def _make_day(self, vehicle: int, day: int) -> tuple[Stretch, ...]:
        seed, every, first = self.seed, self.every, day * DAY
        tours = [self._tour(vehicle, weekday) for weekday in range(7)]
        stops = tours[day % 7][0]
        odometer = 50_000_000.0 + 1_000_000 * (vehicle % 90)
        odometer += (day // 7 - SINCE_WEEK) * sum(metres for _, metres in tours)
        odometer += sum(metres for _, metres in tours[: day % 7])
        phase = vehicle * 7 % every
        spare = self.vehicles + vehicle // 5 if day % 5 == vehicle % 5 else None
        change = len(stops) // 2 if spare is not None else len(stops)

        def grid(at: float) -> int:
            return int(at) // every * every + phase

        found: list[Stretch] = []
        home = stops[0]
        start = grid(
            first + EARLIEST + (LATEST - EARLIEST) * draw("up", seed, vehicle, day)
        )
        ended, who = first, None

        def add(kind: str, begin: int, end: int, b: int, metres: float) -> None:
            a = found[-1].destination if found else home
            id_ = (day * 10_000 + vehicle) * 100 + len(found)
            found.append(
                Stretch(
                    id_, vehicle, kind, begin, end, a, b, int(odometer), metres, who
                )
            )

        for k, (a, b) in enumerate(pairwise(stops)):
            now = vehicle if k < change else spare
            who = who if k and now == who else None  # he stays with it at a stop
            add("off", ended, start, a, 0.0)
            who = now
            metres = self._metres(a, b)
            length = max(grid(metres / KPH * 3.6) - phase, every)
            add("drive", start, start + length, b, metres)
            odometer += metres
            ended = start + length
            rest = draw("rest", seed, vehicle, day, k)
            if rest < 0.4:
                length = max(grid(300 + 1500 * rest) - phase, every)
                add("idle", ended, ended + length, b, 0.0)
                ended += length
            start = grid(
                ended - phase + 900 + 1800 * draw("dwell", seed, vehicle, day, k)
            )
            start = max(start, ended + every)
        who = None
        add("off", ended, first + DAY, home, 0.0)
        return tuple(found)
