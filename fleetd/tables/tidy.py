"""Keeps the days of a table few in files and as old as is wished.

The files of a day that is over are merged: the merged ones are made beside the tables,
and the two folders change places in one step, so that no reader finds a row twice or not
at all. Where the filesystem cannot do that, the files stay as they are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import arro3.core as arrow

from fleetd.tables import parts
from fleetd.tables.parts import Disk, Sheaf
from fleetd.tables.shelf import TEMP, Part, Shelf

MERGED: Final = 500_000  # rows from which on a file is not merged any more
QUIET_S: Final = 3600.0  # a day that still changes is left alone
HERE: Final = -100  # AT_FDCWD
EXCHANGE: Final = 2
CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


def drop_oldest(shelf: Shelf, edge: date, disk: Disk) -> str:
    """Take the oldest day away if it lies before the edge; which one it was."""
    oldest = next(iter(shelf.all_days()), "") if shelf.days else ""
    if not oldest or date.fromisoformat(oldest) >= edge:
        return ""
    away = shelf.folder / TEMP / f"{shelf.shape.table}-{oldest}-old"
    disk.rename(shelf.place / f"date={oldest}", away)
    parts.flush_folder(disk, shelf.place)
    shutil.rmtree(away)
    return oldest


def merge_one(shelf: Shelf, disk: Disk, quiet_s: float = QUIET_S) -> str:
    """Merge the files of one day that is over; which one it was, if any."""
    for day in reversed(shelf.all_days()[:-1] if shelf.days else []):
        folder = shelf.place / f"date={day}"
        if time.time() - folder.stat().st_mtime < quiet_s:
            continue
        groups = list(grouped(shelf.parts_of(day)))
        if any(len(group) > 1 for group in groups):
            return day if merge(shelf, folder, groups, disk) else ""
    return ""


def grouped(found: Sequence[Part]) -> Iterator[list[Part]]:
    """Files side by side that together are not too big for one."""
    group: list[Part] = []
    for part in found:
        if group and sum(one.mark.rows for one in group) + part.mark.rows > MERGED:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def merge(shelf: Shelf, folder: Path, groups: list[list[Part]], disk: Disk) -> bool:
    """Make the merged day, and have it change places with the one there is."""
    ours = {part.path for group in groups for part in group}
    if not ours.issuperset(folder.iterdir()) or not can_exchange(shelf.folder / TEMP):
        return False  # what somebody else put there stays there
    fresh = shelf.folder / TEMP / f"{shelf.shape.table}-{folder.name}-merged"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(0o750)
    for number, group in enumerate(groups, 1):
        schema = parts.schema_of(shelf.shape)
        body = parts.body_of(sheaf_of(shelf, group), schema)
        parts.put(disk, fresh / f"part-{number:04d}.parquet", body)
    parts.flush_folder(disk, fresh)
    if not exchange(fresh, folder):
        return False
    parts.flush_folder(disk, folder.parent)
    parts.flush_folder(disk, fresh.parent)
    shutil.rmtree(fresh)
    return True


def sheaf_of(shelf: Shelf, group: Sequence[Part]) -> Sheaf:
    rows: list[arrow.RecordBatch] = []
    for part in group:
        rows.append(parts.rows_of(part.path, shelf.shape))
        if rows[-1].num_rows != part.mark.rows:
            raise parts.DamagedError(f"{part.path} has other rows than it says")
    return Sheaf(
        tuple(rows),
        tuple(shelf.memory.keys(part).batch for part in group),
        min(part.mark.first_ms for part in group),
        max(part.mark.last_ms for part in group),
    )


def can_exchange(place: Path) -> bool:
    """Whether the filesystem can do it at all, before anything is made for it."""
    one, other = place / "one", place / "other"
    one.mkdir(exist_ok=True)
    other.mkdir(exist_ok=True)
    done = exchange(one, other)
    one.rmdir()
    other.rmdir()
    return done


def exchange(one: Path, other: Path) -> bool:
    """Have two folders change places in one step; False where that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        call = libc.renameat2
    except AttributeError:
        return False
    done = call(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE)
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(other))
