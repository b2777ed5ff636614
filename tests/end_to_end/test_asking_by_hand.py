"""`fetch`, `why` and `backfill` as they are typed: what they print, store and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.harness import Fleetd
from tests.vendors.running import Running

SOURCE = """
[sources.%s]
provider = "%s"
token = "env:SIM_TOKEN"
base_url = "%s"
feeds = ["vehicles"]
"""


@pytest.fixture(scope="module")
def motive() -> Iterator[Running]:
    with Running("motive", vehicles=3, every=30, parked=60) as sim:
        yield sim


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], motive: Running) -> Iterator[Fleetd]:
    with Running("samsara", vehicles=3, every=30, parked=60) as samsara:
        told = SOURCE % ("north", "samsara", samsara.url)
        told += SOURCE % ("south", "motive", motive.url)
        daemon = make(told, environ={"SIM_TOKEN": "key"}).begin()
        daemon.until(
            lambda: len(daemon.events("--kind", "vehicle")) == 6, "a directory"
        )
        yield daemon


def counts(daemon: Fleetd) -> dict[str, int]:
    return {name: one["received"] for name, one in daemon.status()["sources"].items()}


def test_what_is_fetched_is_printed_and_not_stored(daemon):
    before = counts(daemon)
    done = daemon.run("fetch", "north", "positions", "-n", "2", "--json")
    fixes = [json.loads(one) for one in done.stdout.splitlines()]

    assert [one["kind"] for one in fixes] == ["position", "position"]
    assert all(one["vehicle"]["number"].startswith("T-10") for one in fixes)
    assert "asked: GET /fleet/vehicles/stats/feed" in done.stderr
    assert daemon.events("--kind", "position") == []
    assert counts(daemon) == before


@pytest.mark.parametrize("name", ["T-102", "t-102"])
def test_a_vehicle_may_be_named_as_people_do(daemon, name):
    done = daemon.run("fetch", "south", "positions", "--vehicle", name, "--json")

    numbers = {json.loads(one)["vehicle"]["number"] for one in done.stdout.splitlines()}
    assert numbers == {"T-102"}
    assert "/v3/vehicle_locations/" in done.stderr


def test_past_the_last_hour_is_fetched_from(daemon):
    done = daemon.run("fetch", "north", "positions", "--since", "3h", "-n", "1")

    assert "asked: GET /fleet/vehicles/stats/history" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nrth", "positions"], "did you mean 'north'?"),
        (["north", "position"], "did you mean 'positions'?"),
        (["north", "positions", "-n", "0"], "-n takes a whole number above zero"),
        (["north", "positions", "--since", "soon"], "'soon' is no time"),
        (["north", "positions", "--vehicle", "T-101"], "is not asked by vehicle"),
        (["south", "positions", "--vehicle", "T-9"], "has told of no vehicle 'T-9'"),
        (["south", "locations", "--since", "2h"], "its answer is always the present one"),
        (["north", "vehicles", "--since", "2h"], "its answer is always the present one"),
    ],
)  # fmt: skip
def test_what_cannot_be_fetched_is_said_in_one_line(daemon, words, said):
    done = daemon.run("fetch", *words, code=2)

    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_vendor_that_is_unwell_is_no_wrong_usage(daemon, motive):
    motive.faults(failing=1.0)
    try:
        done = daemon.run("fetch", "south", "vehicles", code=1)
    finally:
        motive.faults(failing=0.0)

    assert "/v1/vehicles: answered 50" in done.stderr


def test_why_names_the_ways_out_of_what_could_be_meant(daemon):
    daemon.run(
        "events", "--vehicle", "T-101", code=0
    )  # one VIN: one truck, two sources
    both = daemon.asked("why", "T-101")["units"]
    one = daemon.asked("why", "T-101", "--source", "south")["units"]
    wrong = daemon.run("why", "T-101", "--source", "sout", code=2)

    assert [unit["source"] for unit in both] == ["north", "south"]
    assert [unit["source"] for unit in one] == ["south"]
    assert "no source 'sout'; there are: north, south" in wrong.stderr


def test_a_backfill_says_which_window_it_asks_for(daemon):
    done = daemon.run("backfill", "south", "positions", "--since", "2h")

    assert "up to" in done.stderr
    assert "3 windows of positions by GET /v3/vehicle_locations/{id}" in done.stdout
    daemon.until(lambda: daemon.events("--kind", "position"), "what was asked for")
