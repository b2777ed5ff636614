"""The file sink: every line once, whole, and on the disk, whatever happens in between."""

from __future__ import annotations

import errno
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetd.config import Size
from fleetd.errors import HeldError, TransientError
from fleetd.event import render
from fleetd.sinks.contract import Write
from fleetd.sinks.file import SINK, Archive, Config, DayFile
from tests.sinks.things import alarm, batch, entries, entry, position, world


def config(folder: Path, **more: object) -> Config:
    return Config(path=folder / "archive", **more)


def lines_in(folder: Path) -> list[bytes]:
    files = sorted((folder / "archive").glob("*.ndjson"))
    return [line for one in files for line in one.read_bytes().splitlines()]


def seqs_in(folder: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in lines_in(folder)]


def handles() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def opened(folder: Path, **more: object):
    return SINK.open(config(folder, **more), world(), "")


async def test_each_event_is_one_line_as_it_is_printed(tmp_path):
    given = [*entries(1, 2), entry(3, alarm(3))]
    async with opened(tmp_path) as write:
        await write(batch(given))

    assert lines_in(tmp_path) == [render(one) for one in given]
    assert [one.name for one in (tmp_path / "archive").iterdir()] == [
        "2026-11-21-0001.ndjson"
    ]


async def test_a_repeat_changes_nothing_in_the_same_run_or_after_a_restart(tmp_path):
    given = batch(entries(1, 2, 3))
    for _ in range(3):
        async with opened(tmp_path) as write:
            await write(given)
            await write(given)
            await write(batch(entries(2, 3, 4)))

    assert seqs_in(tmp_path) == [1, 2, 3, 4]


async def test_the_lanes_share_a_file_and_neither_hides_the_other(tmp_path):
    async with opened(tmp_path) as write:
        await write(batch([entry(9, alarm(9))]))
        await write(batch(entries(1, 2)))
    async with opened(tmp_path) as write:
        await write(batch(entries(1, 2, 3)))
        await write(batch([entry(9, alarm(9)), entry(10, alarm(10))]))

    assert seqs_in(tmp_path) == [9, 1, 2, 3, 10]


async def test_an_event_belongs_to_the_day_it_was_received_on(tmp_path):
    days = [entry(n, after=timedelta(hours=8 * n)) for n in range(1, 7)]
    async with opened(tmp_path) as write:
        await write(batch(days))
        await write(batch([entry(7, alarm(7))]))
        await write(batch(days))

    files = sorted((tmp_path / "archive").iterdir())
    assert [one.name[:10] for one in files] == [
        "2026-11-21",
        "2026-11-22",
        "2026-11-23",
    ]
    assert sorted(seqs_in(tmp_path)) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_backlog_of_many_days_keeps_few_files_open(tmp_path):
    days = [entry(n, after=timedelta(days=n)) for n in range(40)]
    before = handles()
    async with opened(tmp_path) as write:
        for _ in range(2):
            await write(batch(days))
        await write(batch([entry(99)]))
        open_now = handles() - before

    assert sorted(seqs_in(tmp_path)) == [*range(40), 99]
    assert open_now <= 10
    assert handles() <= before


async def test_a_file_that_is_big_enough_is_followed_by_the_next(tmp_path):
    async with opened(tmp_path, rotate=Size(1 << 16)) as write:
        for n in range(0, 1000, 50):
            await write(batch(entries(*range(n, n + 50))))
    async with opened(tmp_path, rotate=Size(1 << 16)) as write:
        await write(batch(entries(*range(940, 1010))))

    files = sorted((tmp_path / "archive").iterdir())
    assert len(files) > 3
    assert all(one.stat().st_size < 1 << 17 for one in files)
    assert seqs_in(tmp_path) == [*range(1010)]


async def test_a_replay_writes_files_of_its_own(tmp_path):
    async with opened(tmp_path) as write:
        await write(batch(entries(1, 2, 3)))
        await write(batch(entries(1, 2), generation=7))
        await write(batch(entries(1, 2, 3), generation=7))

    names = {one.name: one for one in (tmp_path / "archive").iterdir()}
    assert set(names) == {
        "2026-11-21-0001.ndjson",
        "replay-7-2026-11-21-0001.ndjson",
    }
    assert len(names["replay-7-2026-11-21-0001.ndjson"].read_bytes().splitlines()) == 3


class BrokenDisk:
    """A disk whose nth call of one name fails, after half of the bytes for a write.

    `synced` holds the names of what was fsynced.
    """

    def __init__(self, name: str = "", nth: int = 0, code: int = 0) -> None:
        self.name, self.left, self.code = name, nth, code
        self.synced: list[str] = []

    def open(self, *args):
        self.step("open")
        return os.open(*args)

    def write(self, fd, data):
        self.step("write", lambda: os.write(fd, data[: len(data) // 2]))
        return os.write(fd, data[:100])

    def fsync(self, fd):
        self.step("fsync")
        self.synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))

    def ftruncate(self, fd, length):
        self.step("ftruncate")
        os.ftruncate(fd, length)

    def step(self, name, before=lambda: None) -> None:
        self.left -= name == self.name
        if name == self.name and self.left == 0:
            before()
            raise OSError(self.code, os.strerror(self.code))


def archive(folder: Path, disk: BrokenDisk) -> Archive:
    return Archive(config(folder), world(), disk)


async def test_it_is_synced_with_its_folder_before_write_returns(tmp_path):
    disk = BrokenDisk()
    sink = archive(tmp_path, disk)
    await sink.write(batch(entries(1)))
    first = set(disk.synced)
    disk.synced.clear()
    await sink.write(batch(entries(2)))
    sink.close()

    folder = str(tmp_path / "archive")
    path = f"{folder}/2026-11-21-0001.ndjson"
    assert {folder, path, str(tmp_path)} <= first
    assert disk.synced == [path]


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("name", "code", "error"),
    [
        ("write", errno.ENOSPC, TransientError),
        ("write", errno.EIO, HeldError),
        ("fsync", errno.EIO, HeldError),
        ("fsync", errno.EDQUOT, TransientError),
        ("open", errno.EMFILE, TransientError),
        ("open", errno.EACCES, HeldError),
    ],
)
async def test_a_failing_disk_never_leaves_half_a_line_nor_a_line_twice(
    tmp_path, name, nth, code, error
):
    """Whichever call fails, the same batches again make the file whole."""
    batches = [batch(entries(n, n + 1, n + 2)) for n in range(0, 12, 3)]
    sink = archive(tmp_path, BrokenDisk(name, nth, code))
    failed = [one for one in batches if not await went(sink.write, one, error)]
    for one in failed:
        await sink.write(one)
    sink.close()

    assert sorted(seqs_in(tmp_path)) == [*range(12)]
    whole = {render(one) for one in entries(*range(12))}
    assert set(lines_in(tmp_path)) == whole


async def went(write: Write, one, error) -> bool:
    try:
        await write(one)
    except error:
        return False
    return True


async def test_a_full_disk_takes_the_partial_line_away_at_once(tmp_path):
    disk = BrokenDisk()
    sink = archive(tmp_path, disk)
    await sink.write(batch(entries(1)))
    disk.name, disk.left, disk.code = "write", 2, errno.ENOSPC
    with pytest.raises(TransientError, match="full"):
        await sink.write(batch(entries(2, 3)))
    sink.close()

    assert seqs_in(tmp_path) == [1]


async def test_what_cannot_even_be_taken_back_is_mended_when_it_is_opened_again(
    tmp_path,
):
    disk = BrokenDisk()
    sink = archive(tmp_path, disk)
    await sink.write(batch(entries(1)))
    disk.name, disk.left, disk.code = "write", 2, errno.EIO
    real, disk.ftruncate = disk.ftruncate, lambda *_: os.close(-1)
    with pytest.raises(HeldError):
        await sink.write(batch(entries(2, 3)))
    disk.ftruncate = real
    await sink.write(batch(entries(2, 3)))
    sink.close()

    assert seqs_in(tmp_path) == [1, 2, 3]


async def test_a_disk_that_stays_sick_costs_no_file_handle_a_try(tmp_path):
    disk = BrokenDisk("fsync", 1, errno.EIO)
    sink = archive(tmp_path, disk)
    (tmp_path / "archive").mkdir()
    before = handles()
    for _ in range(20):
        disk.left = 1
        with pytest.raises(HeldError):
            await sink.write(batch(entries(1)))

    assert handles() == before


async def test_a_folder_whose_disk_is_not_mounted_is_never_made_up(tmp_path):
    there = tmp_path / "mnt"
    async with opened(there) as write:
        with pytest.raises(HeldError, match="is not there"):
            await write(batch(entries(1)))
        there.mkdir()
        await write(batch(entries(1)))

    assert seqs_in(there) == [1]


async def test_a_log_that_began_anew_is_no_repeat_of_the_one_before(tmp_path):
    """Its `seq` are small again; the archive of the day knows them from the old log."""
    async with opened(tmp_path) as write:
        await write(batch(entries(1, 2, 3)))
        later = [entry(n, position(10 + n), timedelta(minutes=1)) for n in (1, 2)]
        await write(batch(later))
    async with opened(tmp_path) as write:
        await write(batch([*entries(3), *later]))

    assert seqs_in(tmp_path) == [1, 2, 3, 1, 2]


async def test_a_file_cut_behind_our_back_is_mended_before_it_grows(tmp_path):
    async with opened(tmp_path) as write:
        await write(batch(entries(1, 2)))
        path = tmp_path / "archive" / "2026-11-21-0001.ndjson"
        os.truncate(path, path.stat().st_size - 20)
        await write(batch(entries(3)))
        await write(batch(entries(2, 3)))

    assert seqs_in(tmp_path) == [1, 3, 2]


async def test_a_file_that_was_moved_away_is_begun_anew(tmp_path):
    async with opened(tmp_path) as write:
        await write(batch(entries(1)))
        path = tmp_path / "archive" / "2026-11-21-0001.ndjson"
        path.rename(tmp_path / "shipped")
        await write(batch(entries(2)))

    assert seqs_in(tmp_path) == [2]


async def test_foreign_files_in_the_folder_are_left_alone(tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("notes.ndjson", "9.ndjson", "2026-11-21-0001.ndjson.gz"):
        (archive / name).write_bytes(b"half a line")
    async with opened(tmp_path) as write:
        await write(batch(entries(1)))

    assert (archive / "9.ndjson").read_bytes() == b"half a line"
    assert (archive / "2026-11-21-0001.ndjson").exists()


async def test_a_torn_line_is_gone_as_soon_as_the_sink_is_open(tmp_path):
    async with opened(tmp_path) as write:
        await write(batch(entries(1, 2)))
    path = tmp_path / "archive" / "2026-11-21-0001.ndjson"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    async with opened(tmp_path):
        mended = path.read_bytes()

    assert mended == whole.splitlines(keepends=True)[0]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_a_crash_at_any_byte_is_mended_and_every_line_is_there_once(
    tmp_path_factory, data
):
    """Cut or zeroed at any byte of the last write, a repeat makes the file whole."""
    folder = tmp_path_factory.mktemp("crash")
    done, last = entries(1, 2, 3), [*entries(4, 5), entry(6, alarm(6))]
    async with opened(folder) as write:
        await write(batch(done))
        sure = (folder / "archive" / "2026-11-21-0001.ndjson").stat().st_size
        await write(batch(last))
    path = folder / "archive" / "2026-11-21-0001.ndjson"
    whole = path.read_bytes()
    cut = data.draw(st.integers(sure, len(whole)))
    zeros = data.draw(st.booleans())
    until = data.draw(st.integers(cut, len(whole)))
    rest = bytes(until - cut) + whole[until:] if zeros else b""
    path.write_bytes(whole[:cut] + rest)
    async with opened(folder) as write:
        await write(batch(last))
        await write(batch(entries(7)))

    assert sorted(seqs_in(folder)) == [1, 2, 3, 4, 5, 6, 7]


async def test_the_check_makes_nothing(tmp_path):
    said = await SINK.check(config(tmp_path), world())

    assert "GiB free" in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(HeldError, match="is not there"):
        await SINK.check(config(tmp_path / "a" / "b"), world())


def test_a_day_file_remembers_a_bounded_number_of_events(tmp_path):
    file = DayFile(tmp_path, "2026-11-21-")
    for start in range(0, 200_000, 10_000):
        file.add([b"%d" % n for n in range(start, start + 10_000)])
        file.sync()

    assert len(file._seen) + len(file._older) <= 130_000
    file.close()


def test_config_bounds():
    with pytest.raises(ValueError, match="rotate"):
        Config(path=Path("x"), rotate=Size(10))


async def test_lines_found_after_a_crash_are_synced_before_they_count(tmp_path):
    """A killed process leaves lines that no fsync has seen: they look delivered."""
    async with opened(tmp_path) as write:
        await write(batch(entries(1)))
    disk = BrokenDisk()
    sink = archive(tmp_path, disk)
    await sink.write(batch(entries(1)))
    sink.close()

    assert str(tmp_path / "archive" / "2026-11-21-0001.ndjson") in disk.synced
