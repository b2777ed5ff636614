"""Where each sink stands: the writes that register it, move it and count for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from fleetd.errors import ConfigError
from fleetd.event import CODES, KINDS, NORMAL, SAFETY, Entry, unpack
from fleetd.store.log import Tx
from fleetd.store.moves import Attempt, Burial, Read
from fleetd.store.rows import spread
from fleetd.store.totals import HOUR_MS
from fleetd.taking import Taking

CURSOR = "SELECT seq, waiting, taking FROM cursors WHERE sink = ? AND lane = ?"
ADVANCE = (
    "UPDATE cursors SET seq = :upto, waiting = max(0, waiting - :decided)"
    " WHERE sink = :sink AND lane = :lane AND seq = :after"
)
ADVANCE_JOB = (
    "UPDATE jobs SET cursor = :upto, done = done + :decided, changed_ms = :now,"
    " state = CASE WHEN :upto >= upto AND state = 'running' THEN 'done' ELSE state END"
    " WHERE id = :job AND cursor = :after"
)
PASSED = (
    "SELECT received_ms / 3600000, kind, count(*) FROM events"
    " WHERE seq > ? AND seq <= ? AND lane = 0 GROUP BY 1, 2"
)
PASSED_SAFETY = (
    "SELECT received_ms / 3600000, kind, count(*) FROM events"
    " WHERE seq > ? AND seq <= ? AND lane = 1 GROUP BY 1, 2"
)
SET = "INSERT OR REPLACE INTO cursors(sink, lane, seq, waiting, taking)"
ATTEMPTS = (
    "INSERT INTO attempts(sink, job, lane, first, last, n, verdict, status, ms, at_ms,"
    " key, answer)"
)
DEAD = (
    "INSERT OR IGNORE INTO dead(scope, hour, at_ms, seq, kind, feed, digest, why, status,"
    " answer, body) VALUES (?, ?, ?, ?, ?, '', x'', ?, ?, ?, x'')"
)
LANES = (NORMAL, SAFETY)
ANSWER_BYTES = 2048


class Advance(Struct, frozen=True):
    """Move a cursor over decided entries with all that was counted, if nobody else did."""

    read: Read
    upto: int
    delivered: Sequence[Entry]
    skipped: Sequence[tuple[Entry, str]]
    buried: Sequence[Burial]
    damaged: int
    attempts: Sequence[Attempt]
    now_ms: int

    def apply(self, tx: Tx) -> bool:
        read = self.read
        sink = tx.log.scope("sink", read.sink)
        decided = len(self.delivered) + len(self.skipped) + len(self.buried)
        if read.job:
            moved = self._move_job(tx, decided)
        else:
            moved = self._move(tx, sink, decided + self.damaged)
        if moved:
            attempted(tx, self.attempts)
            if read.job:
                return True
            self._bury(tx, sink)
            self._count(tx, sink)
            tx.landed.waiting[read.sink, read.lane] -= decided + self.damaged
        return moved

    def _move(self, tx: Tx, sink: int, decided: int) -> bool:
        read = self.read
        tx.db.execute(ADVANCE, {
            "upto": self.upto, "decided": decided, "sink": sink, "lane": read.lane,
            "after": read.after,
        })  # fmt: skip
        return tx.db.changes() == 1

    def _move_job(self, tx: Tx, decided: int) -> bool:
        tx.db.execute(ADVANCE_JOB, {
            "upto": self.upto, "decided": decided, "job": self.read.job,
            "after": self.read.after, "now": self.now_ms,
        })  # fmt: skip
        return tx.db.changes() == 1

    def _count(self, tx: Tx, sink: int) -> None:
        """Every event of the lane that the cursor passed is in exactly one place."""
        ours: Counter[tuple[int, int]] = Counter()
        for entry, outcome, why in self._outcomes():
            hour, kind = entry.received_ms // HOUR_MS, CODES[entry.kind]
            tx.count(sink, hour, kind, outcome, why=why)
            ours[hour, kind] += 1
        if self.upto - self.read.after == ours.total():
            return  # nothing lies between
        query = PASSED_SAFETY if self.read.lane == SAFETY else PASSED
        try:
            found = list(tx.db.execute(query, (self.read.after, self.upto)))
        except apsw.CorruptError:  # what cannot be read has no hour and no kind
            found = [(self.now_ms // HOUR_MS, 0, self.damaged)]
        for hour, kind, n in found:
            rest = n - ours[hour, kind]
            lost = min(rest, self.damaged)
            tx.count(sink, hour, kind, "skipped", lost, why="damaged")
            tx.count(sink, hour, kind, "not_taken", rest - lost)

    def _outcomes(self) -> list[tuple[Entry, str, str]]:
        return [
            *((entry, "delivered", "") for entry in self.delivered),
            *((entry, "skipped", why) for entry, why in self.skipped),
            *((one.entry, "dead", "") for one in self.buried),
        ]

    def _bury(self, tx: Tx, sink: int) -> None:
        for one in self.buried:
            entry = one.entry
            tx.db.execute(DEAD, (
                sink, entry.received_ms // HOUR_MS, self.now_ms, entry.seq,
                CODES[entry.kind], one.reason, one.status, one.answer[:ANSWER_BYTES],
            ))  # fmt: skip


class Attempted(Struct, frozen=True):
    """Rows for requests that moved no cursor."""

    attempts: Sequence[Attempt]

    def apply(self, tx: Tx) -> None:
        attempted(tx, self.attempts)


def attempted(tx: Tx, attempts: Sequence[Attempt]) -> None:
    """One row a request."""
    rows = [
        (tx.log.scope("sink", a.sink), a.job, a.lane, a.first, a.last, a.count,
         a.verdict, a.status, a.ms, a.at_ms, a.key, a.answer[:ANSWER_BYTES])
        for a in attempts
    ]  # fmt: skip
    spread(tx.db, ATTEMPTS, rows)


class SinkPlace(Struct, frozen=True):
    """A sink as configured: what it takes and where a new one begins."""

    taking: Taking
    start: str = "oldest"  # or now


class Place(Struct, frozen=True):
    """Put sinks where they stand, with `counted` waiting up to seq `asof`."""

    sinks: dict[str, SinkPlace]
    counted: dict[tuple[str, int], int]
    asof: int

    def apply(self, tx: Tx) -> dict[tuple[str, int], tuple[int, int]]:
        found: dict[tuple[str, int], tuple[int, int]] = {}
        for name, place in self.sinks.items():
            for lane in LANES:
                found[name, lane] = self._one(tx, name, place, lane)
        tx.log.takings = {name: one.taking for name, one in self.sinks.items()}
        return found

    def _one(self, tx: Tx, name: str, place: SinkPlace, lane: int) -> tuple[int, int]:
        sink, taking = tx.log.scope("sink", name), place.taking
        words = fingerprint(taking)
        row = tx.db.execute(CURSOR, (sink, lane)).get
        seq, waiting, under = row or (first_of(place, self.asof), 0, "")
        if row is None or under != words or (name, lane) in self.counted:
            waiting = self.counted.get((name, lane), 0)
            waiting += count_waiting(tx.db, max(seq, self.asof), tx.seq, lane, taking,
                                     dict(_sources(tx)))  # fmt: skip
            spread(tx.db, SET, [(sink, lane, seq, waiting, words)])
        return seq, waiting


def _sources(tx: Tx) -> list[tuple[str, int]]:
    return [(name, n) for (side, name), n in tx.log.names.items() if side == "source"]


def first_of(place: SinkPlace, newest: int) -> int:
    """The cursor of a sink that is new: before everything, or after it."""
    return newest if place.start == "now" else 0


def fingerprint(taking: Taking) -> str:
    """What a count of waiting events was counted under."""
    parts = (sorted(taking.kinds), sorted(taking.sources), taking.vehicles)
    return msgspec.json.encode(parts).decode()


COUNT = (
    "SELECT count(*) FROM events WHERE seq > ? AND seq <= ? AND lane = ?"
    " AND kind IN (SELECT value FROM json_each(?))"
    " AND (? OR source IN (SELECT value FROM json_each(?)))"
)
CHOOSE = (
    "SELECT source, body FROM events WHERE seq > ? AND seq <= ? AND lane = ?"
    " AND kind IN (SELECT value FROM json_each(?))"
)


def count_waiting(
    db: apsw.Connection, after: int, upto: int, lane: int, taking: Taking,
    sources: dict[str, int],
) -> int:  # fmt: skip
    """How many events a sink takes in (after, upto]: a scan, for new or changed sinks."""
    if after >= upto:
        return 0
    kinds = msgspec.json.encode(sorted(taking.codes)).decode()
    if not taking.vehicles:
        ours = [sources[name] for name in taking.sources if name in sources]
        wanted = msgspec.json.encode(ours).decode()
        row = (after, upto, lane, kinds, int(not taking.sources), wanted)
        found: int = db.execute(COUNT, row).get
        return found
    return _choose(db, (after, upto, lane, kinds), taking, sources)


def _choose(
    db: apsw.Connection, row: tuple[Any, ...], taking: Taking, sources: dict[str, int]
) -> int:
    names = {n: name for name, n in sources.items()}
    n = 0
    for source, body in db.execute(CHOOSE, row):
        try:
            n += taking.takes(names.get(source, ""), unpack(body))
        except msgspec.DecodeError:
            n += 1  # damaged: it will be read, and counted so
    return n


def recounted(
    db: apsw.Connection, names: Mapping[tuple[str, str], int],
    sinks: Mapping[str, SinkPlace], asof: int,
) -> dict[tuple[str, int], int]:  # fmt: skip
    """What a new or changed taking has waiting up to `asof`; the others stand."""
    numbers = {name: n for (side, name), n in names.items() if side == "source"}
    counted = {}
    for name, place in sinks.items():
        for lane in LANES:
            row = db.execute(CURSOR, (names["sink", name], lane)).get
            if row and row[2] == fingerprint(place.taking):
                continue
            after = row[0] if row else first_of(place, asof)
            counted[name, lane] = count_waiting(
                db, after, asof, lane, place.taking, numbers
            )
    return counted


class Skip(Struct, frozen=True):
    """Move a sink's cursors over everything before `upto`, counted `skipped`."""

    sink: str
    upto: int
    why: str

    def apply(self, tx: Tx) -> int:
        """How many events the sink took that are now skipped."""
        taking = tx.log.takings.get(self.sink)
        if taking is None:
            raise ConfigError(f"sink {self.sink!r} is not configured")
        return sum(self._lane(tx, taking, lane) for lane in LANES)

    def _lane(self, tx: Tx, taking: Taking, lane: int) -> int:
        sink = tx.log.scope("sink", self.sink)
        after, waiting, _ = tx.db.execute(CURSOR, (sink, lane)).get
        if after >= self.upto:
            return 0
        left = count_waiting(tx.db, self.upto, tx.seq, lane, taking, dict(_sources(tx)))
        skipped = waiting - left
        self._count(tx, sink, lane, after, taking)
        words = fingerprint(taking)
        spread(tx.db, SET, [(sink, lane, self.upto, left, words)])
        tx.landed.waiting[self.sink, lane] -= skipped
        return skipped

    def _count(self, tx: Tx, sink: int, lane: int, after: int, taking: Taking) -> None:
        query = PASSED_SAFETY if lane == SAFETY else PASSED
        sources = dict(_sources(tx))
        for hour, kind, n in list(tx.db.execute(query, (after, self.upto))):
            one = Taking(
                kinds=taking.kinds & {KINDS[kind]}, sources=taking.sources,
                vehicles=taking.vehicles,
            )  # fmt: skip
            edges = (after, self.upto, lane, hour)
            taken = _taken_in_hour(tx.db, edges, one, sources) if one.kinds else 0
            tx.count(sink, hour, kind, "skipped", taken, why=self.why)
            tx.count(sink, hour, kind, "not_taken", n - taken)


SPAN = (
    "SELECT min(seq), max(seq) FROM events WHERE seq > ? AND seq <= ? AND lane = ?"
    " AND received_ms / 3600000 = ?"
)


def _taken_in_hour(
    db: apsw.Connection, edges: tuple[int, int, int, int], taking: Taking,
    sources: dict[str, int],
) -> int:  # fmt: skip
    """Arrival never goes backwards, so an hour is one span of the log."""
    first, last = db.execute(SPAN, edges).get
    return count_waiting(db, first - 1, last, edges[2], taking, sources)
