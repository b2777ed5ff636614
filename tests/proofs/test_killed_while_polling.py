"""The crash oracle for polling: SIGKILL at any moment, nothing is missing, nothing is twice."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.proofs.house import House, differences
from tests.proofs.roads import ROADS
from tests.vendors.example import Example
from tests.vendors.running import Running

DAYS, VEHICLES, EVERY = 6, 8, 60
ROAD = ROADS["example"]
SLOW = {"slow": 0.6, "slow_s": [0.02, 0.25], "failing": 0.02, "reset": 0.02}
SHORT = 8


@pytest.fixture
def sim(simulate: Callable[..., Running]) -> Running:
    return simulate("example", vehicles=VEHICLES, every=EVERY)


def test_a_backfill_killed_at_any_moment_is_whole_in_the_end(sim, make, kills, seed):
    daemon = make(ROAD.source("north", url=sim.url).replace('"1d"', '"5m"')).begin()
    daemon.until(lambda: daemon.all("--kind", "vehicle"), "the directory")
    until = int(time.time()) // 60 * 60 - 600
    since = until - DAYS * 86_400
    sim.faults(**SLOW)
    daemon.run(
        "backfill", "north", "positions", "--since", at(since), "--until", at(until)
    )
    killed_while(daemon, lambda: jobs(daemon) == ["running"], kills(SHORT), seed)
    sim.faults(slow=0.0)
    daemon.until(lambda: jobs(daemon) == ["done"], "the end of the job", within=120)

    driven = sim.truth(since, until)
    assert len(driven) > 5000
    assert differences(once(daemon, since, until), driven, Example.carries) == []
    assert daemon.run("ledger", "--since", "2d").returncode == 0


def test_a_feed_that_catches_up_is_killed_at_any_moment_and_whole_in_the_end(
    sim, make, kills, seed
):
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
    assert hits >= min(3, rounds)


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
