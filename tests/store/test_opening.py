"""Opening a log: new, older, newer, torn, beyond help, and in the wrong place."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from fleetd.errors import ConfigError, LockedError, StoreError
from fleetd.store.files import PAGE, RESERVE, Reservation, connect, is_leased, lease
from fleetd.store.opening import MARK, READS, migrate, migrations
from tests.store.deeds import (
    ALL,
    appended,
    committed,
    counted,
    drain,
    fix,
    opened,
    put,
    rows,
    stored,
)

LOG = "log.sqlite"


def alter(folder: Path, *queries: str) -> None:
    with closing(sqlite3.connect(folder / LOG)) as db:
        for query in queries:
            db.execute(query)
        db.commit()


def only(fault: BaseException, kind: type[Exception]) -> Exception:
    """The one fault inside groups."""
    while isinstance(fault, BaseExceptionGroup):
        assert len(fault.exceptions) == 1
        fault = fault.exceptions[0]
    assert isinstance(fault, kind), repr(fault)
    return fault


async def refusal(folder: Path, world, kind: type[Exception]) -> str:
    with pytest.raises((kind, BaseExceptionGroup)) as caught:
        async with opened(folder, world):
            raise AssertionError("it opened")
    return str(only(caught.value, kind))


async def test_every_promise_is_set_and_read_back(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        asked = ("journal_mode", "synchronous", "auto_vacuum", "wal_autocheckpoint")
        found = {name: store.log.db.pragma(name) for name in asked}

    assert found["journal_mode"] == "wal"
    assert found["synchronous"] == 2
    assert found["auto_vacuum"] == 2
    assert found["wal_autocheckpoint"] == 0


async def test_one_daemon_a_folder(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world):
        why = await refusal(tmp_path, world, LockedError)
        assert f"pid {os.getpid()}" in why
        assert is_leased(tmp_path)
    assert not is_leased(tmp_path)


def test_a_box_that_is_unwell_is_no_wrong_config_or_systemd_would_not_try_again(
    tmp_path,
):
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        with pytest.raises(StoreError, match="Too many open files"), lease(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match="has to be a folder"),
        lease(tmp_path / "file"),
    ):
        pass


async def test_a_disk_without_room_for_a_first_log_says_so(
    autojump_clock, tmp_path, world
):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        why = await refusal(tmp_path, world, StoreError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)

    assert str(tmp_path / LOG) in why
    assert "fleetd starts once" in why


async def test_a_log_from_a_future_that_cannot_be_read_is_refused_and_left_alone(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
    alter(
        tmp_path,
        f"PRAGMA user_version = {READS + 7}",
        f"UPDATE log SET min_reader = {READS + 1}",
    )
    before = (tmp_path / LOG).read_bytes()
    why = await refusal(tmp_path, world, ConfigError)

    assert "newer fleetd" in why
    assert (tmp_path / LOG).read_bytes() == before


async def test_a_log_from_a_future_that_only_added_is_used(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
    alter(tmp_path, f"PRAGMA user_version = {READS + 1}", "CREATE TABLE later(x)")
    async with opened(tmp_path, world) as store:
        await put(store, fix(2))
        assert stored(store) == ["p1", "p2"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_migration_that_is_killed_happened_whole_or_not_at_all(tmp_path, share):
    """The power goes after so many of its instructions: the files as they lie."""
    whole = migrated(tmp_path / "whole", 1 << 62)
    migrated(tmp_path / "cut", int(whole * share))
    cut = connect(tmp_path / "cut" / "copy" / LOG, write=True)
    tables = cut.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").get
    stands = cut.pragma("user_version")
    migrate(cut, Reservation(tmp_path / "cut"), 0)

    assert (stands, tables > 0) in {(0, False), (READS, True)}
    assert cut.pragma("user_version") == migrations()[-1][0]
    assert cut.pragma("integrity_check") == "ok"
    cut.close()


def migrated(folder: Path, cut_at: int) -> int:
    """Make a log, and copy it after so many ticks; how many there were."""
    (folder / "copy").mkdir(parents=True)
    db, ticks = connect(folder / LOG, write=True), 0

    def tick() -> bool:
        nonlocal ticks
        if ticks == cut_at:
            for name in (LOG, f"{LOG}-wal"):
                shutil.copy(folder / name, folder / "copy" / name)
        ticks += 1
        return False

    db.set_progress_handler(tick, 10)
    migrate(db, Reservation(folder), 0)
    db.close()
    return ticks


def test_migrations_are_numbered_without_a_gap():
    assert [number for number, _ in migrations()] == list(range(1, READS + 1))


BEYOND_HELP = {
    "no database": lambda whole: b"these are not the bytes you are looking for" * 200,
    "no schema": lambda whole: whole[:100] + b"\xff" * 8092 + whole[8192:],
    "cut short": lambda whole: whole[: len(whole) // 3],
    "empty of its first row": None,
}


@pytest.mark.parametrize("how", BEYOND_HELP)
async def test_a_log_beyond_help_is_set_aside_whole_and_seqs_go_on_above(
    autojump_clock, tmp_path, world, how
):
    async with opened(tmp_path, world) as store:
        await put(store, *(fix(n) for n in range(200)))
        highest = store.newest
    spoil = BEYOND_HELP[how]
    if spoil:
        (tmp_path / LOG).write_bytes(spoil((tmp_path / LOG).read_bytes()))
    else:
        alter(tmp_path, "DELETE FROM log")
    spoiled = (tmp_path / LOG).read_bytes()
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        first = rows(store, "SELECT min(seq) FROM events")[0][0]
        aside = next(tmp_path.glob("aside-*"))

        assert first > highest
        assert first > RESERVE
        assert (aside / LOG).read_bytes() == spoiled
        assert str(aside) in store.aside
        assert [one.event.id for one in await drain(store)] == ["p1"]
    async with opened(tmp_path, world) as store:
        assert str(aside) in store.aside, "until somebody has looked at it"
    aside.rename(tmp_path.parent / f"looked-at-{tmp_path.name}")
    async with opened(tmp_path, world) as store:
        assert store.aside == ""
        assert stored(store) == ["p1"]


async def test_damage_met_while_writing_sets_the_log_aside_at_the_next_start(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        root = "SELECT rootpage FROM sqlite_schema WHERE name = 'facts'"
        page = rows(store, root)[0][0]
        store.log._broke(apsw.CorruptError("database disk image is malformed"), 1)
    with closing(connect(tmp_path / LOG, write=True)) as db:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    with (tmp_path / LOG).open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * 64)
    assert (tmp_path / MARK).exists()
    async with opened(tmp_path, world) as store:
        assert "malformed" in store.aside
        assert stored(store) == []
    assert not (tmp_path / MARK).exists()


async def test_damage_that_nobody_finds_again_sets_no_log_aside(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        store.log._broke(apsw.CorruptError("database disk image is malformed"), 1)
    assert (tmp_path / MARK).exists()
    async with opened(tmp_path, world) as store:
        assert store.aside == ""
        assert stored(store) == ["p1"]
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("left", [None, b""])
async def test_a_log_that_is_gone_is_told_and_seqs_go_on_above(
    autojump_clock, tmp_path, world, left
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        before = store.newest
    for one in tmp_path.glob("log.sqlite*"):
        one.unlink()
    if left is not None:
        (tmp_path / "log.sqlite").write_bytes(left)

    async with opened(tmp_path, world) as store:
        await put(store, fix(2))

        assert "gone" in store.aside
        assert store.newest > before


@pytest.mark.parametrize("moved", [1, 2])
async def test_killed_while_setting_aside_the_next_start_goes_on_with_it(
    autojump_clock, tmp_path, world, moved
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
        copies = {name: (tmp_path / name).read_bytes() for name in (LOG, f"{LOG}-wal")}
    for name, body in copies.items():
        (tmp_path / name).write_bytes(body)
    (tmp_path / MARK).write_text("damage")
    aside = tmp_path / "aside-20261121T060000"
    aside.mkdir()
    for name in [LOG, f"{LOG}-wal"][:moved]:
        (tmp_path / name).rename(aside / name)
    async with opened(tmp_path, world) as store:
        assert stored(store) == [], "no old write-ahead log flows into the new log"
        assert rows(store, "PRAGMA integrity_check") == [("ok",)]
        assert store.aside


async def test_a_log_that_may_not_be_read_is_left_where_it_is(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
    (tmp_path / LOG).rename(tmp_path / "real")
    (tmp_path / LOG).mkdir()
    await refusal(tmp_path, world, StoreError)

    assert list(tmp_path.glob("aside-*")) == []


@pytest.mark.parametrize("said", ["no number", "-5", "9" * 30, str((1 << 63) - 1)])
async def test_a_lost_reservation_is_made_again(said, autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1))
    (tmp_path / "seq").write_text(said)
    async with opened(tmp_path, world) as store:
        await put(store, fix(2))

    assert RESERVE < int((tmp_path / "seq").read_text()) < 3 * RESERVE


async def test_no_room_for_the_reserve_means_no_reserve(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        store.space.drop_ballast()
        store.space.ballast_size = store.space.free()

        assert not store.space.fill_ballast()
        assert not store.space.has_ballast


async def test_a_reserve_that_was_not_finished_is_made_whole_at_the_next_start(
    autojump_clock, tmp_path, world
):
    (tmp_path / "ballast").touch()
    async with opened(tmp_path, world) as store:
        assert (tmp_path / "ballast").stat().st_size == store.space.ballast_size


async def test_a_full_disk_takes_nothing_in_and_still_moves_cursors(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world, ALL) as store:
        await put(store, fix(1), fix(2))
        store.log.db.pragma("max_page_count", store.log.db.pragma("page_count"))
        big = [fix(n, location_description="x" * 500) for n in range(10, 400)]
        steps = [appended(store, *big)]
        results = committed(store, steps)

        assert "full" in str(results[0])
        assert store.trouble
        assert not store.space.has_ballast
        assert len(await drain(store)) == 2
        assert counted(store, "ops") == {"delivered": 2}
        assert stored(store) == ["p1", "p2"]
