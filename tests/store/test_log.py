"""The log: appended once, read in order, its cursors exact whatever comes between."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio

from fleetd.errors import PayloadError, StoreError
from fleetd.event import millis
from fleetd.store import Attempt, Burial, SinkPlace
from fleetd.store import reading as reading_module
from fleetd.store.appends import BULK
from fleetd.store.jobs import AddJob
from fleetd.store.small import Keep
from fleetd.taking import Taking
from tests.conftest import MORNING
from tests.store.deeds import (
    ALL,
    appended,
    committed,
    counted,
    crash,
    drain,
    fix,
    imbalances,
    opened,
    put,
    rows,
    stored,
    truck,
    waits,
)

SAFETY_ONLY = Taking(frozenset({"safety"}))
CALM = Taking(frozenset({"safety", "fault", "vehicle"}))


async def test_what_is_appended_is_read_back_in_order(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        await put(store, *(fix(n) for n in range(5)))
        await put(store, fix(5), crash(1), fix(6))
        read = await store.next_batch("ops", 0, limit=3)

        assert [one.event.id for one in read.entries] == ["p0", "p1", "p2"]
        assert [one.event.id for one in await drain(store)] == [
            "s1", *(f"p{n}" for n in range(7)),
        ]  # fmt: skip
        assert store.waiting("ops", 0) == store.waiting("ops", 1) == 0
        assert await imbalances(store) == []


async def test_everything_is_there_after_a_restart(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1), fix(2), crash(1), bookmark=("gps", "page-2"))
        read = await store.next_batch("ops", 0, limit=1)
        await store.advance(read, delivered=read.entries)
        await store.remember("board", {"a": 1})

    async with opened(tmp_path, world) as store:
        assert stored(store) == ["p1", "p2", "s1"]
        assert store.cursor("ops", 0) == 1
        assert (store.waiting("ops", 0), store.waiting("ops", 1)) == (1, 1)
        assert store.bookmark("north", "gps") == "page-2"
        assert store.recall("board") == {"a": 1}


async def test_a_cursor_that_another_hand_moved_is_not_moved_back(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, *(fix(n) for n in range(10)))
        read = await store.next_batch("ops", 0, limit=4)
        assert await store.skip("ops", 8, "operator") == 8

        assert not await store.advance(read, delivered=read.entries)
        assert store.cursor("ops", 0) == 8
        assert counted(store, "ops") == {"skipped:operator": 8}
        assert store.waiting("ops", 0) == 2


async def test_a_sink_of_other_kinds_stands_behind_each_commit_at_once(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world, {"calm": SinkPlace(SAFETY_ONLY)}) as store:
        await put(store, *(fix(n) for n in range(50)))
        await put(store, crash(1))
        await put(store, fix(99))

        assert store.cursor("calm", 0) == store.newest
        assert store.cursor("calm", 1) == 50
        assert store.waiting("calm", 1) == 1
        assert counted(store, "calm") == {"not_taken": 51}


async def test_a_long_stretch_of_other_lanes_hides_nothing_behind_it(
    autojump_clock, tmp_path, world
):
    """By kind, more rows are looked at than the lane holds: none may be passed unread."""
    many = reading_module.EXAMINED + 50
    async with opened(tmp_path, world, {"calm": SinkPlace(CALM, "oldest")}) as store:
        events = [crash(n) if n % 3 == 0 else truck("T", f"v{n}") for n in range(many)]
        for start in range(0, many, 5000):
            await put(store, *events[start : start + 5000])
        trucks = [
            one for one in await drain(store, "calm", 5000) if one.kind == "vehicle"
        ]

        assert len(trucks) == sum(1 for n in range(many) if n % 3)
        assert "not_taken" not in counted(store, "calm")
        assert await imbalances(store) == []


async def test_a_sink_that_left_the_file_is_counted_anew_when_it_returns(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        await store.register_sinks({})
        await put(store, fix(2), fix(3))
        await store.register_sinks(ALL)

        assert store.waiting("ops", 0) == 3
        assert len(await drain(store)) == 3
        assert await imbalances(store) == []


async def test_a_changed_taking_is_counted_anew(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1), fix(2, vehicle="T-9"), crash(1), source="north")
        await put(store, fix(3), source="south")
        for taking in (
            Taking(vehicles=("t-*",)), Taking(sources=frozenset({"south"})),
            SAFETY_ONLY, Taking(),
        ):  # fmt: skip
            await store.register_sinks({"ops": SinkPlace(taking)})
            now = (store.waiting("ops", 0), store.waiting("ops", 1))

            assert now == await waits(store, "ops", taking)


async def test_a_new_sink_begins_now_or_with_the_oldest(
    autojump_clock, tmp_path, world
):
    places = {"all": SinkPlace(Taking()), "bell": SinkPlace(Taking(), "now")}
    async with opened(tmp_path, world, {}) as store:
        await put(store, fix(1))
        await store.register_sinks(places)
        await put(store, fix(2))

        assert [one.event.id for one in await drain(store, "all")] == ["p1", "p2"]
        assert [one.event.id for one in await drain(store, "bell")] == ["p2"]


async def test_a_renamed_sink_or_source_keeps_its_place(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1), fix(2), bookmark=("gps", "b1"))
        read = await store.next_batch("ops", 0, limit=1)
        await store.advance(read, delivered=read.entries)
        await store.pause("ops", paused=True)
        await store.add_job(AddJob("replay", "ops", {}, 0, 2, 2, 0))

    async with opened(tmp_path, world, {}) as store:
        await store.register_sources({"new": "acme"}, {"new": "north"})
        await store.register_sinks({"deck": SinkPlace(Taking())}, was={"deck": "ops"})

        assert store.cursor("deck", 0) == 1
        assert store.waiting("deck", 0) == 1
        assert store.paused("deck")
        assert not store.paused("ops")
        assert [job.target for job in store.jobs()] == ["deck"]
        assert ("sink", "ops") not in store.log.names
        assert (await store.next_batch("deck", 0, limit=9)).entries[0].source == "new"


async def test_a_forgotten_sink_begins_anew_and_one_in_use_is_not_forgotten(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        await drain(store)
        await store.register_sinks({})
        await store.forget("ops")
        await store.register_sinks(ALL)

        assert store.waiting("ops", 0) == 1


async def test_a_sink_that_saw_the_first_event_must_balance_from_its_hour_on(
    autojump_clock, tmp_path, world
):
    later = {**ALL, "later": SinkPlace(Taking(), "now")}
    async with opened(tmp_path, world) as store:
        await put(store, fix(1), fix(2))
        await drain(store)
        await store.register_sinks(later)
        await put(store, fix(3))
        await drain(store)
        await drain(store, "later")
        assert await imbalances(store) == []
        store.log.db.execute("DELETE FROM totals WHERE outcome = 'delivered'")

        assert await imbalances(store) == [
            "ops: deliveries: 3 came and 0 are accounted"
        ]


async def test_skipping_far_goes_in_short_steps_and_counts_each_event_once(
    autojump_clock, tmp_path, world
):
    taking = Taking(vehicles=("a*",))
    async with opened(tmp_path, world, {"ops": SinkPlace(taking)}) as store:
        for hour in range(3):
            at = millis(MORNING) + hour * 3_600_000
            await put(
                store, *(fix(hour * 100 + n, vehicle="ab"[n % 2]) for n in range(20)),
                received_ms=at,
            )  # fmt: skip
        assert await store.skip("ops", 50, "operator") == 25

        assert store.waiting("ops", 0) == 5
        assert counted(store, "ops") == {"skipped:operator": 25, "not_taken": 25}
        assert await imbalances(store) == []


async def test_arrival_never_goes_backwards_along_the_log(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        now = store.next_received_ms()
        await put(store, fix(1), received_ms=now + 500)
        await put(store, fix(2), received_ms=now)
        times = [
            ms for (ms,) in rows(store, "SELECT received_ms FROM events ORDER BY seq")
        ]

        assert times == sorted(times)


async def test_a_write_that_no_row_can_hold_is_refused_alone(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        bad = fix(1, revision=1 << 63)
        writes = [
            appended(store, fix(2)),
            appended(store, bad),
            appended(store, fix(3)),
        ]
        results = committed(store, writes)

        assert isinstance(results[1], PayloadError)
        assert stored(store) == ["p2", "p3"]
        assert store.trouble == ""


async def test_many_events_in_one_commit_are_stored_as_few_are(
    autojump_clock, tmp_path, world
):
    """Their rows are written beside the loop; what else is in the commit sees them."""
    async with opened(tmp_path, world) as store:
        await put(store, fix(7))
        page = [fix(n) for n in range(2 * BULK)]
        writes = [
            appended(store, *page),
            Keep("mark", {"on": True}),
            appended(store, fix(3), fix(2 * BULK)),
        ]
        first, _, second = committed(store, writes)

        assert (first.stored, first.duplicate) == (2 * BULK - 1, 1)
        assert (second.stored, second.duplicate) == (1, 1)
        assert len(stored(store)) == 2 * BULK + 1
        assert store.waiting("ops", 0) == 2 * BULK + 1
        assert await imbalances(store) == []
        seqs = [seq for (seq,) in rows(store, "SELECT seq FROM events ORDER BY seq")]
        assert seqs == list(range(1, 2 * BULK + 2))


async def test_one_event_that_no_row_can_hold_spoils_no_commit_of_many(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        bad = fix(0, revision=1 << 63)
        many = [fix(n) for n in range(1, BULK + 1)]
        results = committed(store, [appended(store, bad), appended(store, *many)])

        assert isinstance(results[0], PayloadError)
        assert results[1].stored == BULK
        assert len(stored(store)) == BULK


async def test_a_burial_keeps_its_reason_and_moves_the_cursor(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1), fix(2))
        read = await store.next_batch("ops", 0, limit=2)
        grave = Burial(read.entries[0], "422 no such unit", 422, b"{}")
        await store.advance(read, delivered=read.entries[1:], buried=[grave])

        assert rows(store, "SELECT seq, why, status FROM dead") == [
            (1, "422 no such unit", 422)
        ]
        assert counted(store, "ops") == {"delivered": 1, "dead": 1}
        assert await imbalances(store) == []


async def test_attempts_are_kept_with_at_most_two_kilobytes_of_an_answer(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        attempt = Attempt(
            sink="ops", job=0, lane=0, first=1, last=1, count=1, verdict="later",
            status=503, ms=3, at_ms=0, key="k", answer=b"x" * 9999,
        )  # fmt: skip
        await store.attempted([attempt])

        assert rows(store, "SELECT length(answer) FROM attempts") == [(2048,)]


async def test_a_replay_has_a_cursor_of_its_own_and_ends(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, *(fix(n) for n in range(6)), crash(1))
        await drain(store)
        job = await store.add_job(AddJob("replay", "ops", {}, 2, 7, 5, 0))
        seen = []
        while store.replays("ops"):
            read = await store.next_batch("ops", 0, limit=2, job=job.id)
            assert await store.advance(read, delivered=read.entries)
            seen += [one.event.id for one in read.entries]

        assert seen == ["p2", "p3", "p4", "p5", "s1"]
        assert store.jobs()[0].state == "done"
        assert store.jobs()[0].done == 5
        assert counted(store, "ops") == {"delivered": 7}


async def test_waiting_wakes_whoever_sleeps_and_a_pause_holds_it(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        woken = []

        async def sleeper() -> None:
            await store.wait_for("ops")
            woken.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            await store.pause("ops", paused=True)
            nursery.start_soon(sleeper)
            await trio.sleep(1)
            await put(store, fix(1))
            await trio.sleep(1)
            await store.pause("ops", paused=False)

        assert woken == [2]


async def test_a_closed_log_takes_nothing_more(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        pass

    with pytest.raises(StoreError):
        await put(store, fix(1))


async def test_received_at_goes_on_where_it_was_after_the_clock_was_set_back(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        before = store.received_ms
    world.now = lambda: MORNING - timedelta(hours=3)
    async with opened(tmp_path, world) as store:
        await put(store, fix(2))

        assert rows(store, "SELECT max(received_ms) FROM events") == [(before,)]
