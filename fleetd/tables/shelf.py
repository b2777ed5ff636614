"""One table in a folder: rows go into its days, each key in one file only, for good.

A file that grows or changes is written anew beside the tables and renamed over the old
one. A key never leaves the file it once came into (unless its day changes: then it goes
out of the one first, and into the other after). So every step is one rename, a reader
sees each key once at most, and rows that are there already change nothing at all.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Final

import arro3.core as arrow
from msgspec import Struct

from fleetd.event import DAY_MS, millis
from fleetd.tables import Row, Shape, parts
from fleetd.tables.parts import DamagedError, Disk, Keys, Mark, Sheaf

TEMP = ".tmp"
PART = re.compile(r"part-(\d{4,9})\.parquet")
DAY = re.compile(r"date=(\d{4}-\d\d-\d\d)")
EPOCH = date(1970, 1, 1)
to_key = struct.Struct("<q").unpack
GROWN: Final = 120_000  # rows from which on a file is left alone
BULK: Final = 2_000  # rows at once, of a backlog: then files are left alone sooner
GROWN_IN_BULK: Final = 15_000
APART_MS: Final = 600_000  # two copies of one fix have the same time, give or take this
MOST_KEYS: Final = 2_000_000  # kept in memory, of the files used last


class Part(Struct, frozen=True):
    """One file of a table as it was last seen."""

    path: Path
    mark: Mark

    @property
    def number(self) -> int:
        found = PART.fullmatch(self.path.name)
        return int(found[1]) if found else 0


class Memory:
    """The keys of the files used last, known by what tells one version from another."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self.changed: set[Path] = set()  # files written since the catalog was
        self._kept: dict[Path, tuple[tuple[int, ...], Mark, Keys | None]] = {}

    def part(self, path: Path) -> Part | None:
        """A file of ours; None for one that somebody else put there."""
        sign = signed(path)
        kept = self._kept.get(path)
        if kept is None or kept[0] != sign:
            mark = parts.mark_of(path)
            if mark is None:
                return None
            kept = self._kept[path] = (sign, mark, None)
        return Part(path, kept[1])

    def keys(self, part: Part) -> Keys:
        sign, mark, keys = self._kept.pop(part.path)
        keys = parts.keys_of(part.path, mark) if keys is None else keys
        self._kept[part.path] = (sign, mark, keys)
        self._trim()
        return keys

    def wrote(self, path: Path, batches: Sequence[arrow.RecordBatch]) -> None:
        """What was just put there need not be read again."""
        table = arrow.Table.from_batches(batches).combine_chunks()
        mark = parts.mark_of(path)
        assert mark is not None
        self._kept.pop(path, None)
        self._kept[path] = (signed(path), mark, Keys(table.to_batches()[0]))
        self.changed.add(path)
        self._trim()

    def _trim(self) -> None:
        held = sum(keys.rows for _, _, keys in self._kept.values() if keys)
        for path, (sign, mark, keys) in list(self._kept.items())[:-1]:
            if held <= self._most:
                break
            if keys is not None:
                held -= keys.rows
                self._kept[path] = (sign, mark, None)
        while len(self._kept) > 20_000:
            del self._kept[next(iter(self._kept))]


def signed(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class Wanted:
    """Rows that are to be in one day, by key, and their times."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.ms: dict[int, int] = {}

    @cached_property
    def _span(self) -> tuple[int, int]:
        return min(self.ms.values()), max(self.ms.values())

    def between(self, low: int, high: int) -> set[int]:
        """The keys of those with a time in there, both ends included."""
        first, last = self._span
        if last < low or first > high:
            return set()
        if low <= first and last <= high:
            return set(self.rows)
        return {key for key in self.rows if low <= self.ms[key] <= high}


class Change(Struct, frozen=True):
    """What is to become of one file: rows that go out of it, and rows that go in."""

    part: Part | None
    path: Path
    gone: set[int]
    fresh: dict[int, Row]


class Shelf:
    """One table: `days` cuts it by the UTC day of `at`, else it is one file."""

    def __init__(
        self, folder: Path, shape: Shape, *, days: bool, memory: Memory, disk: Disk
    ) -> None:
        self.folder, self.shape = folder, shape
        self.days = days and not shape.whole
        self.place = folder / shape.table if self.days else folder
        self.memory, self._disk = memory, disk

    def put(self, rows: Sequence[Row]) -> set[str]:
        """Have these rows in the table, all on the disk when this returns.

        The days that may have changed: any, of a kind whose events change their time.
        """
        days: dict[int, Wanted] = {}
        for key, row in collapsed(rows).items():
            ms = ms_of(row)
            number = ms // DAY_MS if self.days else 0
            wanted = days.get(number)
            if wanted is None:
                wanted = days[number] = Wanted()
            wanted.rows[key], wanted.ms[key] = row, ms
        named = {
            day_of(number * DAY_MS).isoformat() if self.days else "": days[number]
            for number in sorted(days)
        }
        if rows and self.days and self.shape.changes:
            parts.batch_of(self.shape, rows)  # one that fits nowhere replaces nothing
            self._leave(named)
        for day, wanted in named.items():  # out of the one first, then into the other
            self._put_day(day, wanted)
        return {*named, *(self.all_days() if self.shape.changes else ())}

    def _leave(self, wanted: Mapping[str, Wanted]) -> None:
        """Take rows out of days that are no longer theirs: their time was changed since."""
        goes = {key: day for day, one in wanted.items() for key in one.rows}
        keys = set(goes)
        for day in self.all_days():
            for part in self.parts_of(day):
                gone = set()
                for key, at, stamp in self.memory.keys(part).among(keys):
                    rows = wanted[goes[key]].rows
                    if goes[key] == day or key not in rows:
                        continue
                    if stamp_of(rows[key]) > stamp:
                        gone.add(at)
                    else:
                        del rows[key]
                if gone:
                    self._apply(Change(part, part.path, gone, {}), {})

    def _put_day(self, day: str, wanted: Wanted) -> None:
        changes = list(self._replaced(day, wanted))
        if wanted.rows:
            self._add(day, wanted.rows, changes)
        for change in changes:
            self._apply(change, wanted.ms)

    # what is where

    def parts_of(self, day: str) -> list[Part]:
        """The files of a day, the one that grows last."""
        found = (self.memory.part(path) for path in self.paths_of(day))
        return [one for one in found if one is not None]

    def paths_of(self, day: str) -> list[Path]:
        if not self.days:
            path = self.folder / f"{self.shape.table}.parquet"
            return [path] if path.exists() else []
        folder = self.place / f"date={day}"
        try:
            names = os.listdir(folder)  # noqa: PTH208  names will do
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [
            folder / name for name in sorted(filter(PART.fullmatch, names), key=age)
        ]

    def all_days(self) -> list[str]:
        """Every day there is, oldest first."""
        if not self.days:
            return [""] if self.paths_of("") else []
        try:
            names = os.listdir(self.place)  # noqa: PTH208
        except FileNotFoundError:
            return []
        found = (one[1] for one in map(DAY.fullmatch, names) if one)
        return sorted(filter(is_date, found))

    def _hits(self, part: Part, wanted: Wanted) -> list[tuple[int, int, bool]]:
        """Keys of the rows wanted that a file has: key, row, whether ours is newer."""
        low, high = part.mark.first_ms - APART_MS, part.mark.last_ms + APART_MS
        of_time = self.shape.kind == "position"
        keys = wanted.between(low, high) if of_time else set(wanted.rows)
        if not keys:
            return []
        return [
            (key, at, stamp_of(wanted.rows[key]) > stamp)
            for key, at, stamp in self.memory.keys(part).among(keys)
        ]

    def _replaced(self, day: str, wanted: Wanted) -> Iterator[Change]:
        """Rows of the day that a newer copy takes the place of, in their very file."""
        for part in self.parts_of(day):
            gone, fresh = set(), {}
            for key, at, newer in self._hits(part, wanted):
                row = wanted.rows.pop(key)
                if newer:
                    gone.add(at)
                    fresh[key] = row
            if fresh:
                yield Change(part, part.path, gone, fresh)

    def _add(self, day: str, fresh: dict[int, Row], changes: list[Change]) -> None:
        """Rows that are new go into the last file, or begin the next."""
        there = self.parts_of(day)
        last = there[-1] if there else None
        if last and self._takes(last, len(fresh)):
            for change in changes:
                if change.path == last.path:
                    change.fresh.update(fresh)
                    return
            changes.append(Change(last, last.path, set(), fresh))
            return
        changes.append(Change(None, self._next_path(day), set(), fresh))

    def _takes(self, part: Part, count: int) -> bool:
        if not self.days:
            return True
        most = GROWN if count < BULK else GROWN_IN_BULK
        return part.mark.rows + count <= most

    def _next_path(self, day: str) -> Path:
        if not self.days:
            return self.folder / f"{self.shape.table}.parquet"
        numbers = [age(path.name) for path in self.paths_of(day)]
        number = max(numbers, default=0) + 1
        return self.place / f"date={day}" / f"part-{number:04d}.parquet"

    # on the disk

    def _apply(self, change: Change, ms: Mapping[int, int]) -> None:
        rows = [*change.fresh.values()]
        data, keys, low, high = [], [], *span_of(change.fresh, ms)
        if change.part is not None:
            mark = change.part.mark
            old = parts.rows_of(change.path, self.shape)
            old_keys = self.memory.keys(change.part).batch
            if old.num_rows != mark.rows:
                raise DamagedError(f"{change.path} has other rows than it says")
            data.append(parts.without(old, change.gone))
            keys.append(parts.without(old_keys, change.gone))
            low, high = min(low, mark.first_ms), max(high, mark.last_ms)
        if rows:
            times = [ms[key] for key in change.fresh]
            data.append(parts.batch_of(self.shape, rows, times))
            revisions = [row.revision for row in rows]
            keys.append(parts.keyed([*change.fresh], revisions, [r.seq for r in rows]))
        self.replace(change.path, Sheaf(tuple(data), tuple(keys), low, high))

    def replace(self, path: Path, sheaf: Sheaf) -> None:
        """Put a file in place, whole, or take it away where nothing is left in it."""
        self._make(path.parent)
        if not sheaf.count:
            path.unlink()
            parts.flush_folder(self._disk, path.parent)
            return
        temp = (
            self.folder / TEMP / f"{self.shape.table}-{path.parent.name}-{path.name}~"
        )
        body = parts.body_of(sheaf, parts.schema_of(self.shape))
        parts.put(self._disk, temp, body)
        self._disk.rename(temp, path)
        parts.flush_folder(self._disk, path.parent)
        self.memory.wrote(path, sheaf.keys)

    def _make(self, folder: Path) -> None:
        """Make the folders of a day, below the one that was configured."""
        missing = []
        while folder != self.folder and not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for one in reversed(missing):
            one.mkdir(0o750)
            parts.flush_folder(self._disk, one.parent)


def make(folder: Path, disk: Disk) -> None:
    """Make the folder itself, never the one above: that may be a disk not mounted."""
    try:
        folder.mkdir(0o750)
    except FileExistsError:
        return
    parts.flush_folder(disk, folder.parent)


def clear(folder: Path) -> None:
    """Take away what was left half done."""
    temp = folder / TEMP
    temp.mkdir(0o750, exist_ok=True)
    for left in temp.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def collapsed(rows: Iterable[Row]) -> dict[int, Row]:
    """One row a key, the newest; a key is 64 bits of a hash over (source, id)."""
    found: dict[int, Row] = {}
    for row in rows:
        name = f"{row.source}\0{row.event.id}".encode()
        (key,) = to_key(blake2b(name, digest_size=8).digest())
        old = found.setdefault(key, row)
        if old is not row and stamp_of(row) > stamp_of(old):
            found[key] = row
    return found


def ms_of(row: Row) -> int:
    """Which time a row is filed by: its own, or of its arrival where it has none."""
    at = row.event.at
    return row.received_ms if at is None else millis(at)


def stamp_of(row: Row) -> tuple[int, int]:
    """Which copy is newer."""
    return row.revision, row.seq


FAR = 1 << 62


def span_of(keys: Iterable[int], ms: Mapping[int, int]) -> tuple[int, int]:
    """The first and the last of the times of rows."""
    times = [ms[key] for key in keys]
    return min(times, default=FAR), max(times, default=-FAR)


def is_date(text: str) -> bool:
    """Whether there is such a day, and not only such a name."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def age(name: str) -> int:
    found = PART.fullmatch(name)
    return int(found[1]) if found else 0


def day_of(ms: int) -> date:
    """The UTC day of a moment."""
    return EPOCH + timedelta(days=ms // DAY_MS)
