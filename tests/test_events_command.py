"""Finding events in the log: filters, pages, vehicles by any of their names."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta

import pytest
import trio

from fleetd.event import Alert, Position
from fleetd.store import look
from fleetd.store.stats import seq_at
from tests.conftest import MORNING
from tests.desk import HOUSE, desk
from tests.store.deeds import crash, fix, put, truck


def seqs(found) -> list[int]:
    return [one["seq"] for one in found["events"]]


async def test_the_newest_come_newest_last(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, *[fix(n) for n in range(10)])
        found = await here.ask("/api/events", n="3")
        before = await here.ask("/api/events", n="3", before=str(found["low"]))

    assert seqs(found) == [8, 9, 10]
    assert seqs(before) == [5, 6, 7]


async def test_pages_forward_miss_nothing_and_repeat_nothing(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, *[fix(n) if n % 3 else crash(n) for n in range(20)])
        got, after, done = [], "0", False
        while not done:
            found = await here.ask("/api/events", kind="position", n="4", after=after)
            got += seqs(found)
            after, done = str(found["high"]), found["done"]

    assert got == [n + 1 for n in range(20) if n % 3]


async def test_filters_by_kind_source_and_time(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), crash(2))
        await trio.sleep(3600)
        await put(here.store, fix(3), source="south")
        await trio.sleep(3600)
        await put(here.store, fix(4))

        assert seqs(await here.ask("/api/events", kind="safety")) == [2]
        assert seqs(await here.ask("/api/events", kind="safety,position")) == [
            1,
            2,
            3,
            4,
        ]
        assert seqs(await here.ask("/api/events", source="south")) == [3]
        since = (MORNING + timedelta(minutes=30)).isoformat()
        until = (MORNING + timedelta(minutes=90)).isoformat()
        assert seqs(await here.ask("/api/events", since=since, until=until)) == [3]
        assert seqs(await here.ask("/api/events", seq="2:3")) == [2, 3]
        assert seqs(await here.ask("/api/events", seq="3:")) == [3, 4]


async def test_a_window_is_half_open_to_the_millisecond(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        edge = 1_800_000_000_000
        for n, ms in enumerate((edge - 1, edge, edge + 1)):
            await put(here.store, fix(n), received_ms=ms)

        def at(ms: int) -> str:
            return f"2027-01-15T08:00:00.{ms:03}Z"

        inside = await here.ask("/api/events", since=at(0), until=at(1))
        assert seqs(inside) == [2]
        assert inside["window"].endswith("2027-01-15 08:00:00+00:00")


async def test_the_first_seq_of_a_time_is_found_among_gaps(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        base = here.store.next_received_ms()
        for n in range(60):
            await put(here.store, fix(n), received_ms=base + n // 3 * 1000)
        db = here.store.log.db
        db.execute("DELETE FROM events WHERE seq % 7 = 0 OR seq < 5")
        rows = list(db.execute("SELECT seq, received_ms FROM events ORDER BY seq"))
        newest = here.store.newest

        for ms in range(base - 500, base + 21_000, 250):
            wanted = next((seq for seq, at in rows if at >= ms), newest + 1)
            assert seq_at(db, ms) == wanted, ms


@pytest.mark.parametrize("name", ["v1", "V1", "T-101", "t-1*", "1FUJGLDR5CSBB1234",
    "*bb1234", "8ABC123", "8abc*"])  # fmt: skip
async def test_a_vehicle_is_found_by_any_name_in_any_case(
    name, tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        known = truck("T-101", vin="1FUJGLDR5CSBB1234", plate="8ABC123")
        await put(here.store, known, truck("X-9", vehicle="v9"))
        await put(here.store, fix(1), fix(2, vehicle="v9"))
        found = await here.ask("/api/events", vehicle=name, kind="position")

    assert [one["vehicle"]["id"] for one in found["events"]] == ["v1"]


async def test_a_name_of_several_vehicles_lists_them(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("101"))
        await put(here.store, truck("101", vehicle="w7"), source="south")
        await put(here.store, fix(1))
        refused = await here.port("/api/events", query="vehicle=101")
        chosen = await here.ask("/api/events", vehicle="101", source="north")
        globbed = await here.ask("/api/events", vehicle="10*")

    assert refused.status == 400
    assert "names 2 vehicles" in refused.json["error"]
    assert "north v1 (101)" in refused.json["error"]
    assert "south w7 (101)" in refused.json["error"]
    assert seqs(chosen) == [1, 3]
    assert seqs(globbed) == [1, 2, 3]


async def test_one_truck_that_two_sources_know_is_one(tmp_path, world, autojump_clock):
    vin = "1FUJGLDR5CSBB1234"
    async with desk(tmp_path, world) as here:
        await put(here.store, truck("101", vin=vin))
        await put(here.store, truck("101", vehicle="w7", vin=vin), source="south")
        found = await here.ask("/api/events", vehicle="101")

    assert seqs(found) == [1, 2]


async def test_what_was_counted_out_is_listed_with_its_reason(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        nowhere = Position(id="p9", at=MORNING, vehicle="v2", latitude=0, longitude=0)
        await put(here.store, fix(1), fix(1), nowhere)
        found = await here.ask("/api/events", filtered="1")
        other = await here.ask("/api/events", filtered="1", vehicle="v1")

    assert [(one["id"], one["why"], one["vehicle"]) for one in found["filtered"]] == [
        ("p9", "no_fix", "v2")
    ]
    assert other["filtered"] == []


async def test_one_look_is_bounded_and_says_how_far_it_came(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        await put(here.store, crash(0))
        for n in range(0, look.EXAMINED + 1000, 2000):
            await put(here.store, *[fix(n + k) for k in range(2000)])
        wanted = look.Filter(vehicle="nobody")
        db = here.store.log.db
        found = look.newest(db, wanted, 0, here.store.newest + 1, 10)

    assert found.entries == ()
    assert found.low == here.store.newest - look.EXAMINED + 1


@pytest.mark.parametrize("of", [{}, {"kind": "alert"}])
async def test_events_that_are_huge_come_a_few_at_a_time_and_all_of_them(
    tmp_path, world, autojump_clock, of
):
    text = "x" * 900_000
    async with desk(tmp_path, world) as here:
        for n in range(1, 31):
            await put(here.store, Alert(id=f"a{n}", at=MORNING, text=text))
        pages, after, before = [], 0, []
        while sum(map(len, pages)) < 30:
            found = await here.ask("/api/events", after=str(after), n="1000", **of)
            pages.append(seqs(found))
            after = found["high"]
        low = ""
        while sum(map(len, before)) < 30:
            found = await here.ask("/api/events", before=low, n="1000", **of)
            before.append(seqs(found))
            low = str(found["low"])

    assert [one for page in pages for one in page] == [*range(1, 31)]
    assert [one for page in before[::-1] for one in page] == [*range(1, 31)]
    assert max(map(len, (*pages, *before))) * len(text) < 2 * look.HELD


async def test_a_look_at_one_kind_holds_no_more_than_a_look_at_all(
    tmp_path, world, autojump_clock
):
    async with desk(tmp_path, world) as here:
        for n in range(1, 41):
            await put(here.store, Alert(id=f"a{n}", at=MORNING, text="x" * 900_000))
        wanted, end = look.Filter(kinds=frozenset({"alert"})), here.store.newest + 1
        tracemalloc.start()
        found = look.newest(here.store.log.db, wanted, 0, end, 1000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert found.entries
    assert peak < 3 * look.HELD


async def test_damage_is_told_and_the_rest_is_shown(tmp_path, world, autojump_clock):
    async with desk(tmp_path, world) as here:
        await put(here.store, fix(1), fix(2), fix(3))
        here.store.log.db.execute("UPDATE events SET body = x'00' WHERE seq = 2")
        found = await here.ask("/api/events")

    assert (seqs(found), found["damaged"]) == ([1, 3], [2])


async def test_show_has_bytes_headers_verdict_revisions_and_deliveries(
    tmp_path, world, autojump_clock
):
    from fleetd.store import Attempt

    async with desk(tmp_path, world) as here:
        await put(here.store, crash(1), raw=True)
        await put(here.store, crash(1, at=MORNING), fix(2))
        await put(here.store, Position(id="p2", at=MORNING, vehicle="v1", latitude=1,
                  longitude=2, odometer=5.0))  # fmt: skip
        read = await here.store.next_batch("ops", 0, limit=10)
        attempt = Attempt(
            sink="ops", job=0, lane=0, first=2, last=3, count=2, verdict="taken",
            status=200, ms=12, at_ms=1_700_000_000_000, key="abc", answer=b"fine",
        )  # fmt: skip
        await here.store.advance(read, delivered=read.entries, attempts=[attempt])
        first = await here.ask("/api/show", seq="1")
        second = await here.ask("/api/show", seq="2")
        none = await here.port("/api/show", query="seq=99")

    assert first["received"]["feed"] == "webhook"
    assert first["received"]["body"] or first["received"]["body_base64"]
    assert first["deliveries"] == []
    assert [one["seq"] for one in second["revisions"]] == [3], "the amendment"
    carried = second["deliveries"][0]
    assert (carried["sink"], carried["verdict"], carried["status"]) == (
        "ops",
        "taken",
        200,
    )
    assert none.status == 400
    assert "the log holds 1 to 3" in none.json["error"]


async def test_show_names_no_request_for_what_its_sink_never_takes(
    tmp_path, world, autojump_clock
):
    from fleetd.store import Attempt

    text = HOUSE.replace("[sinks.pager]", 'sources = ["south"]\n[sinks.pager]')
    async with desk(tmp_path, world, text) as here:
        await put(here.store, fix(1))
        await put(here.store, fix(2), source="south")
        read = await here.store.next_batch("ops", 0, limit=10)
        attempt = Attempt(
            sink="ops", job=0, lane=0, first=1, last=2, count=1, verdict="taken",
            status=200, ms=12, at_ms=1_700_000_000_000, key="abc", answer=b"",
        )  # fmt: skip
        await here.store.advance(read, delivered=read.entries, attempts=[attempt])
        north = await here.ask("/api/show", seq="1")
        south = await here.ask("/api/show", seq="2")

    assert north["deliveries"] == []
    assert [one["sink"] for one in south["deliveries"]] == ["ops"]
