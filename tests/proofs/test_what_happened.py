"""What happens besides driving is one event, whether it was pushed or listed."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial

import msgspec
import pytest
import trio

from tests.proofs.house import House
from tests.proofs.roads import ROADS, SECRET, Road
from tests.vendors.base import Truth
from tests.vendors.pushing import push

VEHICLES = 12  # so that something harsh happens on any day
LOCONAV = Road(
    "loconav",
    ("vehicles", "alerts"),
    keys='per_minute = 500\nzone = "UTC"',
    receives='auth = { key = "env:SIM_SECRET" }',
    path=f"/{SECRET}",
    wishes={"limit": 25},
)
ALIKE = {  # the kinds that both roads tell in full
    "loconav": (LOCONAV, {"engine", "safety", "geofence"}),
    "motive": (
        msgspec.structs.replace(
            ROADS["motive"],
            feeds=("vehicles", "drivers", "violations", "duty", "inspections", "safety",
                   "speeding", "geofences"),
        ),
        {"duty", "inspection", "safety", "geofence"},
    ),
    "samsara": (
        msgspec.structs.replace(
            ROADS["samsara"], feeds=("vehicles", "drivers", "inspections"), since="1d"
        ),
        {"inspection"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ALIKE))
def test_what_is_pushed_and_what_is_listed_are_the_same_events(name, make, simulate):
    road, kinds = ALIKE[name]
    until = int(time.time()) - 300
    since = until - 86_400 + 1800
    wishes = {"vehicles": VEHICLES, "secret": road.secret, **road.wishes}
    sim, other = simulate(name, **wishes), simulate(name, **wishes)
    polled = make(road.source("north", url=other.url)).begin()
    pushed = make(road.source("north", poll=False, push=True)).begin()
    both = make(road.source("north", push=True, url=sim.url)).begin()
    for daemon in (pushed, both):
        send_all(road, daemon, since, until)
    settle(polled)
    settle(both)

    by_poll, by_push, by_both = (ids(one, kinds) for one in (polled, pushed, both))
    assert set(by_push) == kinds
    for kind in kinds:
        assert by_push[kind] - by_poll[kind] == set(), kind
        assert by_both[kind] == by_poll[kind], kind


def send_all(road: Road, daemon: House, since: int, until: int) -> None:
    """Push all but the fixes."""
    twin = road.simulator()(Truth(VEHICLES), secret=road.secret)
    fixes = {
        told.body
        for vehicle in range(VEHICLES)
        for fix in twin.truth.fixes(vehicle, since, until)
        if (told := twin.push_fix(fix)) is not None
    }
    url = f"http://127.0.0.1:{daemon.port}/webhooks/north{road.path}"
    job = partial(
        push, twin, url, since=since, until=until, at_once=True,
        keep=lambda one: one.body not in fixes,
    )  # fmt: skip
    assert trio.run(job).lost == []


def settle(daemon: House) -> None:
    """Wait until every feed was read, and nothing more comes."""
    before = [-1, -1]

    def at_rest() -> bool:
        found = daemon.status()["sources"]["north"]
        feeds = found["feeds"].values()
        if not all(one["last_success_at"] for one in feeds):
            return False
        before.append(found["stored"] + found["duplicate"])
        time.sleep(1.5)
        return before[-1] == before[-2] == before[-3]

    daemon.until(at_rest, "every feed to rest", within=120)


def ids(daemon: House, kinds: set[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for one in daemon.all():
        if one["kind"] in kinds:
            found[one["kind"]].add(one["id"])
    return found
