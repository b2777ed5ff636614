"""Which sinks there are and where each begins: registered, counted anew, forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from fleetd.errors import ConfigError
from fleetd.event import NORMAL, SAFETY
from fleetd.store.balance import WHOLE
from fleetd.store.counting import Names, count_waiting
from fleetd.store.jobs import ChangeJob
from fleetd.store.log import Tx
from fleetd.store.small import Keep, kept_of
from fleetd.taking import Taking

CURSOR = "SELECT seq, waiting, taking FROM cursors WHERE sink = ? AND lane = ?"
SET = (
    "INSERT OR REPLACE INTO cursors(sink, lane, seq, waiting, taking)"
    " VALUES (:sink, :lane, :seq, :waiting, :taking)"
)
PLACES = "SELECT name, taking FROM cursors JOIN names ON names.id = sink WHERE lane = 0"
DROP_CURSORS = "DELETE FROM cursors WHERE sink = ?"
DROP_MARKS = "DELETE FROM bookmarks WHERE source = ?"
UNENDED = "SELECT id FROM jobs WHERE target = ? AND kind = ? AND state IN ('running', 'paused')"
RENAME = "UPDATE names SET name = ? WHERE id = ?"
ANY_STORED = "SELECT 1 FROM sums WHERE outcome = 'stored' LIMIT 1"
FIRST = "SELECT min(seq) FROM events"
LANES = (NORMAL, SAFETY)
UNCOUNTED = -1  # what waits is not known: the sink was not in the file for a while


class SinkPlace(Struct, frozen=True):
    """A sink as configured: what it takes and where a new one begins."""

    taking: Taking
    start: str = "oldest"  # or now


class Counted(Struct, frozen=True):
    """How many events of a lane wait for a sink in (after, asof]."""

    after: int
    waiting: int


class Place(Struct, frozen=True):
    """Put sinks where they stand, with what was `counted` waiting up to seq `asof`.

    Sinks that are not among them keep their place, and are counted when they come back.
    """

    sinks: Mapping[str, SinkPlace]
    counted: Mapping[tuple[str, int], Counted]
    asof: int

    def apply(self, tx: Tx) -> None:
        for name, place in self.sinks.items():
            for lane in LANES:
                self._one(tx, name, place, lane)
        absent = [key for key in tx.log.places if key[0] not in self.sinks]
        for name, lane in absent:
            tx.put(name, lane, tx.log.places[name, lane][0], UNCOUNTED)
        takings = {name: one.taking for name, one in self.sinks.items()}
        elsewhere = {
            name: taking_in(words)
            for name, words in tx.db.execute(PLACES)
            if name not in self.sinks
        }
        tx.after(lambda: tx.log.route(takings, elsewhere))

    def _one(self, tx: Tx, name: str, place: SinkPlace, lane: int) -> None:
        sink, words = tx.log.scope("sink", name), fingerprint(place.taking)
        row = tx.db.execute(CURSOR, (sink, lane)).get
        if row is None and self._begins_whole(tx, place):
            Keep(f"{WHOLE}{name}", {"yes": True}).apply(tx)
        seq, waiting, under = row or (first_of(place, self.asof), UNCOUNTED, "")
        if under != words or waiting == UNCOUNTED or (name, lane) in self.counted:
            waiting = self._waiting(tx, name, place, lane, seq)
            tx.db.execute(SET, {
                "sink": sink, "lane": lane, "seq": seq, "waiting": waiting,
                "taking": words,
            })  # fmt: skip
        tx.put(name, lane, seq, waiting)

    def _begins_whole(self, tx: Tx, place: SinkPlace) -> bool:
        """Whether a new sink will pass every event there ever was."""
        if tx.db.execute(ANY_STORED).get is None:
            return True
        return not first_of(place, self.asof) and tx.db.execute(FIRST).get == 1

    def _waiting(self, tx: Tx, name: str, place: SinkPlace, lane: int, seq: int) -> int:
        """What was counted outside, less what was decided since, plus what has come."""
        known = self.counted.get((name, lane), Counted(seq, 0))
        asof = self.asof if (name, lane) in self.counted else seq
        gone = tx.waiting(known.after, min(seq, asof), lane, place.taking)
        come = tx.waiting(max(seq, asof), tx.seq, lane, place.taking)
        return known.waiting - gone + come


class Forget(Struct, frozen=True):
    """Drop the places of a source or sink that is gone from the file; how many it had.

    Its jobs end. What was counted of it stays in the ledger, and so do its dead letters;
    those of a sink under a name that says so, or they would count for one that comes
    back and begins as new.
    """

    side: str
    name: str
    now_ms: int

    def apply(self, tx: Tx) -> int:
        if self.name in tx.log.takings and self.side == "sink":
            raise ConfigError(f"{self.name} is in the file: take it out first")
        number = tx.log.names.get((self.side, self.name))
        if number is None:
            return 0
        tx.db.execute(DROP_CURSORS if self.side == "sink" else DROP_MARKS, (number,))
        dropped = tx.db.changes()
        for name, _ in kept_of(tx, self.side, self.name):
            Keep(name, None).apply(tx)
        self._end_jobs(tx)
        if self.side == "sink":
            self._retire(tx, number)
        tx.after(lambda: tx.log.forget(self.name))
        return dropped

    def _end_jobs(self, tx: Tx) -> None:
        kind = "replay" if self.side == "sink" else "backfill"
        why = f"{self.name} was forgotten"
        found: list[Any] = tx.db.execute(UNENDED, (self.name, kind)).fetchall()
        for (job,) in found:
            ChangeJob(job, "cancelled", why, self.now_ms).apply(tx)

    def _retire(self, tx: Tx, number: int) -> None:
        known = dict(tx.log.names)
        del known[self.side, self.name]
        old, times = f"{self.name} (forgotten)", 1
        while (self.side, old) in known:
            times += 1
            old = f"{self.name} (forgotten {times})"
        tx.db.execute(RENAME, (old, number))
        known[self.side, old] = number
        tx.after(lambda: tx.log.know(known))


def first_of(place: SinkPlace, newest: int) -> int:
    """The cursor of a sink that is new: before everything, or after it."""
    return newest if place.start == "now" else 0


def fingerprint(taking: Taking) -> str:
    """What a count of waiting events was counted under."""
    parts = (sorted(taking.kinds), sorted(taking.sources), taking.vehicles)
    return msgspec.json.encode(parts).decode()


def taking_in(words: str) -> Taking:
    """What such a fingerprint stands for."""
    kinds, sources, vehicles = msgspec.json.decode(words)
    return Taking(frozenset(kinds), frozenset(sources), tuple(vehicles))


def recounted(
    db: apsw.Connection, names: Names, sinks: Mapping[str, SinkPlace], asof: int
) -> dict[tuple[str, int], Counted]:
    """What a new, changed or returning sink has waiting up to `asof`; the others stand."""
    counted = {}
    for name, place in sinks.items():
        for lane in LANES:
            row = db.execute(CURSOR, (names["sink", name], lane)).get
            if row and row[2] == fingerprint(place.taking) and row[1] != UNCOUNTED:
                continue
            after = row[0] if row else first_of(place, asof)
            n = count_waiting(db, after, asof, lane, place.taking, names)
            counted[name, lane] = Counted(after, n)
    return counted
