"""A day of driving gives the same events by push, by poll, by both, and over restarts."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

import pytest
import trio

from tests.proofs.house import House, Row, differences
from tests.proofs.roads import ROADS, Road
from tests.vendors.base import Truth
from tests.vendors.pushing import Pushed, push
from tests.vendors.running import Running

VEHICLES = 6
KILLS = 4
LISTED = ("vehicles", "drivers")
DIRECTORY = frozenset({"vin", "fleet_number"})  # a push-only source has no listing
SLOW = {"slow": 0.5, "slow_s": [0.02, 0.2]}


class Day:
    """One day that ends now, of one vendor's fleet, by whatever road it came."""

    def __init__(self, road: Road, make: Callable[..., House], sim: Running) -> None:
        self.road, self.make, self.sim = road, make, sim
        self.until = int(time.time()) - 120
        self.since = self.until - 86_400 + 600  # a source reads back from its start on
        self.truth = sim.truth(self.since, self.until)
        assert len(self.truth) > 200

    def house(self, *, poll: bool, push: bool) -> House:
        source = self.road.source("north", poll=poll, push=push, url=self.sim.url)
        daemon = self.make(source).begin()
        for feed in LISTED if poll else ():  # what it knows later fills nothing earlier
            if feed in self.road.feeds:
                kind = feed.removesuffix("s")
                daemon.until(partial(daemon.all, "--kind", kind), "the directory")
        return daemon

    def pushing(self, daemon: House) -> threading.Thread:
        """The vendor's other half, at work beside the test; `daemon` may come and go."""
        twin = self.road.simulator()(Truth(VEHICLES), secret=self.road.secret)
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

    def settled(
        self, daemon: House, truth: Collection[Row], columns: Collection[str]
    ) -> list[str]:
        """What stays different once a poll had its time to fill what was pushed first."""

        def apart() -> list[str]:
            return differences(self.rows(daemon).values(), truth, columns)

        with suppress(AssertionError):
            daemon.until(lambda: not apart(), "both roads", within=60)
        return apart()

    def balanced(self, *daemons: House) -> None:
        for one in daemons:
            assert one.run("ledger", "--since", "2d", code=None).returncode in {0, 3}

    def rows(self, daemon: House) -> dict[str, Row]:
        """What is stored of the day, by id."""
        since, until = stamp(self.since), stamp(self.until)
        every = daemon.positions()
        return {
            id_: row for id_, row in every.items() if since <= row["timestamp"] < until
        }


def stamp(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))


@pytest.fixture(params=sorted(ROADS))
def day(
    request: pytest.FixtureRequest,
    make: Callable[..., House],
    simulate: Callable[..., Running],
) -> Day:
    road = ROADS[request.param]
    wishes = {
        "vehicles": VEHICLES,
        "key": road.key,
        "secret": road.secret,
        **road.wishes,
    }
    return Day(road, make, simulate(road.vendor, **wishes))


def joined(thread: threading.Thread) -> Pushed:
    thread.join(120)
    (told,) = thread.told  # type: ignore[attr-defined]
    assert told.lost == []
    return told


def test_a_day_is_the_same_by_every_road(day):
    """By push, by poll, by both, and by both with the daemon killed in the middle."""
    sim, pushes = day.road.simulator(), day.road.pushes
    polled = day.house(poll=True, push=False)
    day.polled(polled)
    torn = day.house(poll=True, push=pushes)
    torn_by_kills(day, torn)
    by_poll = day.rows(polled)

    assert differences(by_poll.values(), day.truth, sim.carries) == []
    assert day.settled(torn, by_poll.values(), sim.carries) == []
    assert set(day.rows(torn)) == set(by_poll)
    day.balanced(polled, torn)
    if pushes:
        the_same_when_pushed(day, by_poll)


def the_same_when_pushed(day: Day, by_poll: dict[str, Row]) -> None:
    sim = day.road.simulator()
    pushed = day.house(poll=False, push=True)
    joined(day.pushing(pushed))
    both = day.house(poll=True, push=True)
    thread = day.pushing(both)
    day.polled(both)
    joined(thread)
    every = sim.carries | sim.pushes

    assert day.settled(both, day.truth, every) == []
    by_push, by_both = day.rows(pushed), day.rows(both)
    carried = (sim.carries & sim.pushes) - DIRECTORY

    assert set(by_push) == set(by_both) == set(by_poll)
    assert differences(by_push.values(), day.truth, carried) == []
    day.balanced(pushed, both)


def torn_by_kills(day: Day, daemon: House) -> None:
    """The same by both roads at once, with the daemon killed in the middle."""
    day.sim.faults(**SLOW)
    thread, chance = None, random.Random(5)
    if day.road.pushes:
        thread = day.pushing(daemon)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.1, 0.6))
        daemon.kill()
        daemon.begin()
    day.polled(daemon)
    if thread is not None:
        joined(thread)
    day.sim.faults(slow=0.0)
