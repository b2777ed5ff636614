"""Damage that says nothing: an index without the rows it should tell of, a page of raw."""

from __future__ import annotations

import apsw
import pytest
from msgspec.structs import replace

from fleetd.errors import StoreError
from fleetd.store import Fact, stats
from fleetd.store.files import PAGE
from fleetd.store.small import Beat
from fleetd.store.trimming import dead_bytes
from tests.store.deeds import appended, counted, crash, drain, fix, opened, put, rows

LEAVES = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path"


async def filled(store, n=400):
    for start in range(0, n, 40):
        await put(
            store,
            *(fix(k, location_description="x" * 300) for k in range(start, start + 40)),
            raw=b"y" * 3000,
        )


def spoil(folder, page):
    with (folder / "log.sqlite").open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * PAGE)


async def holed(folder, world):
    """A log of which one page of events is damaged."""
    async with opened(folder, world) as store:
        await filled(store)
        store.log._fold()
        page = rows(store, LEAVES, "events")[3][0]
    spoil(folder, page)


def silence(folder, upto):
    """The index by kind tells of nothing beyond `upto`, and of no error."""
    db = apsw.Connection(str(folder / "log.sqlite"))
    whole = db.execute(
        "SELECT sql FROM sqlite_master WHERE name = 'events_by_kind'"
    ).get
    db.execute(f"DROP INDEX events_by_kind; {whole} WHERE seq <= {upto}")
    db.pragma("writable_schema", "ON")
    change = "UPDATE sqlite_master SET sql = ? WHERE name = 'events_by_kind'"
    db.execute(change, (whole,))
    db.close()


async def test_rows_that_a_damaged_index_does_not_tell_of_are_delivered_all_the_same(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await filled(store)
        store.log._fold()
        page = rows(store, LEAVES, "events")[3][0]
    silence(tmp_path, 10)
    spoil(tmp_path, page)
    async with opened(tmp_path, world) as store:
        taken = await drain(store)

        assert 350 < len(taken) < 400
        assert counted(store, "ops")["delivered"] == len(taken)


async def test_nothing_is_skipped_as_damaged_while_the_disk_gives_nothing_at_all(
    autojump_clock, tmp_path, world
):
    await holed(tmp_path, world)
    async with opened(tmp_path, world) as store:
        gone = (tmp_path / "log.sqlite").rename(tmp_path / "gone")
        with pytest.raises(StoreError):
            await drain(store)
        assert "skipped:damaged" not in counted(store, "ops")
        gone.rename(tmp_path / "log.sqlite")
        taken = await drain(store)

        assert 350 < counted(store, "ops")["delivered"] < 400
        assert taken


async def test_what_waits_behind_damage_still_waits_when_an_index_is_silent(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await filled(store)
        store.log._fold()
        page = rows(store, LEAVES, "events")[1][0]
    silence(tmp_path, 300)
    spoil(tmp_path, page)
    async with opened(tmp_path, world) as store:
        read = await store.next_batch("ops", 0, limit=100)
        assert await store.advance(read, delivered=read.entries)

        assert store.cursor("ops", 0) == 100
        assert store.waiting("ops", 0) >= 290


async def test_a_damaged_page_of_old_bodies_does_not_keep_the_daemon_from_starting(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await filled(store)
        store.log._fold()
        pages = rows(store, LEAVES, "raw")
    spoil(tmp_path, pages[len(pages) // 2][0])
    async with opened(tmp_path, world) as store:
        found = await store.reading(lambda reader: stats.last_raw(reader.db))

        assert set(found) <= {1, 2}
        assert store.aside == ""


@pytest.mark.parametrize(
    "table", ["facts", "records", "kept", "bookmarks", "jobs", "names", "cursors"]
)
async def test_a_log_whose_small_tables_cannot_be_read_is_set_aside(
    autojump_clock, tmp_path, world, table
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        store.log._fold()
        page = rows(store, LEAVES, table)[0][0]
    spoil(tmp_path, page)
    async with opened(tmp_path, world) as store:
        await put(store, fix(2))

        assert "Error: " in store.aside
        assert "before it" not in store.aside
        assert [one.event.id for one in await drain(store)] == ["p2"]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE kept SET value = '{'",
        "DROP TABLE kept; CREATE TABLE kept(name, value); INSERT INTO kept VALUES (1, NULL)",
        "UPDATE facts SET source = 99",
        "UPDATE cursors SET taking = '[[\"posi'",
        "UPDATE cursors SET taking = CAST(x'a5a5' AS TEXT)",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -7",
    ],
)
async def test_a_log_whose_small_tables_make_no_sense_is_set_aside(
    autojump_clock, tmp_path, world, harm
):
    async with opened(tmp_path, world) as store:
        fact = Fact("v1", "vin", 1, "X")
        await store.append(replace(appended(store, fix(1)), facts=[fact]))
        await store.remember("seen:x", {"yes": True})
    db = apsw.Connection(str(tmp_path / "log.sqlite"))
    db.execute(harm)
    db.close()

    async with opened(tmp_path, world) as store:
        assert store.aside
        assert rows(store, "SELECT count(*) FROM events") == [(0,)]


@pytest.mark.parametrize(
    "value", ["x'ab'", "CAST(x'ab' AS TEXT)", "NULL", "-1", "1 << 60"]
)
@pytest.mark.parametrize("column", ["received_ms", "origin", "crc", "body", "source"])
async def test_a_row_whose_columns_are_no_longer_what_they_were_is_damaged_alone(
    column, value, autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await filled(store)
    loosen(tmp_path, f"UPDATE events SET {column} = {value} WHERE seq = 123")
    async with opened(tmp_path, world) as store:
        taken = await drain(store)

        assert len(taken) == 399
        assert counted(store, "ops") == {"delivered": 399, "skipped:damaged": 1}


def loosen(folder, change):
    """Write what no typed column would take, as a wrong byte on the disk does."""
    db = apsw.Connection(str(folder / "log.sqlite"))
    schema = "SELECT sql FROM sqlite_master WHERE name = 'events'"
    whole = db.execute(schema).get
    free = (
        whole.replace(" NOT NULL", "")
        .replace(") STRICT", ")")
        .replace("INTEGER,", "BLOB,")
    )
    put_schema = "UPDATE sqlite_master SET sql = ? WHERE name = 'events'"
    db.pragma("writable_schema", "ON")
    db.execute(put_schema, (free,))
    db.pragma("writable_schema", "RESET")
    db.execute(change)
    db.pragma("writable_schema", "ON")
    db.execute(put_schema, (whole,))
    db.close()


async def test_a_name_that_its_index_does_not_know_sets_the_log_aside(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        store.log._fold()
        page = rows(store, LEAVES, "names")[0][0]
    with (tmp_path / "log.sqlite").open("r+b") as file:
        file.seek((page - 1) * PAGE)
        named = file.read(PAGE)
        file.seek((page - 1) * PAGE)
        file.write(named.replace(b"north", b"nprth"))
    async with opened(tmp_path, world) as store:
        assert store.aside


@pytest.mark.parametrize("table", ["events_of_safety", "unverified_by_source", "dead"])
async def test_a_damaged_page_beside_the_events_hides_no_state(
    autojump_clock, tmp_path, world, table
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1), crash(2))
        store.log._fold()
        page = rows(store, LEAVES, table)[0][0]
    spoil(tmp_path, page)
    async with opened(tmp_path, world) as store:
        snap = await store.reading(lambda reader: stats.snapshot(reader.db))
        ahead = await store.reading(lambda reader: stats.first_after(reader.db, 0, 1))
        kept = await store.reading(lambda reader: dead_bytes(reader.db))

    assert snap.newest_seq == 2
    assert ahead is not None
    assert ahead[0] == (1 if table == "events_of_safety" else 2)
    assert kept == {}


async def test_nobody_is_told_when_the_next_event_came_that_cannot_be_read(
    autojump_clock, tmp_path, world
):
    await holed(tmp_path, world)
    async with opened(tmp_path, world) as store:
        lost = {*range(1, 401)} - {one.seq for one in await drain(store)}
        found = stats.first_after(store.log.side, min(lost) - 1, 0)

    assert found == (min(lost), 0)


async def test_minutes_that_cannot_be_read_are_minutes_nobody_listened(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        for minute in range(5000):
            await store.join(Beat(minute, "up"))
        store.log._fold()
        pages = [page for (page,) in rows(store, LEAVES, "minutes")]
    assert len(pages) > 2
    spoil(tmp_path, pages[1])
    spoil(tmp_path, pages[-1])
    async with opened(tmp_path, world) as store:
        (found,) = stats.outages(store.log.side, 0, 5000, 0)
        newest = stats.newest_minute(store.log.side, 5000)

    assert (found.state, found.until) == ("down", 5000)
    assert 0 < found.since < 2500
    assert newest is None
