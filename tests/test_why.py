"""`why`: a vehicle's last fix, what became of its records, what each sink did with them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fleetd.cli.why import said
from fleetd.event import Position
from fleetd.store import Burial, SinkPlace
from fleetd.store.look import Entry
from fleetd.store.trail import FASTEST_MPH, Trail, miles, quality, trail
from fleetd.taking import Taking
from tests.conftest import MORNING
from tests.desk import desk
from tests.store.deeds import crash, drain, fix, put, truck

MINUTE = timedelta(minutes=1)


def driven(n: int, **more):
    return fix(n, at=MORNING + n * MINUTE, speed_mph=30.0, **more)


async def test_it_tells_the_last_fix_and_what_became_of_the_rest(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("T-101"), driven(1), driven(2), driven(2), crash(9))
        await put(here.store, driven(3, latitude=0, longitude=0))
        await put(here.store, b"bad, and it names v1")
        await put(here.store, driven(4, vehicle="v2"))
        await drain(here.store, limit=2)
        found = await here.ask("/api/why", vehicle="T-101")

    (unit,) = found["units"]
    assert (unit["source"], unit["id"], unit["number"]) == ("north", "v1", "T-101")
    assert unit["last_fix"]["at"] == "2026-11-21T06:02:00.000Z"
    assert unit["stored"] == 4
    assert unit["counted_out"] == {"no_fix": 1, "duplicate": 1}
    assert unit["dead_records"] == 1
    assert unit["quality"]["fixes"] == 2
    assert unit["quality"]["no_fix"] == pytest.approx(1 / 3, abs=0.001)
    assert unit["sinks"]["ops"]["waiting"] == 0
    line = " · ".join(said(unit, "today"))
    assert "filtered no_fix" in line
    assert "today 4 stored" in line


async def test_a_vehicle_of_which_only_the_id_was_told_is_answered_for(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, driven(1), driven(2, vehicle="v10"))
        await put(here.store, driven(3, vehicle="v3", latitude=0, longitude=0))
        (unit,) = (await here.ask("/api/why", vehicle="v1"))["units"]
        (lost,) = (await here.ask("/api/why", vehicle="v3"))["units"]
        other = await here.port("/api/why", query="vehicle=v1&source=south")

    assert (unit["id"], unit["stored"]) == ("v1", 1)
    assert (lost["stored"], lost["counted_out"]) == (0, {"no_fix": 1})
    assert "no source has told of a vehicle 'v1'" in other.json["error"]


async def test_a_short_id_is_not_lost_among_the_longer_ones_that_hold_it(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("T-1", "1"), driven(1, vehicle="1"))
        others = [driven(n, vehicle="11", driver="1") for n in range(2, 70)]
        await put(here.store, *others)
        (unit,) = (await here.ask("/api/why", vehicle="T-1"))["units"]

    assert unit["last_fix"]["id"] == "p1"
    assert unit["stored"] == 2


async def test_what_sinks_refused_of_it_is_told_and_no_other_vehicles_dead(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("T-1"), driven(1), driven(2, vehicle="v10"))
        await put(here.store, b'bad {"vehicle":"v10","near":"my-v1"}')
        await put(here.store, b'bad {"vehicle":"v1"}', source="south")
        await put(here.store, b'bad {"vehicle":"v1"}')
        read = await here.store.next_batch("ops", 0, limit=100)
        buried = [Burial(one, "it is odd", 422) for one in read.entries]
        assert await here.store.advance(read, buried=buried)
        (unit,) = (await here.ask("/api/why", vehicle="T-1"))["units"]

    refused = [one.seq for one in read.entries if one.event.vehicle == "v1"]
    assert [one["name"] for one in unit["dead"]] == ["north"] + ["ops"] * len(refused)
    assert unit["dead_records"] == 1
    assert unit["sinks"]["ops"]["dead"] == refused
    assert f"{len(refused)} dead (seq {refused[0]})" in " · ".join(said(unit, "today"))


async def test_a_log_too_long_to_be_looked_through_is_not_said_to_hold_nothing(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("T-1"), driven(1), driven(2, vehicle="v2"))
        with here.store.reader() as reader:
            near, far = (trail(reader.db, "north", "v1", 0, most) for most in (1, 3))
        unit = (await here.ask("/api/why", vehicle="T-1"))["units"][0]

    assert (near.last_fix, near.whole, near.all) == (None, False, False)
    assert (len(far.entries), far.whole, far.all) == (2, True, True)
    unit |= {"last_fix": None, "whole": False, "sought_everywhere": False}
    line = " · ".join(said(unit, "today"))
    assert "no fix in the newest million events" in line
    assert "stored, in the newest million events at most" in line


async def test_a_sink_that_does_not_take_it_says_why(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("T-101"), driven(1))
        await here.store.register_sinks({
            "ops": SinkPlace(Taking(vehicles=("T-2*",))),
            "deaf": SinkPlace(Taking(sources=frozenset({"south"}))),
        })  # fmt: skip
        one = (await here.ask("/api/why", vehicle="v1", sink="ops"))["units"][0][
            "sinks"
        ]
        unknown = await here.port("/api/why", query="vehicle=v1&sink=nobody")

    assert set(one) == {"ops"}
    assert one["ops"]["why"] == "not matched by `vehicles`"
    assert "no sink 'nobody'" in unknown.json["error"]


async def test_a_vehicle_nobody_told_of_is_answered_with_those_there_are(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("T-101"))
        found = (await here.port("/api/why", query="vehicle=T-999")).json

    assert "no source has told of a vehicle 'T-999'; there are: T-101" in found["error"]


async def test_a_glob_of_many_vehicles_says_how_many_are_left_out(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        for n in range(23):
            await put(here.store, truck(f"T-{n}", f"v{n}"))
        found = await here.ask("/api/why", vehicle="T-*")

    assert len(found["units"]) == 20
    assert found["more"] == 3


def entry(one: Position) -> Entry:
    return Entry(1, "north", "acme", one, 0, 0, "push", 0)


def judged(*fixes: Position, **out: int):
    return quality(Trail(tuple(entry(one) for one in fixes), None, out, (), whole=True))


def test_a_drive_that_no_truck_can_drive_is_a_jump():
    here, near = driven(1), driven(2, latitude=1.01)
    far = driven(3, latitude=4.0)

    assert judged(here, near).jumps == 0
    assert judged(here, near, far).jumps == 1
    assert miles(here, far) == pytest.approx(207.3, abs=0.5)
    assert miles(near, far) / (1 / 60) > FASTEST_MPH


def test_the_usual_gap_is_the_middle_one():
    found = judged(*(driven(n) for n in (1, 2, 3, 4, 64)), no_fix=5)

    assert (found.usual_gap_s, found.longest_gap_s) == (60.0, 3600.0)
    assert found.no_fix == 0.5
    assert judged().usual_gap_s is None
    assert judged(no_fix=3).no_fix == 1.0
