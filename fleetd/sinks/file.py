"""NDJSON files in a folder: one event a line, as `events --json` prints it.

A repeat is dropped: an event belongs to the file of the UTC day it was received on, and
the end of that file says which events are in it, by `seq` and time of arrival: a log
that began anew counts from 1 again. A line counts once it is fsynced. The
lanes share a file, so lines stand in the order of delivery, not of `seq`. A replay
writes files of its own, `replay-JOB-...`.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import ClassVar, Protocol, TypeAlias

import trio
from msgspec import Struct

from fleetd.config.units import Size
from fleetd.event import DAY_MS, moment_of
from fleetd.lines import printed
from fleetd.sinks.contract import Batch, Receipt, Sink, Write
from fleetd.sinks.folders import check_folder, verdict
from fleetd.world import World

TAIL = 32 << 20  # bytes looked back into: many times what one delivery may hold
OPEN = 8  # days written to at a time; a backlog goes through them in order
FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
PRINT = re.compile(
    rb'^\{[^{}\n]{0,64}?"seq":(\d+)[^\n]*?"received_at":("[^"\n]*"|null)', re.MULTILINE
)
Print: TypeAlias = int  # a hash, for memory's sake
NAME = re.compile(r"((?:replay-\d+-)?\d{4}-\d\d-\d\d-)(\d{4,9})\.ndjson")
DIGITS = "0123456789"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """`[sinks.NAME]` with `kind = "file"`."""

    docs: ClassVar[dict[str, str]] = {
        "path": "a folder; a new file each UTC day",
        "rotate": "and whenever one has grown to this size",
    }
    path: Path
    rotate: Size = Size(64 << 20)

    def __post_init__(self) -> None:
        if not 1 << 16 <= self.rotate <= 1 << 40:
            raise ValueError('rotate: between "64KiB" and "1TiB"')


class Disk(Protocol):
    """The part of `os` that writes, so that a test can break it."""

    def open(self, path: Path, flags: int, mode: int = 0o777, /) -> int: ...
    def write(self, fd: int, data: memoryview, /) -> int: ...
    def fsync(self, fd: int, /) -> None: ...
    def ftruncate(self, fd: int, length: int, /) -> None: ...


class Archive:
    """The folder, and the files of it that are open for writing."""

    def __init__(self, config: Config, world: World, disk: Disk = os) -> None:
        self._config, self._world, self._disk = config, world, disk
        self._alone = trio.Lock()
        self._open: dict[str, DayFile] = {}

    async def write(self, batch: Batch) -> Receipt:
        """Put a batch on the disk: all of it is there when this returns."""
        lines = batch.lines or printed(batch.entries)
        async with self._alone:
            await self._world.in_thread(partial(self._put, batch, lines))
        return Receipt()

    def _put(self, batch: Batch, lines: Sequence[bytes]) -> None:
        rows = zip(batch.entries, lines, strict=True)
        touched: list[DayFile] = []
        try:
            for day, group in groupby(rows, lambda row: row[0].received_ms // DAY_MS):
                file = self._of_day(batch.generation, day)
                touched.append(file)
                file.add([line for _, line in group])
                if len(touched) >= OPEN:
                    sync(touched)
            sync(touched)
        except OSError as bad:
            self._back_out(touched)
            where = str(bad.filename or "")
            raise verdict(bad.errno or 0, where, self._config.path) from bad

    def _of_day(self, generation: int, day: int) -> DayFile:
        prefix = prefix_of(generation, day)
        file = self._open.pop(prefix, None)
        if file is not None and file.is_changed():
            file.close()
            file = None
        if file is None:
            file = DayFile(self._config.path, prefix, self._disk)
        elif file.size >= self._config.rotate:
            file.rotate()
        self._open[prefix] = file  # at the end: the last one used
        for old in list(self._open)[:-OPEN]:
            if self._open[old].is_clean():
                self._drop(old)
        return file

    def _back_out(self, touched: Sequence[DayFile]) -> None:
        """Take what is not sure off the files again; the next try opens them anew."""
        for file in touched:
            with suppress(OSError):
                file.undo()
        self.close()

    def _drop(self, prefix: str) -> None:
        if file := self._open.pop(prefix, None):
            file.close()

    def close(self) -> None:
        for prefix in list(self._open):
            self._drop(prefix)

    def mend(self) -> None:
        """Take a torn line off the newest file; others are mended when next written."""
        with suppress(OSError):
            days = [day for day, _ in names_in(self._config.path) if day[0] in DIGITS]
            if days:
                DayFile(self._config.path, max(days), self._disk).close()


class DayFile:
    """The newest file of a day, and which events the end of that day's files holds."""

    def __init__(self, folder: Path, prefix: str, disk: Disk = os) -> None:
        self._folder, self._prefix, self._disk = folder, prefix, disk
        self._seen: set[Print] = set()
        self._older: set[Print] = set()
        self._fresh: list[Print] = []
        self._number, self.size, self._fd = 0, 0, -1
        make(folder, disk)
        try:
            self._begin()
        except OSError:
            self.close()
            raise

    def _begin(self) -> None:
        """Open the newest file of the day, mended, on the disk, and read."""
        numbers = [n for day, n in names_in(self._folder) if day == self._prefix]
        self._number = max(numbers, default=1)
        self._open()
        self.size = mended(self._fd, self._disk)
        self._disk.fsync(self._fd)  # what we are about to rely on
        left = TAIL
        for number in sorted(numbers, reverse=True):
            path = self._folder / name_of(self._prefix, number)
            self._seen.update(prints_in(path))
            left -= path.stat().st_size
            if left <= 0:
                break

    def _open(self) -> None:
        self._path = self._folder / name_of(self._prefix, self._number)
        new = not self._path.exists()
        self._fd = self._disk.open(self._path, FLAGS, 0o640)
        self.size = os.fstat(self._fd).st_size
        if new:
            flush_folder(self._folder, self._disk)

    def rotate(self) -> None:
        os.close(self._fd)
        self._number += 1
        self._open()

    def add(self, lines: Sequence[bytes]) -> None:
        """Append the lines that are not there yet; `sync` makes them count."""
        seen, older = self._seen, self._older
        rows = [(print_of(line), line) for line in lines]
        rows = [row for row in rows if row[0] not in seen and row[0] not in older]
        body = memoryview(b"".join(line + b"\n" for _, line in rows))
        self._fresh += [one for one, _ in rows]
        while body:
            body = body[self._disk.write(self._fd, body) :]

    def sync(self) -> None:
        if not self._fresh:
            return
        self._disk.fsync(self._fd)
        self.size = os.fstat(self._fd).st_size
        self._seen.update(self._fresh)
        self._fresh = []
        if len(self._seen) > MOST_SEEN:
            self._older, self._seen = self._seen, set()

    def undo(self) -> None:
        self._disk.ftruncate(self._fd, self.size)
        self._disk.fsync(self._fd)

    def is_changed(self) -> bool:
        """Somebody moved, removed, cut or wrote to the file under us."""
        try:
            there, ours = self._path.stat(), os.fstat(self._fd)
        except OSError:
            return True
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            return True
        return self.is_clean() and ours.st_size != self.size

    def is_clean(self) -> bool:
        return not self._fresh

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)


MOST_SEEN = 50_000


def sync(files: list[DayFile]) -> None:
    """Make what was added to them count."""
    for file in files:
        file.sync()
    files.clear()


def prefix_of(generation: int, day: int) -> str:
    date = f"{moment_of(day * DAY_MS):%Y-%m-%d}-"
    return f"replay-{generation}-{date}" if generation else date


def name_of(prefix: str, number: int) -> str:
    return f"{prefix}{number:04d}.ndjson"


def names_in(folder: Path) -> list[tuple[str, int]]:
    """Our files: what stands before the number, and the number."""
    found = (NAME.fullmatch(name) for name in os.listdir(folder))  # noqa: PTH208  names will do
    return [(one[1], int(one[2])) for one in found if one]


def make(folder: Path, disk: Disk) -> None:
    """Make the folder itself, never the one above: that may be a disk not mounted."""
    try:
        folder.mkdir(0o750)
    except FileExistsError:
        return
    flush_folder(folder.parent, disk)


def flush_folder(folder: Path, disk: Disk) -> None:
    """Make names in a folder outlive a power cut."""
    fd = disk.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.fsync(fd)
    finally:
        os.close(fd)


def mended(fd: int, disk: Disk) -> int:
    """Cut off a torn last line and the zeros of a power cut; the size that stays."""
    size = os.fstat(fd).st_size
    if size == 0:
        return 0
    with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as body:
        zeros = body.find(b"\0", max(0, size - TAIL))
        end = size if zeros < 0 else zeros
        good = body.rfind(b"\n", 0, end) + 1
    if good < size:
        disk.ftruncate(fd, good)
    return good


def print_of(line: bytes) -> Print:
    """What tells an event's line from any other, also from one of another log."""
    found = PRINT.match(line)
    return hash(found.groups() if found else line)


def prints_in(path: Path) -> set[Print]:
    """The events whose lines stand at the end of a file."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return set()
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as body:
            found = PRINT.finditer(body, max(0, size - TAIL))
            return {hash(one.groups()) for one in found}


async def check(config: Config, world: World) -> str:
    """Look whether the folder could be written; nothing is made."""
    return await check_folder(config.path, world)


@asynccontextmanager
async def open_file(config: Config, world: World, place: str) -> AsyncIterator[Write]:
    """Mend the newest file; the folder is made by the first write, `place` not used."""
    del place
    archive = Archive(config, world)
    await world.in_thread(archive.mend)
    try:
        yield archive.write
    finally:
        archive.close()


SINK = Sink(
    config=Config,
    open=open_file,
    batch=4000,
    batch_bytes=4 << 20,
    linger=0.2,
    per_second=50.0,
    burst=5,
    check=check,
)
