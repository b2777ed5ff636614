"""The parquet sink: what it asks its process, and what becomes of a process that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
import trio
from pyarrow import dataset, parquet

from fleetd.config import Seconds
from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.event import COLUMNS, Fault
from fleetd.sinks.parquet import SINK, Answer, Config, Lake, judge
from tests.sinks.things import DAY, alarm, batch, entries, entry, position, world

TYPES = {
    "timestamp": pa.timestamp("us", tz="UTC"),
    **dict.fromkeys(
        ("latitude", "longitude", "speed_mph", "heading_degrees", "odometer"),
        pa.float64(),
    ),
}


def config(folder: Path, **more: object) -> Config:
    return Config(path=folder / "lake", **more)


def opened(folder: Path, **more: object):
    return SINK.open(config(folder, **more), world(), "")


def rows_in(folder: Path, table: str = "positions") -> list[dict]:
    place = folder / "lake" / table
    by_date = dataset.HivePartitioning.discover()
    found = dataset.dataset(place, format="parquet", partitioning=by_date)
    return found.to_table().to_pylist()


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(one): (one.stat().st_ino, one.stat().st_mtime_ns)
        for one in folder.rglob("*")
        if one.is_file()
    }


async def test_events_are_rows_of_their_tables(tmp_path):
    async with opened(tmp_path) as write:
        await write(batch([*entries(1, 2), entry(3, alarm(3))]))

    assert len(rows_in(tmp_path)) == 2
    (found,) = rows_in(tmp_path, "safety_events")
    assert found["type"] == "crash"
    assert found["id"] == "s3"
    assert found["seq"] == 3
    assert found["date"] == "2026-11-21"


async def test_columns_have_the_names_and_types_that_others_read(tmp_path):
    async with opened(tmp_path) as write:
        await write(batch(entries(1)))

    (path,) = (tmp_path / "lake" / "positions").glob("*/*.parquet")
    schema = parquet.read_schema(path)
    assert schema.names == list(COLUMNS)
    assert {one.name: one.type for one in schema} == {
        name: TYPES.get(name, pa.string()) for name in COLUMNS
    }
    told = parquet.ParquetFile(path).metadata
    assert told.row_group(0).column(0).compression == "ZSTD"
    assert told.num_rows == 1


async def test_a_repeat_changes_nothing_in_the_same_run_or_after_a_restart(tmp_path):
    given = batch([*entries(*range(1, 300)), entry(300, alarm(300))])
    async with opened(tmp_path) as write:
        await write(given)
    before = state_of(tmp_path)
    async with opened(tmp_path) as write:
        await write(given)
        await write(batch(entries(5, 6, 7), generation=3))

    assert state_of(tmp_path) == before


async def test_the_process_is_there_for_many_batches_and_gone_afterwards(tmp_path):
    lake = Lake(config(tmp_path), world())
    await lake.write(batch(entries(1)))
    first = lake._encoder._child.pid
    await lake.write(batch(entries(2)))
    assert lake._encoder._child.pid == first
    lake.close()

    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_a_process_that_ends_in_between_costs_one_later(tmp_path):
    lake = Lake(config(tmp_path), world())
    await lake.write(batch(entries(1)))
    os.kill(lake._encoder._child.pid, signal.SIGSTOP)
    pid = lake._encoder._child.pid
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {pid}"])  # noqa: ASYNC220
    with pytest.raises(TransientError, match="ended by signal 9"):
        await lake.write(batch(entries(1, 2)))
    killer.wait()
    await lake.write(batch(entries(1, 2)))
    lake.close()

    assert len(rows_in(tmp_path)) == 2


async def test_one_that_was_killed_while_idle_is_not_missed(tmp_path):
    lake = Lake(config(tmp_path), world())
    await lake.write(batch(entries(1)))
    lake._encoder._child.kill()
    lake._encoder._child.wait()
    await lake.write(batch(entries(2)))
    lake.close()

    assert len(rows_in(tmp_path)) == 2


@pytest.mark.parametrize(
    ("script", "said"),
    [("DIES", "with status 1: it was not to be"), ("BABBLER", "makes no sense")],
)
async def test_a_process_that_fails_is_told_of(tmp_path, script, said):
    lake = Lake(config(tmp_path), world(), python(globals()[script]))

    with pytest.raises(TransientError, match=said):
        await lake.write(batch(entries(1)))


async def test_one_that_takes_too_long_is_ended(tmp_path):
    hasty = world()
    clock = iter(range(0, 10_000, 20))
    hasty.steady = lambda: float(next(clock))
    lake = Lake(config(tmp_path), hasty, python(STUBBORN))

    with pytest.raises(TransientError, match="not done within 25 s") as caught:
        await lake.write(batch(entries(1)))
    assert caught.value.slow
    assert not caught.value.counts
    assert lake._encoder is None


async def test_no_process_at_all_is_a_later(tmp_path):
    lake = Lake(config(tmp_path), world(), (str(tmp_path / "nobody"),))

    with pytest.raises(TransientError, match="no process"):
        await lake.write(batch(entries(1)))


async def test_a_record_that_fits_no_column_is_refused_and_the_rest_is_there(tmp_path):
    big = Fault(id="f1", at=DAY, vehicle="v1", spn=1 << 63)
    good = Fault(id="f2", at=DAY, vehicle="v1", spn=7)
    async with opened(tmp_path) as write:
        with pytest.raises(RejectedError) as caught:
            await write(batch([entry(1, big), entry(2, good)]))

    assert list(caught.value.reasons) == [1]
    assert caught.value.proven
    assert [one["id"] for one in rows_in(tmp_path, "faults")] == ["f2"]


async def test_a_folder_above_that_is_not_there_is_never_made(tmp_path):
    there = Config(path=tmp_path / "mount" / "lake")
    async with SINK.open(there, world(), "") as write:
        with pytest.raises(HeldError, match="mount is not there; make it"):
            await write(batch(entries(1)))
        assert not (tmp_path / "mount").exists()
        (tmp_path / "mount").mkdir()
        await write(batch(entries(1)))

    assert (tmp_path / "mount" / "lake" / "positions").is_dir()


async def test_a_folder_that_went_away_begins_anew(tmp_path):
    async with opened(tmp_path) as write:
        await write(batch(entries(1)))
        (tmp_path / "lake").rename(tmp_path / "away")
        await write(batch(entries(2)))

    (found,) = rows_in(tmp_path)
    assert found["provider_vehicle_id"] == "v1"
    assert len(list((tmp_path / "away").rglob("*.parquet"))) == 1


@pytest.fixture
def seen_by_all():
    """A folder that other users come to, and in it one where they may not write."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "lake").mkdir(0o555)
        Path(name).chmod(0o755)
        yield Path(name)


async def test_a_folder_that_may_not_be_written_holds_the_sink(seen_by_all):
    nobody = Lake(config(seen_by_all), world(), python(AS_NOBODY))
    with pytest.raises(HeldError, match="give its user the right"):
        await nobody.write(batch(entries(1)))
    nobody.close()


def python(script: str) -> tuple[str, ...]:
    return sys.executable, "-c", script


AS_NOBODY = """
import os, sys
from fleetd.tables import encoder
if os.getuid() == 0:
    os.setuid(65534)
sys.exit(encoder.main())
"""
SMALL = """
import resource, signal, sys
from fleetd.tables import encoder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
sys.exit(encoder.main())
"""
STUBBORN = "import time, sys; sys.stdin.buffer.read(8); time.sleep(600)"
BABBLER = "import sys; sys.stdin.buffer.read(8); sys.stdout.write('no answer at all')"
DIES = "import sys; sys.stdin.buffer.read(8); sys.exit('it was not to be')"


async def test_a_disk_that_is_full_is_a_later_and_leaves_no_half_file(tmp_path):
    lake = Lake(config(tmp_path), world(), python(SMALL))
    with pytest.raises(HeldError, match="File too large"):
        await lake.write(batch(entries(*range(1, 2000))))
    lake.close()

    assert list((tmp_path / "lake").rglob("*.parquet")) == []


def test_a_damaged_file_holds_the_sink_and_says_which(tmp_path):
    with pytest.raises(HeldError, match="is cut off; move it away"):
        judge(Answer(damaged="/lake/part-0001.parquet is cut off"), tmp_path)


def test_a_fault_of_the_process_is_a_later(tmp_path):
    with pytest.raises(TransientError, match="PanicException"):
        judge(Answer(fault="PanicException: oh"), tmp_path)


async def test_requests_at_the_same_time_go_one_by_one(tmp_path):
    async with opened(tmp_path) as write, trio.open_nursery() as nursery:
        for n in range(0, 40, 10):
            nursery.start_soon(write, batch(entries(*range(n + 1, n + 11))))

    assert len(rows_in(tmp_path)) == 40


async def test_old_days_go_when_they_are_old_enough(tmp_path):
    old = entry(1, position(1), after=timedelta(days=-50))
    event = msgspec.structs.replace(old.event, at=DAY - timedelta(days=50))
    async with opened(tmp_path) as write:
        await write(batch([msgspec.structs.replace(old, event=event)]))
    async with opened(tmp_path, keep=Seconds(30 * 86_400)) as write:
        await write(batch(entries(2)))

    assert [one["date"] for one in rows_in(tmp_path)] == ["2026-11-21"]


async def test_what_comes_for_a_day_that_is_gone_never_counts_as_delivered(tmp_path):
    event = msgspec.structs.replace(position(2), at=DAY - timedelta(days=31))
    big = Fault(id="f1", at=DAY, vehicle="v1", spn=1 << 63)
    async with opened(tmp_path, keep=Seconds(30 * 86_400)) as write:
        receipt = await write(batch([*entries(1), entry(2, event)]))
        with pytest.raises(RejectedError) as caught:
            await write(batch([*entries(1), entry(2, event), entry(3, big)]))

    assert receipt.skipped == caught.value.skipped == {2: "too_old"}
    assert list(caught.value.reasons) == [3]
    assert len(rows_in(tmp_path)) == 1


async def test_while_our_own_clock_is_suspect_no_day_goes_and_no_row_is_left_out(
    tmp_path,
):
    """It ran years ahead, and everything looks old."""
    around, ahead = world(), timedelta(days=3650)
    around.now, around.trusted = lambda: DAY + ahead, lambda: False
    keep = config(tmp_path, keep=Seconds(30 * 86_400))
    async with opened(tmp_path) as write:
        await write(batch(entries(1)))
    async with SINK.open(keep, around, "") as write:
        await write(batch([entry(2, after=ahead)]))

    assert [one["date"] for one in rows_in(tmp_path)] == ["2026-11-21"] * 2


def test_keys_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(ValueError, match="whole days"):
        config(tmp_path, keep=Seconds(3600))
    with pytest.raises(ValueError, match="only days can go"):
        config(tmp_path, keep=Seconds(86_400), layout="file")


async def test_check_says_what_is_there_and_makes_nothing(tmp_path):
    said = await SINK.check(config(tmp_path), world())
    with pytest.raises(HeldError):
        await SINK.check(Config(path=tmp_path / "no" / "lake"), world())

    assert "can be written" in said
    assert list(tmp_path.iterdir()) == []


def test_the_library_is_never_loaded_into_the_daemon():
    loaded = (
        "import sys, fleetd.app; from fleetd import sinks; sinks.load('parquet');"
        "print([one for one in sys.modules if one.startswith('arro3')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", loaded], check=True, capture_output=True
    )
    assert found.stdout.strip() in (b"[]", b"['arro3']")
