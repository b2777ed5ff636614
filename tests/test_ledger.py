"""The ledger: every number balances, can be asked for its ids, and silence is told."""

from __future__ import annotations

import pytest
import trio

from fleetd.event import millis
from fleetd.store.small import Beat, Refused
from fleetd.tasks.coverage import Coverage, caught, covers, kept
from tests.desk import Desk, desk
from tests.store.deeds import counted, crash, drain, fix, put

HOUR = 3600


async def beats(here, minutes: int) -> None:
    """So many minutes of a daemon that is up."""
    for _ in range(minutes):
        minute = millis(here.board.world.now()) // 60_000
        await here.store.join(Beat(minute, "up"))
        await trio.sleep(60)


def finding(found, name):
    return next(one for one in found["findings"] if one["name"] == name)


async def test_a_quiet_hour_is_complete(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), fix(1), fix(2, latitude=0, longitude=0), b"bad")
        await drain(here.store)
        await beats(here, 30)
        found = await here.ask("/api/ledger")

    assert found["verdict"] == "complete"
    north = next(one for one in found["rows"] if one["name"] == "north")
    assert (north["received"], north["normalized"], north["dead"]) == (4, 3, 1)
    assert (north["made"], north["stored"], north["duplicate"], north["filtered"]) == (
        3,
        1,
        1,
        1,
    )
    assert "1 record set aside: fleetd dead" in finding(found, "north")["sentence"]
    assert finding(found, "ops")["verdict"] == "complete"


async def test_what_still_waits_for_a_sink_is_said_beside_what_it_has(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), fix(2))
        before = await here.ask("/api/ledger")
        await drain(here.store)
        after = await here.ask("/api/ledger")

    assert finding(before, "ops")["sentence"] == (
        "ops: complete: 0 events delivered, 0 skipped, 2 waiting now."
    )
    assert finding(after, "ops")["sentence"] == (
        "ops: complete: 2 events delivered, 0 skipped."
    )


async def test_a_count_that_does_not_balance_is_lost(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), fix(2))
        here.store.log.db.execute("UPDATE totals SET n = 1 WHERE outcome = 'stored'")
        found = await here.ask("/api/ledger")

    assert found["verdict"] == "lost"
    assert "2 events came, 1 counted" in finding(found, "north")["sentence"]


async def test_a_delivery_that_nobody_counted_is_lost(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        for n in range(3):  # three hours, all of them delivered
            await put(here.store, fix(n))
            await drain(here.store)
            await trio.sleep(HOUR)
        sink = here.store.log.names["sink", "ops"]
        before = await here.ask("/api/ledger")
        here.store.log.db.execute(
            "DELETE FROM totals WHERE scope = ? AND hour ="
            " (SELECT min(hour) + 1 FROM totals)", (sink,)
        )  # fmt: skip
        found = await here.ask("/api/ledger")

    assert finding(before, "ops")["verdict"] == "complete"
    assert found["verdict"] == "lost"
    assert "1 deliveries came, 0 counted" in finding(found, "ops")["sentence"]


async def test_what_still_waits_is_not_lost(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        for n in range(5):
            await put(here.store, fix(n), crash(n))
            await trio.sleep(HOUR)
        read = await here.store.next_batch("ops", 0, limit=2)
        await here.store.advance(read, delivered=read.entries)
        found = await here.ask("/api/ledger")

    assert finding(found, "ops")["verdict"] == "complete"


async def test_expired_events_are_lost_and_those_skipped_by_hand_are_not(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1))
        await here.store.skip("ops", here.store.newest, "by_hand")
        by_hand = await here.ask("/api/ledger")
        await put(here.store, fix(2))
        await here.store.skip("ops", here.store.newest, "expired")
        expired = await here.ask("/api/ledger")

    assert by_hand["verdict"] == "complete"
    assert expired["verdict"] == "lost"
    assert "1 expired before they could go" in finding(expired, "ops")["sentence"]


DOWN = "down 21 Nov 06:10\N{EN DASH}06:41"
PUSHED = Coverage("Samsara", receives=True, kinds={"position": ("positions",)})


async def covered(here: Desk, **sources: Coverage) -> None:
    for source, cover in sources.items():
        await here.store.remember(covers(source), kept(cover))


async def heard(here: Desk, source: str, feed: str) -> None:
    """The feed has told everything up to now."""
    now = {"ms": millis(here.store.world.now())}
    await here.store.remember(caught(source, feed), now)


async def test_down_time_is_told_and_what_it_means_for_each_source(
    tmp_path, world, autojump_clock
):
    polled = Coverage("Motive", receives=False, kinds={"position": ("positions",)})
    mute = Coverage("LocoNav", receives=True, unlisted=("alert",))
    async with desk(tmp_path, world) as here:
        await beats(here, 10)
        await put(here.store, fix(1), source="south", bookmark=("positions", "a"))
    await trio.sleep(31 * 60)
    async with desk(tmp_path, world) as here:
        await covered(here, north=mute, south=polled)
        await beats(here, 5)
        await heard(here, "south", "positions")
        await beats(here, 5)
        found = await here.ask("/api/ledger")

    assert [one["state"] for one in found["outages"]] == ["down"]
    north, south = finding(found, "north"), finding(found, "south")
    assert north["verdict"] == "unknown"
    assert (
        f"north: {DOWN}, pushes cannot be listed again, unknown;" in north["sentence"]
    )
    assert south["verdict"] == "complete", "polling went on where it had stopped"
    assert (
        f"south: {DOWN}, complete (compared with Motive to 06:46);" in south["sentence"]
    )
    assert found["verdict"] == "unknown"


async def test_a_vendor_that_was_never_compared_with_is_not_passed_over(
    tmp_path, world, autojump_clock
):
    feeds = {"position": ("positions",), "trip": ("trips",)}
    async with desk(tmp_path, world) as here:
        await covered(here, north=Coverage("Samsara", receives=False, kinds=feeds))
        await heard(here, "north", "positions")
        before = await here.ask("/api/ledger")
        await heard(here, "north", "trips")
        after = await here.ask("/api/ledger")

    first, then = (finding(one, "north")["sentence"] for one in (before, after))
    assert "complete (not yet compared with Samsara);" in first
    assert "complete (compared with Samsara to" in then


async def test_what_was_missed_is_complete_once_the_vendor_was_asked_for_it(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await beats(here, 10)
    await trio.sleep(31 * 60)
    async with desk(tmp_path, world) as here:
        await covered(here, north=PUSHED)
        await beats(here, 3)
        before = finding(await here.ask("/api/ledger"), "north")
        await put(here.store, fix(1), gaps=((0, 1 << 62),))
        await heard(here, "north", "positions")
        await beats(here, 3)
        after = finding(await here.ask("/api/ledger"), "north")

    assert before["verdict"] == "unknown"
    assert f"north: {DOWN}, position still to be fetched, unknown" in before["sentence"]
    assert after["verdict"] == "complete"
    assert (
        f"north: {DOWN}, 1 recovered, complete (compared with Samsara to 06:44)"
        in (after["sentence"])
    )


async def test_down_time_is_told_as_soon_as_we_are_back(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await beats(here, 10)
    await trio.sleep(31 * 60)
    async with desk(tmp_path, world) as here:
        await covered(
            here, north=Coverage("LocoNav", receives=True, unlisted=("alert",))
        )
        await here.store.join(Beat(millis(world.now()) // 60_000, "up"))
        found = await here.ask("/api/ledger")

    assert finding(found, "north")["verdict"] == "unknown"
    assert f"north: {DOWN}, pushes" in finding(found, "north")["sentence"]


async def test_a_clock_that_was_ahead_makes_no_down_time_of_what_is_to_come(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        minute = millis(world.now()) // 60_000
        await here.store.join(Beat(minute + 180, "up"))
        await beats(here, 10)
        found = await here.ask("/api/ledger")

    assert found["outages"] == []


async def test_minutes_of_refusing_leave_doubt(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await beats(here, 3)
        minute = millis(world.now()) // 60_000
        await here.store.join(Beat(minute, "refusing"))
        await trio.sleep(60)
        await beats(here, 5)
        found = await here.ask("/api/ledger")

    assert [one["state"] for one in found["outages"]] == ["refusing"]
    assert finding(found, "north")["verdict"] == "unknown"


async def test_refused_requests_are_counted_beside_and_unverified_ones_once(
    tmp_path, world, autojump_clock
):
    from fleetd.store.small import Unverified

    async with desk(tmp_path, world) as here:
        hour = here.store.next_received_ms() // 3_600_000
        await here.store.join(
            Refused({("north", hour, 401): 2, ("north", hour, 503): 1})
        )
        await here.store.join(
            Unverified("north", here.store.received_ms, "p", "no", "{}", b"x")
        )
        found = await here.ask("/api/ledger")
        status = await here.status()

    assert found["rows"][0]["refused"] == 3
    assert status["sources"]["north"]["refused"] == 3


async def test_days_are_those_of_the_operator(tmp_path, world, autojump_clock):
    from tests.desk import HOUSE

    text = HOUSE.replace('"UTC"', '"Pacific/Auckland"')  # 13 hours ahead in November
    async with desk(tmp_path, world, text) as here:
        await put(here.store, fix(1))
        await trio.sleep(6 * HOUR)
        await put(here.store, fix(2))
        found = await here.ask("/api/ledger", by="day", since="2d")

    days = [one["from"] for one in found["rows"] if one["name"] == "north"]
    assert days == ["2026-11-21", "2026-11-22"]


async def test_one_name_is_asked_for_alone_and_a_wrong_one_is_told(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await trio.sleep(1)
        alone = await here.ask("/api/ledger", name="north")
        wrong = await here.port("/api/ledger", query="name=nroth")

    assert {one["name"] for one in alone["findings"]} == {"north"}
    assert "no source or sink 'nroth'; there are: " in wrong.json["error"]


@pytest.mark.parametrize("limit", ["1", "100"])
async def test_ids_stand_behind_every_outcome(limit, tmp_path, world, autojump_clock):
    from fleetd.store import Attempt

    async def ids(here, outcome: str, **more: str) -> list:
        got, after = [], "0"
        while True:
            found = await here.ask("/api/ledger", ids="2026-11-21T06:00", outcome=outcome,
                                   n=limit, after=after, **more)  # fmt: skip
            got += found["ids"]
            if found["done"]:
                return got
            after = str(found["high"])

    async with desk(tmp_path, world) as here:
        await put(
            here.store,
            fix(1),
            fix(1),
            fix(2, latitude=0, longitude=0),
            b"bad",
            crash(3),
        )
        read = await here.store.next_batch("ops", 0, limit=10)
        attempt = Attempt(
            sink="ops", job=0, lane=0, first=1, last=1, count=1, verdict="taken",
            status=200, ms=1, at_ms=1, key="k",
        )  # fmt: skip
        await here.store.advance(read, delivered=read.entries, attempts=[attempt])
        await trio.sleep(HOUR)
        await put(here.store, fix(9), fix(1), b"bad too")

        stored = await ids(here, "stored")
        assert [(one["seq"], one["id"]) for one in stored] == [(1, "p1"), (2, "s3")]
        assert [one["id"] for one in await ids(here, "duplicate")] == ["p1"]
        assert [one["id"] for one in await ids(here, "filtered")] == ["p2"]
        assert [one["name"] for one in await ids(here, "dead")] == ["north"]
        assert [one["seq"] for one in await ids(here, "delivered", name="ops")] == [1]
        refused = await here.port("/api/ledger", query="ids=6h&outcome=eaten")
        assert refused.status == 400


async def test_the_ids_of_what_was_delivered_are_those_that_were_counted(
    tmp_path, world, autojump_clock
):
    from fleetd.store import Attempt, Burial

    def carried(first: int, last: int, verdict: str = "taken", job: int = 0) -> Attempt:
        return Attempt(
            sink="ops", job=job, lane=0, first=first, last=last, count=1,
            verdict=verdict, status=200, ms=1, at_ms=1, key="k",
        )  # fmt: skip

    async def ids(here, sink: str) -> list[int]:
        found = await here.ask("/api/ledger", ids="2026-11-21T06:00", outcome="delivered",
                               name=sink)  # fmt: skip
        return [one["seq"] for one in found["ids"]]

    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), fix(2), crash(3), fix(4), fix(5))
        read = await here.store.next_batch("ops", 0, limit=3)
        first, second, third = read.entries
        await here.store.advance(
            read, upto=4, delivered=[first, third], buried=[Burial(second, "no")],
            attempts=[carried(1, 4, "never")],
        )  # fmt: skip
        await here.store.attempted([carried(5, 5, "later"), carried(1, 5, job=7)])

        assert await ids(here, "ops") == [1, 4]
        assert await ids(here, "pager") == []
        assert counted(here.store, "ops") == {"delivered": 2, "dead": 1}


async def test_vehicles_that_the_vendor_had_nothing_to_tell_of_are_counted_out_aloud(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await covered(here, north=PUSHED)
        await beats(here, 5)
        now = {"ms": millis(here.store.world.now()), "absent": 2}
        await here.store.remember(caught("north", "positions"), now)
        found = await here.ask("/api/ledger")

    said = finding(found, "north")["sentence"]
    assert "(compared with Samsara to 06:05, less 2 vehicles that it has not)" in said
