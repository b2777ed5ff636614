"""A day of driving gives the same events by push, by poll, by both, and over restarts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
import trio

from tests.proofs.house import SECRET, House, Row, differences
from tests.proofs.roads import ROADS, Road
from tests.vendors.base import COLUMNS, Simulator, Truth
from tests.vendors.pushing import Pushed, push
from tests.vendors.running import Running

VEHICLES = 6
KILLS = 4
DIRECTORY = frozenset({"vin", "fleet_number"})  # a push-only source has no listing
BOTH_WAYS = sorted(name for name, road in ROADS.items() if road.pushes)
SLOW = {"slow": 0.5, "slow_s": [0.02, 0.2]}


class Day:
    """One day that ends now, of one vendor's fleet, by whatever road it came."""

    def __init__(self, road: Road, make: Callable[..., House], sim: Running) -> None:
        self.road, self.make, self.sim = road, make, sim
        self.until = int(time.time()) - 120
        self.since = self.until - 86_400 + 600  # a source reads back from its start on
        self.truth = sim.truth(self.since, self.until)
        assert len(self.truth) > 300

    def house(self, *, poll: bool, push: bool) -> House:
        source = self.road.source("north", poll=poll, push=push, url=self.sim.url)
        daemon = self.make(source).begin()
        if poll:
            daemon.until(lambda: daemon.all("--kind", "vehicle"), "the directory")
        return daemon

    def pushing(self, daemon: House) -> threading.Thread:
        """The vendor's other half, at work beside the test; `daemon` may come and go."""
        twin = self.road.simulator()(Truth(VEHICLES), secret=SECRET)
        url = f"http://127.0.0.1:{daemon.port}/webhooks/north{self.road.path}"
        told: list[Pushed] = []
        job = partial(
            push,
            twin,
            url,
            since=self.since,
            until=self.until,
            at_once=True,
            patience=120,
        )
        thread = threading.Thread(target=lambda: told.append(trio.run(job)))
        thread.told = told  # type: ignore[attr-defined]
        thread.start()
        return thread

    def polled(self, daemon: House) -> None:
        """Wait until the feeds have come to the end of what there is."""
        if self.road.past:
            window = ("--since", stamp(self.since), "--until", stamp(self.until))
            daemon.run("backfill", "north", self.road.past, *window)
        daemon.until(lambda: self.has_all(daemon), "the whole day", within=90)

    def has_all(self, daemon: House) -> bool:
        rows = self.rows(daemon).values()
        seen = {(one["provider_vehicle_id"], one["timestamp"]) for one in rows}
        return len(seen) >= len(self.truth)

    def rows(self, daemon: House) -> dict[str, Row]:
        """What is stored of the day, by id."""
        since, until = stamp(self.since), stamp(self.until)
        every = daemon.positions()
        return {
            id_: row for id_, row in every.items() if since <= row["timestamp"] < until
        }


def stamp(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))


@pytest.fixture(params=BOTH_WAYS)
def day(
    request: pytest.FixtureRequest,
    make: Callable[..., House],
    simulate: Callable[..., Running],
) -> Day:
    road = ROADS[request.param]
    wishes = {"vehicles": VEHICLES, "key": road.key, "secret": SECRET, **road.wishes}
    return Day(road, make, simulate(road.vendor, **wishes))


def joined(thread: threading.Thread) -> Pushed:
    thread.join(120)
    (told,) = thread.told  # type: ignore[attr-defined]
    assert told.lost == []
    return told


def test_a_day_is_the_same_by_push_by_poll_by_both_and_over_restarts(day):
    sim: type[Simulator] = day.road.simulator()
    pushed, polled = day.house(poll=False, push=True), day.house(poll=True, push=False)
    joined(day.pushing(pushed))
    day.polled(polled)
    both = day.house(poll=True, push=True)
    thread = day.pushing(both)
    day.polled(both)
    joined(thread)
    torn = day.house(poll=True, push=True)
    torn_by_kills(day, torn)

    by_push, by_poll, by_both, by_torn = (
        day.rows(one) for one in (pushed, polled, both, torn)
    )
    assert set(by_push) == set(by_poll) == set(by_both) == set(by_torn)
    carried = sim.carries & sim.pushes
    every = (sim.carries | sim.pushes) & COLUMNS
    truth = day.truth
    assert differences(by_poll.values(), truth, sim.carries) == []
    assert differences(by_push.values(), truth, carried - DIRECTORY) == []
    assert differences(by_push.values(), by_poll.values(), carried - DIRECTORY) == []
    assert differences(by_both.values(), by_poll.values(), sim.carries) == []
    assert differences(by_torn.values(), by_both.values(), every) == []
    for one in (pushed, polled, both, torn):
        assert one.run("ledger", "--since", "2d").returncode == 0


def torn_by_kills(day: Day, daemon: House) -> None:
    """The same by both roads at once, with the daemon killed in the middle."""
    day.sim.faults(**SLOW)
    thread, chance = day.pushing(daemon), random.Random(5)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.1, 0.6))
        daemon.kill()
        daemon.begin()
    day.polled(daemon)
    joined(thread)
    day.sim.faults(slow=0.0)
