"""Reading the log for delivery: bounded stretches, checked row by row."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from fleetd.errors import StoreError
from fleetd.event import CODES, ORIGINS, SAFETY, Entry, unpack
from fleetd.store.counting import DAMAGE, listed, sane
from fleetd.store.files import connect
from fleetd.store.rows import gather
from fleetd.taking import Taking

EXAMINED = 20_000
COLUMNS = "seq, source, lane, origin, received_ms, revision, crc, body, kind"
SCAN = f"SELECT {COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq"
OF_SAFETY = (
    f"SELECT {COLUMNS} FROM events WHERE lane = 1 AND seq > ? AND seq <= ? ORDER BY seq"
)
PICK = f"SELECT {COLUMNS} FROM events WHERE seq IN"
ONE = f"SELECT {COLUMNS} FROM events WHERE seq = ?"
OF_KIND = "SELECT seq FROM events WHERE kind = ? AND seq > ? AND seq <= ? ORDER BY seq"
CURSOR = "SELECT seq, waiting, taking FROM cursors WHERE sink = ? AND lane = ?"
PLENTY = frozenset({CODES["position"]})

Names = Mapping[int, tuple[str, str]]  # number → name, provider


class Stretch(Struct, frozen=True):
    """What one read found: `upto` is how far it looked, `damaged` what it could not read.

    `size` is what its entries take in the log.
    """

    entries: tuple[Entry, ...]
    upto: int
    damaged: tuple[int, ...] = ()
    size: int = 0


class Reader:
    """Reads stretches of the log over one read-only connection."""

    def __init__(self, db: apsw.Connection, names: Names) -> None:
        self.db = db
        self._names = names
        self._damaged: list[int] = []

    def cursor(self, sink: int, lane: int) -> Any:
        """(seq, waiting, what it was counted under) of a sink's lane, or None."""
        return self.db.execute(CURSOR, (sink, lane)).get

    def stretch(
        self, after: int, upto: int, lane: int | None, taking: Taking, limit: int,
        max_bytes: int, only: Sequence[int] | None = None,
    ) -> Stretch:  # fmt: skip
        """The entries that `taking` takes in (after, upto], at most `limit`.

        `lane` None reads both. Looks at no more than 20 000 rows, so that neither this
        read nor counting what it passes takes long. `only` names the very seqs to read,
        whatever they are.
        """
        if only is not None:
            return self._these(only, after, upto, limit, max_bytes)
        upto = min(upto, after + EXAMINED)
        self._damaged = []
        try:
            rows = self._rows(after, upto, lane, taking, limit)
            return self._collect(rows, after, upto, lane, taking, limit, max_bytes)
        except DAMAGE:
            self._look_again()
            self._damaged = []
            upto = min(upto, after + limit)
            rows = self._one_by_one(after, upto, lane, taking)
            return self._collect(rows, after, upto, lane, taking, limit, max_bytes)

    def _these(
        self, seqs: Sequence[int], after: int, upto: int, limit: int, max_bytes: int
    ) -> Stretch:
        self._damaged = []
        entries: list[Entry] = []
        wanted = [seq for seq in sorted(seqs) if after < seq <= upto][:limit]
        end, size = wanted[-1] if len(wanted) == limit else upto, 0
        for seq in wanted:
            try:
                row = self.db.execute(ONE, (seq,)).get
            except DAMAGE:
                self._look_again()
                self._damaged.append(seq)
                continue
            if row is not None and (found := self.entry(row)) is not None:
                entries.append(found)
                size += len(row[7])
            if size >= max_bytes:
                end = seq
                break
        return Stretch(tuple(entries), end, tuple(self._damaged), size)

    def _collect(
        self, rows: Iterable[Any], after: int, upto: int, lane: int | None,
        taking: Taking, limit: int, max_bytes: int,
    ) -> Stretch:  # fmt: skip
        entries: list[Entry] = []
        size, last = 0, after
        for row in rows:
            if not last < row[0] <= upto:  # no order of ours: the key itself is damaged
                raise apsw.CorruptError(f"event {row[0]} stands behind {last}")
            last = row[0]
            if lane is not None and row[2] != lane:
                continue
            entry = self.entry(row) if row[8] in taking.codes else None
            if entry is not None and taking.takes(entry.source, entry.event):
                entries.append(entry)
                size += len(row[7])
            if len(entries) >= limit or size >= max_bytes:
                return Stretch(tuple(entries), last, tuple(self._damaged), size)
        return Stretch(tuple(entries), upto, tuple(self._damaged), size)

    def _rows(
        self, after: int, upto: int, lane: int | None, taking: Taking, limit: int
    ) -> Iterator[Any]:
        if lane == SAFETY:
            return iter(self.db.execute(OF_SAFETY, (after, upto)))
        if lane is not None and taking.codes >= PLENTY:
            return iter(self.db.execute(SCAN, (after, upto)))
        return self._picked(after, upto, taking, limit)

    def _picked(
        self, after: int, upto: int, taking: Taking, limit: int
    ) -> Iterator[Any]:
        """By the index of each kind: what is not taken costs nothing."""
        each = [
            (seq for (seq,) in self.db.execute(OF_KIND, (code, after, upto)))
            for code in sorted(taking.codes)
        ]
        merged = heapq.merge(*each)
        while seqs := list(islice(merged, limit)):
            yield from sorted(gather(self.db, PICK, seqs))

    def _one_by_one(
        self, after: int, upto: int, lane: int | None, taking: Taking
    ) -> Iterator[Any]:
        """Past a damaged page: what can be read is, the rest is remembered.

        Each seq is asked for, not only those that the indexes tell of: a damaged index
        can be silent about rows that are there.
        """
        ours, known = self._told(after, upto, lane, taking)
        for seq in range(after + 1, upto + 1):
            row, hole = None, seq not in ours
            try:
                row = self.db.execute(ONE, (seq,)).get
            except DAMAGE:  # where the indexes say nothing the other lane counts it
                hole = hole and (known or lane == SAFETY)
            if row is not None:
                yield row
            elif not hole:
                self._damaged.append(seq)

    def _look_again(self) -> None:
        """Raise `StoreError` where the disk gives nothing at all: that is no damage."""
        try:
            with closing(connect(Path(self.db.filename), write=False)) as db:
                db.pragma("user_version")
        except (apsw.IOError, apsw.CantOpenError) as bad:
            raise StoreError(f"the log cannot be read: {bad}") from bad

    def _told(
        self, after: int, upto: int, lane: int | None, taking: Taking
    ) -> tuple[set[int], bool]:
        """What is taken there by the indexes alone, and whether they could be read."""
        try:
            found = listed(self.db, after, upto, lane)
        except DAMAGE:
            return set(), False
        return {seq for seq, kind in found if kind in taking.codes}, True

    def entry(self, row: Any) -> Entry | None:
        """A row as an entry, or None (and remembered) where its bytes are damaged."""
        seq, source, lane, origin, received, revision, crc, body, _kind = row
        try:
            if zlib.crc32(body, seq & 0xFFFFFFFF) != crc:
                raise msgspec.DecodeError("checksum")
            event = unpack(body)
            name, provider = self._names[source]
            road = ORIGINS[origin]
            if not sane(received) or type(revision) is not int or origin < 0:
                raise msgspec.DecodeError("no number")
        except (msgspec.MsgspecError, LookupError, TypeError, OverflowError):
            self._damaged.append(seq)
            return None
        return Entry(seq, name, provider, event, revision, received, road, lane)
