"""Reading the log for delivery: bounded stretches, checked row by row."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from fleetd.event import CODES, ORIGINS, Entry, unpack
from fleetd.store.rows import gather
from fleetd.taking import Taking

EXAMINED = 20_000
COLUMNS = "seq, source, lane, origin, received_ms, revision, crc, body, kind"
SCAN = f"SELECT {COLUMNS} FROM events WHERE seq > ? AND seq <= ? AND lane = ? LIMIT ?"
SAFETY = f"SELECT {COLUMNS} FROM events WHERE seq > ? AND seq <= ? AND lane = 1 LIMIT ?"
PICK = f"SELECT {COLUMNS} FROM events WHERE seq IN"
ONE = f"SELECT {COLUMNS} FROM events WHERE seq = ?"
OF_KIND = "SELECT seq FROM events WHERE kind = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
CURSOR = "SELECT seq, waiting, taking FROM cursors WHERE sink = ? AND lane = ?"
PLENTY = frozenset({CODES["position"]})

Names = Mapping[int, tuple[str, str]]  # number → name, provider


class Stretch(Struct, frozen=True):
    """What one read found: `upto` is how far it looked, `damaged` what it could not read."""

    entries: tuple[Entry, ...]
    upto: int
    damaged: tuple[int, ...] = ()


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
        max_bytes: int,
    ) -> Stretch:  # fmt: skip
        """The entries that `taking` takes in (after, upto], at most `limit`.

        `lane` None reads both. Looks at no more than 20 000 rows.
        """
        self._damaged = []
        try:
            return self._stretch(
                self._rows(after, upto, lane, taking, limit),
                after, upto, taking, limit, max_bytes,
            )  # fmt: skip
        except (apsw.CorruptError, apsw.NotADBError, apsw.IOError):
            self._damaged = []
            end = min(upto, after + limit)
            rows = self._one_by_one(after, end, lane)
            return self._stretch(rows, after, end, taking, limit, max_bytes)

    def _stretch(
        self, rows: Iterable[Any], after: int, upto: int, taking: Taking, limit: int,
        max_bytes: int,
    ) -> Stretch:  # fmt: skip
        entries: list[Entry] = []
        size = examined = 0
        last = after
        for row in rows:
            last = row[0]
            examined += 1
            entry = self.entry(row) if row[8] in taking.codes else None
            if entry is not None and taking.takes(entry.source, entry.event):
                entries.append(entry)
                size += len(row[7])
            if len(entries) >= limit or size >= max_bytes or examined >= EXAMINED:
                return Stretch(tuple(entries), last, tuple(self._damaged))
        return Stretch(tuple(entries), upto, tuple(self._damaged))

    def _rows(
        self, after: int, upto: int, lane: int | None, taking: Taking, limit: int
    ) -> Iterator[Any]:
        if lane == 1:
            return iter(self.db.execute(SAFETY, (after, upto, EXAMINED)))
        if lane is not None and taking.codes >= PLENTY:
            return iter(self.db.execute(SCAN, (after, upto, lane, EXAMINED)))
        return self._picked(after, upto, lane, taking, limit)

    def _picked(
        self, after: int, upto: int, lane: int | None, taking: Taking, limit: int
    ) -> Iterator[Any]:
        """By the index of each kind: what is not taken costs nothing."""
        each = [
            (seq for (seq,) in self.db.execute(OF_KIND, (code, after, upto, EXAMINED)))
            for code in sorted(taking.codes)
        ]
        merged = islice(heapq.merge(*each), EXAMINED)
        while seqs := list(islice(merged, limit)):
            rows = sorted(gather(self.db, PICK, seqs))
            yield from (row for row in rows if lane is None or row[2] == lane)

    def _one_by_one(self, after: int, upto: int, lane: int | None) -> Iterator[Any]:
        """Past a damaged page: what can be read is, the rest is remembered."""
        for seq in range(after + 1, upto + 1):
            try:
                row = self.db.execute(ONE, (seq,)).get
            except (apsw.CorruptError, apsw.NotADBError, apsw.IOError):
                self._damaged.append(seq)
                continue
            if row is not None and (lane is None or row[2] == lane):
                yield row

    def entry(self, row: Any) -> Entry | None:
        """A row as an entry, or None (and remembered) where its bytes are damaged."""
        seq, source, lane, origin, received, revision, crc, body, _kind = row
        try:
            if zlib.crc32(body, seq & 0xFFFFFFFF) != crc:
                raise msgspec.DecodeError("checksum")
            event = unpack(body)
            name, provider = self._names[source]
        except (msgspec.DecodeError, KeyError):
            self._damaged.append(seq)
            return None
        return Entry(
            seq, name, provider, event, revision, received, ORIGINS[origin], lane
        )
