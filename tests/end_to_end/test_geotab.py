"""Geotab's past and its bad days, through a real daemon and held to what was driven."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.end_to_end.tracks import all_of, stamp, track
from tests.harness import Fleetd
from tests.vendors.running import Running

VEHICLES = 4
DAY = 86_400
CONFIG = """
[sources.haul]
provider = "geotab"
token = "env:PASSWORD"
base_url = "$far"
since = "$since"
database = "acme_haul"
user = "fleetd-service@acme.test"
feeds = ["vehicles", "drivers", "positions", "trips"]
"""
BAD = {
    "busy": 0.05, "failing": 0.1, "reset": 0.05, "slow": 0.1, "slow_s": [0.05, 0.3],
    "twice": 0.1, "shuffled": 0.5, "late": 0.2, "late_s": 1800,
}  # fmt: skip


@pytest.fixture
def far() -> Iterator[Running]:
    with Running("geotab", vehicles=VEHICLES, key="s3cret-enough", limit=50) as sim:
        yield sim


def begun(make: Callable[..., Fleetd], far: Running, since: str) -> Fleetd:
    text = CONFIG.replace("$far", far.url).replace("$since", since)
    return make(text, environ={"PASSWORD": "s3cret-enough"}).begin()


def states(daemon: Fleetd) -> set[str]:
    lines = daemon.run("jobs", "--json").stdout.splitlines()
    return {json.loads(one)["state"] for one in lines}


PLACE = ("latitude", "longitude")
WHOLE = (*PLACE, "vin", "fleet_number")


def same(
    found: dict[tuple[str, str], Any],
    driven: list[dict[str, Any]],
    columns: tuple[str, ...] = WHOLE,
) -> None:
    truth = {(one["provider_vehicle_id"], one["timestamp"]): one for one in driven}
    assert found.keys() == truth.keys()
    for key, row in truth.items():
        for name in columns:
            assert found[key][name] == row[name], key


def test_a_backfill_brings_the_past_whole_and_nothing_that_was_made_up(make, far):
    daemon = begun(make, far, "5m")
    daemon.until(lambda: all_of(daemon, "--kind", "vehicle"), "the directory")
    until = int(time.time()) // 60 * 60 - DAY
    since = until - 2 * DAY - 3600
    window = ("--since", stamp(since), "--until", stamp(until))
    driven = far.truth(since, until)
    daemon.run("backfill", "haul", "positions", *window)
    daemon.run("backfill", "haul", "trips", *window)
    daemon.until(lambda: states(daemon) == {"done"}, "the end of the jobs", 120)

    same(track(daemon, since, until), driven)
    trips = [
        one
        for one in all_of(daemon, "--kind", "trip")
        if stamp(since) <= one["at"] < stamp(until - 3 * 3600)  # over before the end
    ]
    assert trips
    assert all(one["data"]["ended_at"] for one in trips)
    assert len({one["id"] for one in trips}) == len(trips)


def test_on_a_bad_day_nothing_is_lost_twice_or_made_up(make, far):
    far.faults(**BAD)
    daemon = begun(make, far, "1d")
    until = int(time.time()) - 2 * 3600
    since = until - DAY + 3 * 3600
    driven = far.truth(since, until)

    daemon.until(
        lambda: len(track(daemon, since, until)) >= len(driven), "the track", 120
    )

    same(track(daemon, since, until), driven, PLACE)  # a listing may fail as well
    assert daemon.status()["sources"]["haul"]["dead"] == 0
