"""The process that writes Parquet: batches come in over stdin, answers go out over stdout.

It lives as long as there is something to write and a little longer, so that the memory
this takes is not the daemon's. It can be killed at any point.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import select
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import IO, Final

import msgspec
from msgspec import Struct

from fleetd.event import moment_of, stamp
from fleetd.tables import Row, catalog, shape_of, tidy
from fleetd.tables.parts import DamagedError, Disk, batch_of
from fleetd.tables.shelf import BULK, Memory, Shelf, clear, day_of, make, ms_of

LENGTHS: Final = struct.Struct("<II")
MOST: Final = 256 << 20
IDLE_S: Final = 15.0
LOCK: Final = ".lock"
LOCK_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
FOREVER: Final = date.min
TOO_OLD: Final = "too_old"
UNFIT = (ValueError, TypeError, OverflowError)


class Order(Struct, frozen=True):
    """What is to be done with a batch."""

    folder: str
    days: bool = True
    keep_days: int = 0
    now_ms: int = 0
    tidy: bool = True


class Answer(Struct, frozen=True):
    """What came of it: `code` is an errno, `damaged` a file that cannot be read.

    `rejected` and `skipped` are rows that stand in no file, by seq, and why.
    """

    rejected: dict[int, str] = {}
    skipped: dict[int, str] = {}
    code: int = 0
    where: str = ""
    damaged: str = ""
    fault: str = ""


def main() -> int:
    """Answer batch by batch until nobody asks any more."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # it ends when stdin does
    gc.disable()  # a tenth of the time, and nothing here refers to itself
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    desk = Desk()
    while (asked := next_of(source, IDLE_S)) is not None:
        try:
            answer = desk.answer(*asked)
        except BaseException as bad:  # told, and then it ends: the library can panic
            say(sink, Answer(fault=f"{type(bad).__name__}: {bad}"[:500]))
            raise
        say(sink, answer)
    return 0


class Desk:
    """Takes orders, and keeps what the next one can use."""

    def __init__(self) -> None:
        self._writer: Writer | None = None

    def answer(self, order: Order, body: bytes) -> Answer:
        """Carry an order out; after a failure nothing of it is remembered."""
        try:
            return self._writer_of(order).write(order, _rows.decode(body))
        except OSError as bad:
            self._drop()
            return Answer(code=bad.errno or errno.EIO, where=str(bad.filename or ""))
        except DamagedError as bad:
            self._drop()
            return Answer(damaged=str(bad))

    def _writer_of(self, order: Order) -> Writer:
        if self._writer is not None and not self._writer.holds(order.folder):
            self._drop()
        if self._writer is None:
            self._writer = Writer(Path(order.folder))
        return self._writer

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def next_of(source: IO[bytes], idle_s: float) -> tuple[Order, bytes] | None:
    """The next order and its rows; None when there is none within that time."""
    ready, _, _ = select.select([source], [], [], idle_s)
    head = source.read(LENGTHS.size) if ready else b""
    if len(head) < LENGTHS.size:
        return None
    first, second = LENGTHS.unpack(head)
    if first + second > MOST:
        return None
    order, body = source.read(first), source.read(second)
    if len(body) < second:
        return None
    return msgspec.json.decode(order, type=Order), body


def say(sink: IO[bytes], answer: Answer) -> None:
    body = msgspec.json.encode(answer)
    sink.write(struct.pack("<I", len(body)) + body)
    sink.flush()


_rows = msgspec.msgpack.Decoder(list[Row])


class Writer:
    """Everything below one folder; nobody else writes there at the same time."""

    def __init__(self, folder: Path, disk: Disk = os) -> None:
        self.folder = folder
        self._disk, self._memory = disk, Memory()
        make(folder, disk)
        self._lock = folder / LOCK
        self._alone = os.open(self._lock, LOCK_FLAGS, 0o640)
        fcntl.flock(self._alone, fcntl.LOCK_EX)
        clear(folder)

    def holds(self, folder: str) -> bool:
        """Whether this is the folder, and it is still the one that we locked."""
        try:
            there = self._lock.stat()
        except FileNotFoundError:
            return False
        ours = os.fstat(self._alone)
        return folder == str(self.folder) and there.st_ino == ours.st_ino

    def close(self) -> None:
        os.close(self._alone)

    def write(self, order: Order, rows: Sequence[Row]) -> Answer:
        """Put rows into their tables; those that fit into none are rejected."""
        answer = Answer()
        newest = max((row.received_ms for row in rows), default=order.now_ms)
        edge = FOREVER
        if order.keep_days:
            newest = min(newest, order.now_ms)  # one stamped ahead goes on being ahead
            edge = day_of(newest) - timedelta(days=order.keep_days)
        by_kind: dict[str, list[Row]] = {}
        for row in rows:
            by_kind.setdefault(row.event.kind, []).append(row)
        for kind, group in by_kind.items():
            shelf = Shelf(
                self.folder, shape_of(kind), days=order.days, memory=self._memory,
                disk=self._disk,
            )  # fmt: skip
            self._shelve(shelf, group, order, edge, answer)
        return answer

    def _shelve(
        self, shelf: Shelf, rows: list[Row], order: Order, edge: date, answer: Answer
    ) -> None:
        if shelf.days and edge > FOREVER:
            old = [row.seq for row in rows if day_of(ms_of(row)) < edge]
            answer.skipped.update(dict.fromkeys(old, TOO_OLD))
            rows = [row for row in rows if row.seq not in answer.skipped]
        try:
            met = shelf.put(rows)
        except UNFIT:
            bad = dict(those_unfit(shelf, rows))
            if not bad:
                raise
            answer.rejected.update(bad)
            met = shelf.put([row for row in rows if row.seq not in bad])
        if dropped := tidy.drop_oldest(shelf, edge, self._disk):
            met.add(dropped)
        if order.tidy and len(rows) < BULK:
            merged = tidy.merge_one(shelf, self._disk)
            met.update([merged] if merged else ())
        catalog.note(shelf, met, str(stamp(moment_of(order.now_ms))), self._disk)


def those_unfit(shelf: Shelf, rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """Rows that no file can hold, and why."""
    for row in rows:
        try:
            batch_of(shelf.shape, [row])
        except UNFIT as bad:
            yield row.seq, f"no column can hold it: {bad}"[:300]


if __name__ == "__main__":
    sys.exit(main())
