"""A vehicle that was out of reach for days comes back, and all it drove is taken in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.proofs.house import House, Row, differences
from tests.proofs.roads import ROADS
from tests.vendors.base import COLUMNS, Truth
from tests.vendors.running import Running

VEHICLES, AWAY, DAYS = 4, 1, 2
EVERY = {"samsara": 3, "motive": 5, "geotab": 3, "verizon": 5, "example": 2}
TRACKS = {"verizon": "track"}
SURE = COLUMNS - {"driver_id", "driver_name"}


def test_what_a_vehicle_drove_while_out_of_reach_comes_with_it(make, simulate):
    now = int(time.time())
    away = now - DAYS * 86_400
    offline = json.dumps({"offline": {AWAY: [away, now + 86_400]}})
    wishes = {"vehicles": VEHICLES, "faults": offline}
    sims = {name: simulate(name, **wishes, **ROADS[name].wishes) for name in EVERY}
    daemon = make("".join(source(name, sim.url) for name, sim in sims.items())).begin()
    back = {name: Returned(name, now) for name in EVERY}
    for name in EVERY:
        daemon.until(lambda name=name: daemon.positions("--source", name), "a fix")

    for name, one in back.items():
        assert one.driven(sims[name]) == one.stored(daemon) == [], name
    soon = int(time.time()) + 3
    for sim in sims.values():
        sim.faults(offline={AWAY: [away, soon]})
    time.sleep(max(soon + 1 - time.time(), 0))
    for name, one in back.items():
        driven = one.driven(sims[name])
        assert len(driven) > 100
        daemon.until(one.came(daemon, len(driven)), f"the days of {name}", 60)
        carried = SURE & ROADS[name].simulator().carries
        assert differences(one.stored(daemon), driven, carried) == [], name


def source(name: str, url: str) -> str:
    feed = TRACKS.get(name, "positions")
    feeds = f'{{ vehicles = "10m", {feed} = "{EVERY[name]}s" }}'
    return ROADS[name].source(name, url=url, feeds=feeds, since="3d")


class Returned:
    """The vehicle that was away, and the time in which it was."""

    def __init__(self, name: str, now: int) -> None:
        twin = ROADS[name].simulator()(Truth(VEHICLES))
        self.name, self.vehicle = name, twin.vehicle_id(AWAY)
        self.since, self.until = now - DAYS * 86_400 + 60, now - 60

    def driven(self, sim: Running) -> list[Row]:
        """What can be known of it by now."""
        every = sim.truth(self.since, self.until)
        return [one for one in every if one["provider_vehicle_id"] == self.vehicle]

    def came(self, daemon: House, many: int) -> Callable[[], bool]:
        return lambda: len(self.stored(daemon)) >= many

    def stored(self, daemon: House) -> list[Row]:
        low, high = stamp(self.since), stamp(self.until)
        return [
            one
            for one in daemon.positions("--source", self.name).values()
            if one["provider_vehicle_id"] == self.vehicle
            if low <= one["timestamp"] < high
        ]


def stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
