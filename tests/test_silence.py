"""Silence: each vehicle by its own habit, told once, and once more when it speaks again."""

from __future__ import annotations

from datetime import timedelta

import trio
from msgspec.structs import replace

from fleetd.event import millis
from fleetd.store.look import Filter, newest
from fleetd.tasks.silence import Habit, Watch
from tests.conftest import MORNING
from tests.desk import desk
from tests.store.deeds import fix, put, truck

HOUR_MS = 3_600_000
DAY = 86_400


def told(store):
    with store.reader() as reader:
        found = newest(reader.db, Filter(kinds=frozenset({"alert"})), 0, 1 << 40, 500)
    return [(one.event.type, one.event.vehicle) for one in found.entries]


async def drive(here, watch, hours, vehicles=("v1",), every=0.5):
    """Everybody tells where they are, twice an hour, and the watch looks."""
    for _ in range(int(hours / every)):
        now = here.store.world.now()
        await put(here.store, *[at(one, now) for one in vehicles])
        await trio.sleep(every * 3600)
        await watch.look()


def at(vehicle, now):
    return replace(fix(0, at=now, vehicle=vehicle), id=f"{vehicle}@{millis(now)}")


async def rest(watch, hours):
    for _ in range(int(hours * 2)):
        await trio.sleep(1800)
        await watch.look()


async def watching(here):
    watch = Watch(here.board)
    here.store.listeners.add(watch.landed)
    here.board.clock.look()
    await trio.sleep(1000)
    return watch


async def as_usual(here, watch):
    """Three days of it: enough to learn the habit."""
    for _ in range(3):
        await drive(here, watch, 22)
        await rest(watch, 2)


async def test_a_vehicle_that_is_usually_heard_is_told_when_it_is_not(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        watch = await watching(here)
        for _ in range(3):  # a night of eight hours is its habit
            await drive(here, watch, 16)
            await rest(watch, 8)
        await drive(here, watch, 1)
        assert told(here.store) == []
        await rest(watch, 14)
        assert told(here.store) == [], "no longer than twice its longest night"
        await rest(watch, 4)
        assert told(here.store) == [("vehicle_silent", "v1")]
        assert here.board.silent == {"north": 1, "south": 0}
        await rest(watch, 4)
        await drive(here, watch, 1)

        assert told(here.store) == [("vehicle_silent", "v1"), ("vehicle_heard", "v1")]
        assert here.board.silent["north"] == 0


async def test_many_at_once_are_one_alert(tmp_path, world, autojump_clock):
    fleet = tuple(f"v{n}" for n in range(12))
    async with desk(tmp_path, world) as here:
        watch = await watching(here)
        for _ in range(3):
            await drive(here, watch, 12, fleet)
            await rest(watch, 12)
        await rest(watch, 20)

        assert ("vehicles_silent", None) in told(here.store)
        assert not [one for one in told(here.store) if one[0] == "vehicle_silent"]


async def test_a_restart_forgets_no_habit_and_blames_nobody_for_our_own_absence(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        watch = await watching(here)
        await as_usual(here, watch)
        watch.keep()
        await here.store.remember("anything", None)
    await trio.sleep(12 * 3600)
    async with desk(tmp_path, world) as here:
        watch = Watch(here.board)
        here.store.listeners.add(watch.landed)
        habit = watch._habits["north"]["v1"]
        limit = habit.limit_ms
        await watch.look()
        assert told(here.store) == [], "what was missed is still being fetched"
        await drive(here, watch, 0.5)
        again = watch._habits["north"]["v1"]

    assert limit < 6 * HOUR_MS
    assert again.limit_ms == limit, "twelve hours of ours are not its habit"


async def test_a_vehicle_that_was_removed_is_not_silent(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        watch = await watching(here)
        for _ in range(3):
            await drive(here, watch, 22, ("v1", "v2"))
            await rest(watch, 2)
        await put(here.store, truck("T-1"), truck("T-2", "v2"))
        await put(here.store, truck(None, "v2", removed=True))
        await rest(watch, 12)

        assert told(here.store) == [("vehicle_silent", "v1")]
        assert here.board.silent["north"] == 1
        assert set(watch._habits["north"]) == {"v1"}


async def test_a_pause_is_nobodys_silence_and_teaches_nothing(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        watch = await watching(here)
        await as_usual(here, watch)
        limit = watch._habits["north"]["v1"].limit_ms
        await here.store.pause("north", paused=True)
        await rest(watch, 60)
        await here.store.pause("north", paused=False)
        await watch.look()
        assert told(here.store) == [], "what was missed is still being fetched"
        await drive(here, watch, 0.5)
        assert watch._habits["north"]["v1"].limit_ms == limit
        await rest(watch, 8)

        assert told(here.store) == [("vehicle_silent", "v1")]


async def test_a_pause_dated_by_a_clock_that_was_ahead_ends_all_the_same(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        watch = await watching(here)
        await drive(here, watch, 1)
        watch._paused["north"] = millis(here.store.world.now()) + 400 * DAY * 1000
        await rest(watch, 60)

        assert told(here.store) == [("vehicle_silent", "v1")]


def test_a_habit_is_learned_for_a_week_and_forgotten_after():
    start = millis(MORNING)
    habit = Habit(start, start // (DAY * 1000), [0])
    ms = start
    for day in range(3):
        ms += 20 * HOUR_MS if day == 1 else 3 * HOUR_MS
        habit.heard(ms)
        ms += 4 * HOUR_MS if day == 1 else 21 * HOUR_MS
        habit.heard(ms)
    long = habit.limit_ms
    for _ in range(24 * 12):
        ms += HOUR_MS
        habit.heard(ms)

    assert long == 2 * 21 * HOUR_MS
    assert habit.limit_ms == 2 * HOUR_MS
    assert Habit(start, 0, [0]).limit_ms == 48 * HOUR_MS
    assert timedelta(milliseconds=long) > timedelta(days=1)
