"""The disk law and every `keep`: what goes, what stays, and that each is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
from msgspec import Struct

from fleetd.clock import Clock
from fleetd.errors import FullError
from fleetd.event import DAY_MS, millis
from fleetd.store import Attempt, Burial, Rules, SinkPlace, Store
from fleetd.store.jobs import AddJob
from fleetd.store.small import Beat, Unverified
from fleetd.taking import Taking
from fleetd.tasks.prune import EVERY_S, Keeper
from fleetd.world import World
from tests.conftest import MORNING
from tests.store.deeds import (
    ALL,
    counted,
    crash,
    days,
    drain,
    fix,
    imbalances,
    opened,
    put,
    rows,
    stored,
    truck,
)

DAY = 86_400.0
HOLDS = {"ops": 14 * DAY}
MIB = 1 << 20


def keeper(store: Store, world: World, holds: Mapping[str, float] = HOLDS) -> Keeper:
    return Keeper(store, Clock(world), holds)


async def turn(keep: Keeper) -> None:
    """What a minute of the task does, once."""
    await trio.sleep(EVERY_S)
    await keep.tick()


class Load(Struct):
    """Fills a log with distinct events that carry some bytes."""

    store: Store
    n: int = 0

    async def day(self, events: int, size: int = 0, vehicle: str = "v1") -> None:
        now = self.store.world.now()
        for _ in range(events // 50):
            some = range(self.n, self.n + 50)
            self.n += 50
            await put(
                self.store,
                *(
                    fix(n, at=now, vehicle=vehicle, location_description="x" * size)
                    for n in some
                ),
            )


async def test_events_go_when_their_keep_is_over_and_not_before(
    autojump_clock, tmp_path, world
):
    rules = Rules(keep=3 * DAY, keep_kinds={"safety": 400 * DAY})
    async with opened(tmp_path, world, rules=rules) as store:
        keep = keeper(store, world)
        await put(store, fix(1), crash(1))
        await trio.sleep(2 * DAY)
        await put(store, fix(2, at=world.now()))
        await drain(store)
        await trio.sleep(0.9 * DAY)
        await turn(keep)
        assert stored(store) == ["p1", "s1", "p2"]
        await trio.sleep(0.2 * DAY)
        await turn(keep)

        assert stored(store) == ["s1", "p2"]
        assert await imbalances(store) == []


async def test_what_waits_for_a_sink_stays_as_long_as_it_may_be_held(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world, rules=Rules(keep=3 * DAY)) as store:
        keep = keeper(store, world)
        await put(store, *(fix(n) for n in range(5)))
        await trio.sleep(13 * DAY)
        await turn(keep)
        assert len(stored(store)) == 5
        assert "ops has let events wait for 13 days" in keep.why
        assert store.warnings
        await put(store, fix(9, at=world.now()))
        await trio.sleep(2 * DAY)
        await turn(keep)

        assert stored(store) == ["p9"]
        assert store.waiting("ops", 0) == 1
        assert counted(store, "ops") == {"skipped:expired": 5}
        assert await imbalances(store) == []


async def test_what_a_sink_has_held_too_long_is_still_its_own_while_it_is_kept(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world, rules=Rules(keep=90 * DAY)) as store:
        keep = keeper(store, world)
        await put(store, fix(1))
        await trio.sleep(30 * DAY)
        await turn(keep)

        assert [one.event.id for one in await drain(store)] == ["p1"]


async def test_nothing_goes_while_the_clock_is_suspect(autojump_clock, tmp_path, world):
    rules = Rules(keep=DAY, keep_raw=DAY, dedupe_window=DAY)
    async with opened(tmp_path, world, rules=rules) as store:
        keep = keeper(store, world)
        await put(store, fix(1), raw=True)
        await drain(store)
        world.synchronised = lambda: False
        skewed, world.now = world.now, lambda: skewed_by(skewed, 400)
        keep._clock.look()
        await turn(keep)
        assert stored(store) == ["p1"]
        assert rows(store, "SELECT count(*) FROM raw") == [(1,)]
        assert rows(store, "SELECT count(*) FROM seen") == [(1,)]
        assert "suspect" in keep.why
        keep._clock._believe()
        await turn(keep)

        assert stored(store) == []


def skewed_by(now: Any, n: float) -> Any:
    return now() + days(n)


async def test_the_small_tables_lose_their_old_ends(autojump_clock, tmp_path, world):
    rules = Rules(
        keep=2 * DAY, keep_raw=DAY, dedupe_window=2 * DAY, keep_ledger=5 * DAY
    )
    async with opened(tmp_path, world, rules=rules) as store:
        keep = keeper(store, world)

        async def a_day() -> None:
            now = store.next_received_ms()
            event = fix(now % 10**9, at=world.now())
            await put(store, event, raw=True)
            await put(store, event, fix(1, latitude=0.0, longitude=0.0), raw=True)
            await drain(store)
            await store.join(Beat(now // 60_000, "up"))
            await store.join(Unverified("north", now, "::1", "bad", "{}", b"x"))
            await store.attempted([attempt(now)])
            job = await store.add_job(AddJob("replay", "ops", {}, 0, 0, 0, now))
            await store.change_job(job.id, "cancelled")

        for _ in range(8):
            await a_day()
            await trio.sleep(DAY)
            await turn(keep)
        for _ in range(32):
            await trio.sleep(DAY)
            await turn(keep)

        left = {
            table: rows(store, f"SELECT count(*) FROM {table}")[0][0]
            for table in (
                "events", "raw", "asides", "seen", "unverified", "attempts", "minutes",
                "totals", "jobs",
            )
        }  # fmt: skip
        assert left == {**dict.fromkeys(left, 0), "jobs": 1}  # its number stays its own
        assert [job.id for job in store.jobs()] == [8]
        assert rows(store, "SELECT sum(n) FROM sums WHERE outcome = 'stored'") == [(8,)]


def attempt(now: int) -> Attempt:
    return Attempt(
        sink="ops", job=0, lane=0, first=1, last=1, count=1, verdict="taken", status=200,
        ms=1, at_ms=now, key="k",
    )  # fmt: skip


async def test_identities_are_kept_for_the_window_and_for_a_running_backfill(
    autojump_clock, tmp_path, world
):
    rules = Rules(dedupe_window=7 * DAY)
    async with opened(tmp_path, world, rules=rules) as store:
        keep = keeper(store, world)
        job = await store.add_job(AddJob("backfill", "north", {}, 0, 0, 0, 0))
        await put(store, fix(1))
        await trio.sleep(6.9 * DAY)
        await turn(keep)
        assert (await put(store, fix(1))).duplicate == 1
        await trio.sleep(10 * DAY)
        await turn(keep)
        assert (await put(store, fix(1))).duplicate == 1
        await store.change_job(job.id, "done")
        await turn(keep)

        assert (await put(store, fix(1))).stored == 1


async def test_facts_stay_as_long_as_a_fix_may_ask_for_them(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        keep = keeper(store, world)
        for n in range(3):
            await put(store, truck(f"T-{n}"))
            await trio.sleep(10 * DAY)
        await trio.sleep(15 * DAY)
        await turn(keep)
        numbers = rows(
            store, "SELECT value FROM facts WHERE name = 'number' ORDER BY at_ms"
        )
        known = store.directory.known(
            "north", "v1", "number", millis(MORNING + days(15))
        )

        assert numbers == [("T-1",), ("T-2",)]
        assert known == "T-1"


async def test_a_dead_letter_keeps_its_event(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world, rules=Rules(keep=DAY)) as store:
        keep = keeper(store, world)
        await put(store, fix(1), fix(2))
        read = await store.next_batch("ops", 0, limit=2)
        grave = Burial(read.entries[0], "no")
        await store.advance(read, delivered=read.entries[1:], buried=[grave])
        await trio.sleep(5 * DAY)
        await turn(keep)

        assert stored(store) == ["p1"]


async def test_a_running_replay_keeps_its_window_from_expiring(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world, rules=Rules(keep=DAY)) as store:
        keep = keeper(store, world)
        await put(store, fix(1), fix(2), fix(3))
        await drain(store)
        now = millis(world.now())
        job = await store.add_job(AddJob("replay", "ops", {}, 1, 2, 1, now))
        await trio.sleep(5 * DAY)
        await turn(keep)
        assert stored(store) == ["p2"]
        await store.change_job(job.id, "cancelled")
        await turn(keep)

        assert stored(store) == []


async def test_delivered_history_never_stops_intake(autojump_clock, tmp_path, world):
    rules = Rules(max_disk=8 * MIB, keep=400 * DAY)
    async with opened(tmp_path, world, rules=rules) as store:
        keep, load = keeper(store, world), Load(store)
        for _ in range(30):
            await load.day(1000, size=600)
            await drain(store)
            await turn(keep)
            assert store.trouble == ""

        use = await keep._steps.use()
        assert use.share <= 0.82
        assert stored(store)[-1] == f"p{load.n - 1}"
        assert await imbalances(store) == []
        assert counted(store, "ops") == {"delivered": load.n}


@pytest.mark.parametrize("held", [False, True])
async def test_the_law_holds_while_the_clock_is_suspect_and_nothing_goes_for_its_age(
    held, autojump_clock, tmp_path, world
):
    world.synchronised = lambda: False
    rules = Rules(max_disk=8 * MIB, keep=DAY)
    async with opened(tmp_path, world, rules=rules) as store:
        keep, load = keeper(store, world, {"ops": 3600.0}), Load(store)
        for _ in range(30):
            if not store.trouble:
                await load.day(1000, size=600)
            if not held:
                await drain(store)
            await trio.sleep(600)
            await keep.tick()
            use = await keep._steps.use()
            assert keep._clock.state == "suspect"
            assert use.share <= 1 or store.trouble

        assert ("waiting for ops" in store.trouble) == held
        assert "skipped:expired" not in counted(store, "ops")
        assert use.share < 1.5
        assert await imbalances(store) == []


async def test_a_clock_that_jumps_while_room_is_made_makes_nothing_old(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world, rules=Rules(max_disk=8 * MIB)) as store:
        keep, load, looks = keeper(store, world), Load(store), 0
        while (await keep._steps.use()).share <= 0.8:
            await load.day(500, size=600)
        await drain(store)
        real, in_thread = world.now, world.in_thread

        async def looked(work: Any) -> Any:
            nonlocal looks
            looks += 1
            return await in_thread(work)

        world.in_thread = looked
        world.synchronised = lambda: looks < 3
        world.now = lambda: skewed_by(real, 400 if looks >= 3 else 0)
        await turn(keep)

        assert looks > 3
        assert "suspect" in keep.why
        assert len(stored(store)) > load.n / 2


async def test_raw_bytes_go_before_any_event(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world, rules=Rules(max_disk=8 * MIB)) as store:
        keep = keeper(store, world)
        for n in range(900):
            await put(store, fix(n), raw=world.chance.randbytes(8000))
        before = rows(store, "SELECT count(*) FROM raw")[0][0]
        await turn(keep)

        assert len(stored(store)) == 900
        assert rows(store, "SELECT count(*) FROM raw")[0][0] < before


async def test_a_sink_held_for_weeks_stops_intake_by_law_and_never_before_it_is_full(
    autojump_clock, tmp_path, world
):
    rules = Rules(max_disk=8 * MIB)
    async with opened(tmp_path, world, rules=rules) as store:
        keep, load = keeper(store, world), Load(store)
        while not store.trouble:
            await load.day(500, size=600)
            await turn(keep)
        assert (await keep._steps.use()).share > 1
        assert "waiting for ops" in store.trouble
        with pytest.raises(FullError):
            await put(store, fix(1))
        await drain(store)
        await trio.sleep(EVERY_S)
        await keep.tick()
        await keep.tick()

        assert store.trouble == ""
        assert await imbalances(store) == []


async def test_what_was_held_too_long_makes_room_before_intake_stops(
    autojump_clock, tmp_path, world
):
    rules = Rules(max_disk=8 * MIB, keep=400 * DAY)
    async with opened(tmp_path, world, rules=rules) as store:
        keep, load = keeper(store, world), Load(store)
        for _ in range(60):
            await load.day(200, size=600)
            await trio.sleep(DAY)
            await turn(keep)
            assert store.trouble == ""

        counts = counted(store, "ops")
        assert counts["skipped:expired"] + store.waiting("ops", 0) == load.n
        assert store.waiting("ops", 0) > 14 * 200
        assert await imbalances(store) == []


async def test_a_held_sink_pins_only_what_it_takes(autojump_clock, tmp_path, world):
    sinks = {"ops": SinkPlace(Taking()), "bell": SinkPlace(Taking(vehicles=("rare",)))}
    holds = {"ops": 14 * DAY, "bell": 14 * DAY}
    async with opened(tmp_path, world, sinks, Rules(max_disk=8 * MIB)) as store:
        keep, load = keeper(store, world, holds), Load(store)
        await put(store, fix(1_000_000, vehicle="rare"), crash(1, vehicle="rare"))
        for _ in range(30):
            await load.day(1000, size=600)
            await drain(store)
            await turn(keep)
            assert store.trouble == ""

        assert stored(store)[:2] == ["p1000000", "s1"]
        assert (store.waiting("bell", 0), store.waiting("bell", 1)) == (1, 1)
        assert len(await drain(store, "bell")) == 2
        assert await imbalances(store) == []
        assert sum(counted(store, "bell").values()) == load.n + 2


async def test_a_sink_that_left_the_file_pins_nothing(autojump_clock, tmp_path, world):
    rules = Rules(max_disk=8 * MIB)
    async with opened(tmp_path, world, rules=rules) as store:
        load = Load(store)
        await load.day(100)
        await store.register_sinks({})
        keep = keeper(store, world, {})
        for _ in range(20):
            await load.day(1000, size=600)
            await turn(keep)
            assert store.trouble == ""
        kept = len(stored(store))
        await store.register_sinks(ALL)

        assert store.waiting("ops", 0) == kept < load.n
        assert counted(store, "ops") == {"skipped:expired": load.n - kept}
        await drain(store)
        assert await imbalances(store) == []


async def test_the_file_shrinks_again(autojump_clock, tmp_path, world):
    rules = Rules(max_disk=256 * MIB, keep=DAY)
    async with opened(tmp_path, world, rules=rules) as store:
        keep, load = keeper(store, world), Load(store)
        await load.day(20_000, size=1500)
        await drain(store)
        store.log._fold()
        big = (tmp_path / "log.sqlite").stat().st_size
        await trio.sleep(3 * DAY)
        await turn(keep)
        store.log._fold()
        small = (tmp_path / "log.sqlite").stat().st_size

        assert big > 30 * MIB
        assert small < big * 0.7


async def test_the_write_ahead_log_stays_within_its_cap(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world, rules=Rules(max_disk=256 * MIB)) as store:
        load, most = Load(store), 0
        for _ in range(40):
            await load.day(500, size=1500)
            most = max(most, store.space.wal_bytes())

        assert MIB < most <= store.space.wal_cap


async def test_dead_letters_hold_their_source_beyond_a_tenth_of_the_disk(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world, rules=Rules(max_disk=8 * MIB)) as store:
        keep = keeper(store, world)
        for n in range(450):
            await put(store, b"bad %d " % n + b"x" * 2000)
        await put(store, b"bad", source="south")
        await turn(keep)

        assert store.crowded == {("source", "north")}


async def test_a_full_disk_opens_again_by_itself(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        keep = keeper(store, world)
        store.log._filled_up("by a test")
        assert not store.space.has_ballast
        await keep.tick()

        assert store.trouble == ""
        assert store.space.has_ballast
        assert (await put(store, fix(1))).stored == 1


async def test_a_full_disk_stays_closed_while_there_is_no_room_for_the_reserve(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        keep = keeper(store, world)
        await put(store, fix(1))
        store.log._filled_up("by a test")
        store.space.ballast_size = store.space.free()
        await keep.tick()
        assert store.trouble
        assert len(await drain(store)) == 1
        store.space.ballast_size = MIB
        await keep.tick()

        assert store.trouble == ""


async def test_days_are_dropped_in_pieces(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world, rules=Rules(dedupe_window=DAY)) as store:
        keep, load = keeper(store, world), Load(store)
        await load.day(2000)
        await trio.sleep(3 * DAY)
        await load.day(50)
        await turn(keep)
        oldest = rows(store, "SELECT min(key) FROM seen")[0][0]

        assert rows(store, "SELECT count(*) FROM seen") == [(50,)]
        assert int.from_bytes(oldest[:2], "big") == millis(world.now()) // DAY_MS
