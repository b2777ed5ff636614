"""The crash oracle for polling: SIGKILL at any moment, nothing is missing, nothing is twice."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from tests.proofs.house import House, differences
from tests.proofs.roads import ROADS
from tests.vendors.base import COLUMNS
from tests.vendors.example import Example

DAYS, VEHICLES, EVERY = 6, 8, 60
ROAD = ROADS["example"]
DIRECTORY = {
    "example": '["vehicles"]',
    "samsara": '["vehicles", "drivers"]',
    "motive": '["vehicles", "drivers"]',
}
SURE = COLUMNS - {"driver_id", "driver_name"}
SLOW = {"slow": 0.9, "slow_s": [0.1, 0.9], "failing": 0.02, "reset": 0.02}
SHORT = 4


@pytest.mark.parametrize("name", ["example", "samsara", "motive"])
def test_a_backfill_killed_at_any_moment_is_whole_in_the_end(
    name, make, simulate, kills, seed
):
    road = ROADS[name]
    sim = simulate(name, vehicles=VEHICLES, every=EVERY)
    daemon = make(
        road.source("north", url=sim.url, feeds=DIRECTORY[name], since="5m")
    ).begin()
    daemon.until(lambda: is_listed(daemon), "the directory")
    until = int(time.time()) // 60 * 60 - 600
    since = until - DAYS * 86_400
    sim.faults(**SLOW)
    order = [
        "backfill",
        "north",
        "positions",
        "--since",
        at(since),
        "--until",
        at(until),
    ]
    daemon.run(*order)
    killed_while(daemon, partial(is_running, daemon, order), kills(SHORT), seed)
    sim.faults(slow=0.0)
    daemon.until(lambda: set(jobs(daemon)) == {"done"}, "the end of it", within=120)

    driven, carried = sim.truth(since, until), SURE & road.simulator().carries
    assert len(driven) > 5000
    assert differences(once(daemon, since, until), driven, carried) == []
    assert daemon.run("ledger", "--since", "2d").returncode == 0


def is_listed(daemon: House) -> bool:
    return len(daemon.all("--kind", "vehicle")) >= VEHICLES


def test_a_feed_that_catches_up_is_killed_at_any_moment_and_whole_in_the_end(
    make, simulate, kills, seed
):
    sim = simulate("example", vehicles=VEHICLES, every=EVERY)
    until = int(time.time()) // 60 * 60 - 600
    since = until - DAYS * 86_400 + 3600
    sim.faults(**SLOW)
    daemon = make(
        ROAD.source("north", url=sim.url).replace('"1d"', f'"{DAYS}d"')
    ).begin()
    driven = sim.truth(since, until)
    whole = len(driven)
    killed_while(daemon, lambda: daemon.stored() < whole, kills(SHORT), seed)
    sim.faults(slow=0.0)
    daemon.until(lambda: daemon.stored() > whole, "six days", within=120)
    daemon.until(lambda: len(once(daemon, since, until)) >= whole, "the rest of them")

    assert differences(once(daemon, since, until), driven, Example.carries) == []
    assert daemon.run("ledger", "--since", "2d").returncode == 0


def killed_while(
    daemon: House, busy: Callable[[], bool], rounds: int, seed: int
) -> None:
    """Kill it again and again, and at least once while it was at it."""
    chance, hits = random.Random(seed), 0
    for _ in range(rounds):
        time.sleep(chance.choice([0.0, 0.05, 0.2, 0.5]) + chance.uniform(0, 0.3))
        hits += busy()
        daemon.kill()
        daemon.start()
        if chance.random() < 0.2:  # killed in the middle of its start
            time.sleep(chance.uniform(0, 0.6))
            daemon.kill()
            daemon.start()
        daemon.begin()
    assert hits >= min(2, rounds)


def is_running(daemon: House, order: list[str]) -> bool:
    """Whether the job goes on; one that came to its end is ordered once more."""
    running = "running" in jobs(daemon)
    if not running:
        daemon.run(*order)
    return running


def jobs(daemon: House) -> list[str]:
    return [one["state"] for one in daemon.asked_lines("jobs")]


def once(daemon: House, since: int, until: int) -> list[dict]:
    """Every fix of the window as it is stored, and none of them twice."""
    found = daemon.all("--kind", "position")
    many = Counter(one["id"] for one in found)
    assert [id_ for id_, count in many.items() if count > 1] == []
    low, high = at(since), at(until)
    rows = [one["data"] for one in found]
    return [one for one in rows if low <= one["timestamp"].replace(".000", "") < high]


def at(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
