"""Tables of Parquet files: each row once, in its day, whatever comes twice, late or torn."""

from __future__ import annotations

import errno
import os
import random
import shutil
from datetime import date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from fleetd.event import COLUMNS, Fault, Maintenance, millis
from fleetd.tables import Column, parts, shape_of, shelf, tidy
from fleetd.tables.parts import DamagedError
from fleetd.tables.shelf import Memory
from tests.tables.lake import DAY, NOON, Lake, alarm, fix, row, trip, vehicle


@pytest.fixture
def lake(tmp_path):
    one = Lake(tmp_path / "lake")
    yield one
    one.restart()


def numbers(lake: Lake) -> list[int]:
    return sorted(int(one) for (one,) in lake.rows(columns="speed_mph"))


def numbered(*wanted: int, **more) -> list:
    return [fix(one, speed_mph=float(one), **more) for one in wanted]


def test_a_position_is_the_fourteen_columns_and_its_day(lake):
    lake.put(fix(1, NOON, speed_mph=30.5, vin="1FUJHHDR3MLMT2101", engine_state="On"))

    (found,) = lake.rows()
    assert found == (
        "samsara", "v1", "1FUJHHDR3MLMT2101", None, NOON, 1.0, 2.0, 30.5, None, "On",
        None, None, None, None, date(2026, 11, 21),
    )  # fmt: skip


def test_rows_go_to_the_utc_day_of_their_own_time(lake):
    edge = datetime.fromisoformat("2026-11-21T23:59:59.999+00:00")
    lake.put(*numbered(1, at=edge), *numbered(2, at=edge + timedelta(milliseconds=1)))
    lake.put(*numbered(3, at=edge.astimezone()), *numbered(4, at=NOON - 400 * DAY))

    found = lake.rows(columns="date, speed_mph")
    assert found == [
        (date(2025, 10, 17), 4.0),
        (date(2026, 11, 21), 1.0),
        (date(2026, 11, 21), 3.0),
        (date(2026, 11, 22), 2.0),
    ]


def test_what_has_no_time_goes_to_the_day_it_arrived_on(lake):
    lake.put(fix(1, None))

    assert list(lake.days()) == ["date=2026-11-21"]
    assert lake.rows(columns="timestamp") == [(None,)]


def test_a_repeat_leaves_every_file_as_it_was(lake):
    batch = [*numbered(*range(100)), *numbered(200, at=NOON + DAY), alarm(1)]
    lake.put(*batch)
    before = lake.state()

    lake.put(*batch)
    lake.restart()
    lake.put(*batch[50:])
    lake.put(*reversed(batch[:70]))

    assert lake.state() == before


def test_the_newest_revision_of_a_row_is_the_one_there_is(lake):
    lake.put(fix(1, speed_mph=1.0), fix(2, speed_mph=2.0), fix(3, speed_mph=3.0))
    lake.put(fix(2, speed_mph=22.0, revision=1, seq=9))
    lake.put(fix(2, speed_mph=2.0))
    lake.put(fix(1, speed_mph=11.0, seq=10), fix(1, speed_mph=12.0, seq=11))

    assert lake.rows(columns="speed_mph") == [(3.0,), (12.0,), (22.0,)]


def test_two_sources_may_use_the_same_ids(lake):
    one = fix(1)
    lake.put(one, row(one.event, 2, 0, source="south"))

    assert len(lake.rows()) == 2


def test_late_rows_join_the_files_of_their_day(lake):
    lake.put(*numbered(1, 2))
    lake.put(*numbered(5, 6, at=NOON + DAY))
    lake.put(*numbered(3, 4))

    assert lake.days() == {
        "date=2026-11-21": ["part-0001.parquet"],
        "date=2026-11-22": ["part-0001.parquet"],
    }
    assert numbers(lake) == [1, 2, 3, 4, 5, 6]


def test_a_backlog_makes_files_of_a_size_and_changes_find_theirs(lake):
    for start in range(0, 21_000, 7_000):
        lake.put(*numbered(*range(start, start + 7_000)))
    changed = [5, 6_999, 7_001, 20_000]
    lake.put(*(fix(one, speed_mph=-1.0 * one, seq=90_000 + one) for one in changed))

    assert lake.days() == {"date=2026-11-21": [f"part-000{n}.parquet" for n in (1, 2)]}
    assert len(lake.rows()) == 21_000
    assert [n for n in numbers(lake) if n < 0] == [-20_000, -7_001, -6_999, -5]


def test_a_trip_whose_day_changes_takes_its_row_along(lake):
    lake.put(trip(1, NOON, revision=1), trip(2, NOON, revision=1))
    lake.put(trip(1, NOON + DAY, revision=2))
    lake.put(trip(1, NOON, revision=1))

    found = lake.rows("trips", "id, date, distance_miles")
    assert found == [
        ("t1", date(2026, 11, 22), 2.0),
        ("t2", date(2026, 11, 21), 1.0),
    ]


@pytest.mark.parametrize("days", [1, 8, 400])
def test_a_code_that_stands_for_long_is_one_row_on_its_last_day(lake, days):
    def code(at: datetime, revision: int):
        event = Fault(id="v1:P0420", at=at, vehicle="v1", code="P0420")
        return row(event, revision, revision)

    lake.put(code(NOON, 1), row(Fault(id="f2", at=NOON, vehicle="v1"), 9, 1))
    lake.restart()
    lake.put(code(NOON + days * DAY, 2))
    lake.put(code(NOON, 1), code(NOON + 3 * DAY, 0))

    last = (NOON + days * DAY).date()
    assert lake.rows("faults", "id, date, revision") == [
        ("f2", date(2026, 11, 21), 1),
        ("v1:P0420", last, 2),
    ]
    told = lake.catalog()["tables"]["faults"]["days"]
    assert {day: one["rows"] for day, one in told.items()} == {
        "2026-11-21": 1,
        last.isoformat(): 1,
    }


def test_what_stands_on_two_days_already_stops_nothing_and_becomes_one_row(
    lake, tmp_path
):
    def code(days: int, revision: int):
        at = NOON + days * DAY
        event = Fault(id="v1:P0420", at=at, vehicle="v1", code="P0420")
        return row(event, revision, revision)

    other = Lake(tmp_path / "other")
    other.put(code(20, 6))
    lake.put(code(0, 5))
    lake.restart()
    other.restart()
    shutil.copytree(other.folder / "faults", lake.folder / "faults", dirs_exist_ok=True)
    lake.put(code(3, 1))
    lake.put(code(30, 7))

    assert lake.rows("faults", "id, date, revision") == [
        ("v1:P0420", (NOON + 30 * DAY).date(), 7)
    ]


def test_a_copy_that_no_column_holds_leaves_the_row_of_another_day_alone(lake):
    def code(days: int, revision: int, count: int):
        at = NOON + days * DAY
        event = Fault(id="f1", at=at, vehicle="v1", code="P0420", count=count)
        return row(event, revision, revision)

    lake.put(code(0, 1, 5))
    answer = lake.put(code(1, 2, 1 << 70))

    assert list(answer.rejected) == [2]
    assert lake.rows("faults", "id, date, revision") == [("f1", NOON.date(), 1)]


def test_an_order_without_a_time_is_one_row_whenever_it_comes_again(lake):
    for number, late in enumerate((0, 30, 90), 1):
        came = row(Maintenance(id="w1", vehicle="v1"), number, number)
        lake.put(structs.replace(came, received_ms=millis(NOON + late * DAY)))

    assert lake.rows("maintenance", "id, revision") == [("w1", 3)]


def test_a_file_whose_last_row_moved_on_is_gone(lake):
    lake.put(trip(1, NOON, revision=1))
    lake.put(trip(1, NOON + DAY, revision=2))

    assert lake.days("trips")["date=2026-11-21"] == []
    assert len(lake.rows("trips")) == 1


def test_the_directory_is_one_file_with_one_row_a_vehicle(lake):
    lake.put(vehicle(1, NOON, revision=1), vehicle(2, NOON, revision=1))
    lake.put(vehicle(1, NOON + 90 * DAY, revision=5))

    assert lake.whole("vehicles", "id, make") == [("v1", "5"), ("v2", "1")]


def test_one_file_a_table_where_it_is_wished(tmp_path):
    lake = Lake(tmp_path / "lake", days=False)
    lake.put(*numbered(1, 2), *numbered(3, at=NOON + DAY))
    lake.put(*numbered(2, 4))

    found = lake.whole("positions", "speed_mph")
    assert [one for (one,) in found] == [1.0, 2.0, 3.0, 4.0]
    lake.restart()


def test_a_record_that_fits_no_column_is_named_and_the_others_are_there(lake):
    big = row(Fault(id="f1", at=NOON, spn=1 << 70), 1, 0)
    good = row(Fault(id="f2", at=NOON, spn=7, lamps=("stop", "warn")), 2, 0)

    answer = lake.put(big, good)

    assert list(answer.rejected) == [1]
    assert "64 bits" in answer.rejected[1]
    assert lake.rows("faults", "spn, lamps") == [(7, '["stop","warn"]')]


def test_the_catalog_says_what_is_there_and_when_a_day_changed(lake):
    lake.put(*numbered(1, 2))
    lake.put(*numbered(3, at=NOON + DAY), now_ms=5000)

    told = lake.catalog()["tables"]["positions"]
    assert [one["name"] for one in told["columns"]] == list(COLUMNS)
    assert told["partition"] == "date"
    assert {day: one["rows"] for day, one in told["days"].items()} == {
        "2026-11-21": 2,
        "2026-11-22": 1,
    }
    assert told["days"]["2026-11-21"]["changed_at"] == "2026-11-21T12:00:00.000Z"
    assert told["days"]["2026-11-22"]["changed_at"] == "1970-01-01T00:00:05.000Z"


def test_a_day_whose_files_stay_as_big_counts_as_changed_only_where_it_is(lake):
    def told() -> dict:
        return lake.catalog()["tables"]["positions"]["days"]["2026-11-21"]

    lake.put(fix(1, speed_mph=11.0, revision=1))
    before = told()
    lake.put(fix(1, speed_mph=31.5, revision=2, seq=9), now_ms=5000)
    after = told()
    lake.put(fix(1, speed_mph=31.5, revision=2, seq=9), now_ms=9000)

    assert before["bytes"] == after["bytes"]
    assert after["changed_at"] == "1970-01-01T00:00:05.000Z"
    assert told() == after


def test_a_catalog_that_was_torn_is_counted_anew(lake):
    lake.put(*numbered(1, 2), *numbered(3, at=NOON + DAY))
    before = lake.catalog()
    (lake.folder / "_metadata.json").write_bytes(b'{"tab')
    lake.put(*numbered(1))

    assert lake.catalog() == before


def test_days_that_are_old_enough_go_and_their_late_rows_are_left_out(lake):
    for back in (40, 31, 30, 0):
        lake.put(fix(back, NOON - back * DAY))
    lake.put(fix(100), keep_days=30)
    said = lake.put(fix(101), fix(102, NOON - 35 * DAY), keep_days=30)

    assert said.skipped == {102: "too_old"}
    assert list(lake.days()) == ["date=2026-10-22", "date=2026-11-21"]
    assert len(lake.rows()) == 4
    assert len(lake.catalog()["tables"]["positions"]["days"]) == 2
    assert [*(lake.folder / ".tmp").iterdir()] == []


def test_rows_that_are_stamped_ahead_of_our_clock_age_nothing(lake):
    """The clock was ahead when they arrived, and is right by now."""
    lake.put(fix(1, NOON - 5 * DAY))
    ahead = structs.replace(fix(2), received_ms=millis(NOON + 3650 * DAY))
    lake.put(ahead, keep_days=30)

    assert list(lake.days()) == ["date=2026-11-16", "date=2026-11-21"]


def test_what_is_only_named_like_a_day_is_left_alone(lake):
    lake.put(alarm(1), alarm(2, NOON - 40 * DAY))
    place = lake.folder / "safety_events"
    (place / "date=0000-00-00").mkdir()
    (place / "date=2026-02-30").mkdir()
    (place / "date=2026-11-20").write_text("a file")
    said = lake.put(alarm(3), alarm(4, NOON + DAY), keep_days=30)

    assert (said.code, said.rejected, said.fault) == (0, {}, "")
    assert sorted(one.name for one in place.iterdir()) == [
        "date=0000-00-00", "date=2026-02-30", "date=2026-11-20", "date=2026-11-21",
        "date=2026-11-22",
    ]  # fmt: skip


def test_what_somebody_else_put_there_is_left_alone(lake):
    lake.put(*numbered(1))
    day = lake.folder / "positions" / "date=2026-11-21"
    (day / "notes.txt").write_text("mine")
    (lake.folder / "positions" / "other").mkdir()
    foreign = parts.made(parts.KEYS, [parts.keyed([1], [2], [3])])
    (day / "part-0009.parquet").write_bytes(foreign)

    lake.put(*numbered(1, 2))

    assert (day / "part-0009.parquet").read_bytes() == foreign
    assert (day / "notes.txt").read_text() == "mine"
    assert sorted(one.name for one in day.iterdir()) == [
        "notes.txt",
        "part-0001.parquet",
        "part-0009.parquet",
    ]


@pytest.mark.parametrize("where", ["end", "keys", "rows"])
def test_a_damaged_file_is_named_and_nothing_is_built_on_it(lake, where):
    lake.put(*numbered(*range(500)))
    path = lake.folder / "positions" / "date=2026-11-21" / "part-0001.parquet"
    body = bytearray(path.read_bytes())
    mark = parts.mark_of(path)
    at = {"end": len(body) - 3, "keys": mark.keys_at + 20, "rows": 40}[where]
    body[at : at + 4] = bytes(one ^ 0xFF for one in body[at : at + 4])
    path.write_bytes(body)
    lake.restart()

    with pytest.raises(DamagedError, match=r"part-0001\.parquet"):
        lake.put(*numbered(600))
    assert path.read_bytes() == bytes(body)


def test_a_table_that_has_more_columns_now_takes_in_its_older_files(lake):
    lake.put(alarm(1))
    shape = shape_of("safety")
    more = (*shape.columns, Column("more", "text", "event.text"))
    wider = structs.replace(shape, columns=more)
    grown = shelf.Shelf(lake.folder, wider, days=True, memory=Memory(), disk=os)
    grown.put([alarm(2)])

    assert lake.rows("safety_events", "id, more") == [("s1", None), ("s2", None)]


# merging


def test_the_files_of_a_day_that_is_over_become_one(lake):
    for start in range(0, 30_000, 6_000):
        lake.put(*numbered(*range(start, start + 6_000)))
    lake.put(*numbered(90_000, at=NOON + DAY))
    assert len(lake.days()["date=2026-11-21"]) == 3
    before = lake.rows()

    table = shelf_of(lake)
    assert tidy.merge_one(table, os, quiet_s=0) == "2026-11-21"
    assert tidy.merge_one(table, os, quiet_s=0) == ""

    assert lake.days()["date=2026-11-21"] == ["part-0001.parquet"]
    assert lake.rows() == before
    lake.put(*numbered(5, 25_000, 95_000), fix(7, speed_mph=-7.0, seq=100_000))
    assert len(lake.rows()) == 30_002
    assert [n for n in numbers(lake) if n < 0] == [-7]


def test_a_day_that_still_changes_is_not_merged(lake):
    for start in range(0, 30_000, 6_000):
        lake.put(*numbered(*range(start, start + 6_000)))
    lake.put(*numbered(90_000, at=NOON + DAY))

    assert tidy.merge_one(shelf_of(lake), os) == ""


def shelf_of(lake: Lake) -> shelf.Shelf:
    shape = shape_of("position")
    return shelf.Shelf(lake.folder, shape, days=True, memory=Memory(), disk=os)


# disks that fail, processes that end


class TornError(Exception):
    """The process ends here."""


class BrokenDisk:
    """A disk on which the nth step fails with a code, or is the last thing that happens."""

    def __init__(self, nth: int, code: int | None) -> None:
        self.left, self.code = nth, code

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise (
                TornError
                if self.code is None
                else OSError(self.code, "no", "somewhere")
            )

    def open(self, *args):
        self._step()
        return os.open(*args)

    def write(self, fd, data):
        self._step()
        return os.write(fd, data[: max(1, len(data) // 2)])

    def fsync(self, fd):
        self._step()

    def rename(self, old, new):
        self._step()
        old.rename(new)


NO_DISK = BrokenDisk(0, None)


TABLES = ("positions", "trips", "safety_events")
BATCHES = [
    [*numbered(1, 2, 3), trip(1, NOON, revision=1)],
    [
        *numbered(4, 5, at=NOON + DAY),
        fix(2, speed_mph=22.0, seq=50),
        trip(1, NOON + DAY, revision=2, seq=51),
    ],
    [*numbered(6), alarm(1), vehicle(1, NOON)],
]


@pytest.mark.parametrize("code", [None, errno.ENOSPC, errno.EIO])
def test_wherever_it_ends_the_batch_again_makes_it_whole(tmp_path, code):
    whole = Lake(tmp_path / "whole", NO_DISK)
    for batch in BATCHES:
        whole.put(*batch)
    truth = {table: whole.seen(table) for table in TABLES}
    for nth in range(1, 200, 3 if code is None else 5):
        lake = Lake(tmp_path / f"lake-{nth}", BrokenDisk(nth, code))
        if not broke(lake):
            break
        seen_once(lake)
        lake.restart(NO_DISK)
        for batch in BATCHES:
            lake.put(*batch)
        assert {table: lake.seen(table) for table in TABLES} == truth, nth
        assert lake.whole("vehicles", "id") == [("v1",)]
        assert days_in(lake) == days_in(whole)
        assert [*(lake.folder / ".tmp").iterdir()] == []
        lake.restart()
    whole.restart()
    assert nth > 30


def broke(lake: Lake) -> bool:
    for batch in BATCHES:
        try:
            lake.put(*batch)
        except (TornError, OSError):
            return True
    return False


def seen_once(lake: Lake) -> None:
    """Whoever reads in between finds each row once at most, and no file torn."""
    for table in ("positions", "trips"):
        if any((lake.folder / table).glob("*/*.parquet")):
            key = "id" if table == "trips" else "speed_mph"
            found = [one[key] for one in lake.seen(table)]
            assert len(found) == len(set(found))


def days_in(lake: Lake) -> dict:
    tables = lake.catalog()["tables"]
    return {
        name: {day: (one["files"], one["rows"]) for day, one in table["days"].items()}
        for name, table in tables.items()
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), days=st.booleans())
def test_any_batches_in_any_order_leave_the_newest_copy_of_each(
    tmp_path_factory, seed, days
):
    chance = random.Random(seed)
    lake = Lake(tmp_path_factory.mktemp("lake") / "in", NO_DISK, days=days)
    copies = [
        trip(
            number, NOON + chance.randrange(4) * DAY, revision=revision,
            seq=number * 10 + revision,
        )
        for number in range(6)
        for revision in range(3)
    ]  # fmt: skip
    for _ in range(6):
        lake.put(*chance.choices(copies, k=5))
        if chance.random() < 0.3:
            lake.restart()
    lake.put(*copies)
    lake.restart()

    newest = [one for one in copies if one.revision == 2]
    told = sorted((one["id"], one["revision"]) for one in lake.seen("trips"))
    assert told == [(one.event.id, 2) for one in newest]
    if days:
        found = sorted((one["id"], one["date"]) for one in lake.seen("trips"))
        assert found == [(one.event.id, f"{one.event.at:%Y-%m-%d}") for one in newest]
