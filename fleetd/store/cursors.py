"""Moving a sink's cursor: over what was decided, or past what it shall not have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from fleetd.errors import ConfigError
from fleetd.event import CODES, Entry
from fleetd.store.counting import Passed, located, passed, tallied
from fleetd.store.dead import Settled
from fleetd.store.jobs import job_of
from fleetd.store.log import Tx
from fleetd.store.moves import Attempt, Burial, Read
from fleetd.store.places import LANES
from fleetd.store.rows import spread
from fleetd.store.small import Keep
from fleetd.store.totals import HOUR_MS

ADVANCE_JOB = (
    "UPDATE jobs SET cursor = :upto, done = done + :decided, changed_ms = :now,"
    " why = coalesce(:why, why),"
    " state = CASE WHEN :upto >= upto AND state IN ('running', 'paused') THEN 'done'"
    " ELSE state END"
    " WHERE id = :job AND cursor = :after"
)
ATTEMPTS = (
    "INSERT INTO attempts(sink, job, lane, first, last, n, verdict, status, ms, at_ms,"
    " key, answer)"
)
DEAD = (
    "INSERT OR IGNORE INTO dead(scope, hour, at_ms, seq, kind, feed, digest, why, status,"
    " answer, body) VALUES (?, ?, ?, ?, ?, '', x'', ?, ?, ?, x'')"
)
ANSWER_BYTES = 2048
Kept: TypeAlias = tuple[str, Mapping[str, Any]]
STEP = 20_000  # seqs that one commit may skip


class Advance(Struct, frozen=True):
    """Move a cursor over decided entries with all that was counted, if nobody else did."""

    read: Read
    upto: int
    delivered: Sequence[Entry]
    skipped: Sequence[tuple[Entry, str]]
    buried: Sequence[Burial]
    damaged: Sequence[int]
    attempts: Sequence[Attempt]
    now_ms: int
    keep: Kept | None = None

    def apply(self, tx: Tx) -> bool:
        read = self.read
        sink = tx.log.scope("sink", read.sink)
        if not (self._move_job(tx) if read.job else self._move(tx)):
            return False
        attempted(tx, self.attempts)
        if self.keep is not None:
            Keep(*self.keep).apply(tx)
        if read.job:
            Settled(
                read.sink, self.delivered, self.skipped, self.buried, self.now_ms
            ).apply(tx)
        else:
            self._bury(tx, sink)
            self._count(tx, sink)
        return True

    @property
    def _decided(self) -> int:
        return len(self.delivered) + len(self.skipped) + len(self.buried)

    def _move(self, tx: Tx) -> bool:
        read = self.read
        place = tx.place(read.sink, read.lane)
        if place is None or place[0] != read.after:
            return False
        waiting = max(0, place[1] - self._decided)
        if self.damaged:  # it may or may not have been counted as waiting
            least = waiting - len(self.damaged)  # a damaged index may count too few
            taking = tx.log.takings[read.sink]
            waiting = tx.waiting(self.upto, tx.seq, read.lane, taking)
            waiting = max(waiting, least)
        if self.upto >= tx.seq:
            waiting = 0
        tx.put(read.sink, read.lane, self.upto, waiting)
        return True

    def _move_job(self, tx: Tx) -> bool:
        read = self.read
        refused = next((one.reason for one in self.buried), None)
        tx.db.execute(ADVANCE_JOB, {
            "upto": self.upto, "decided": self._decided, "job": read.job,
            "after": read.after, "now": self.now_ms,
            "why": None if refused is None else f"refused, the last: {refused}",
        })  # fmt: skip
        moved = tx.db.changes() == 1
        if moved:
            tx.landed.jobs.append(job_of(tx.db, read.job))
        return moved

    def _count(self, tx: Tx, sink: int) -> None:
        """Every event of the lane that the cursor passed is in exactly one place."""
        ours: Counter[tuple[int, int]] = Counter()
        for entry, outcome, why in self._outcomes():
            hour, kind = entry.received_ms // HOUR_MS, CODES[entry.kind]
            tx.count(sink, hour, kind, outcome, why=why)
            ours[hour, kind] += 1
        if self.upto - self.read.after == ours.total():
            return  # nothing lies between
        for (hour, kind), n in self._passed(tx, sink, ours).items():
            tx.count(sink, hour, kind, "not_taken", max(0, n - ours[hour, kind]))

    def _outcomes(self) -> list[tuple[Entry, str, str]]:
        return [
            *((entry, "delivered", "") for entry in self.delivered),
            *((entry, "skipped", why) for entry, why in self.skipped),
            *((one.entry, "dead", "") for one in self.buried),
        ]

    def _passed(self, tx: Tx, sink: int, ours: Passed) -> Passed:
        if self.damaged:
            return self._past_damage(tx, sink, ours)
        return passed(tx.log.side, self.read.after, self.upto, self.read.lane)

    def _past_damage(self, tx: Tx, sink: int, ours: Passed) -> Passed:
        """The same row by row; what could not be read is counted out as damaged."""
        found = located(tx.log.side, self.read.after, self.upto, self.read.lane)
        places = {seq: (ms // HOUR_MS, kind) for seq, ms, kind, _, _ in found}
        for seq in self.damaged:
            hour, kind = places.get(seq, (self.now_ms // HOUR_MS, 0))
            tx.count(sink, hour, kind, "skipped", why="damaged")
            ours[hour, kind] += 1
        return Counter(places.values())

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


class Skip(Struct, frozen=True):
    """Move a sink's cursors past everything up to `upto`, counted `skipped`.

    A commit is short: no more than `STEP` seqs beyond the cursors at a time.
    """

    sink: str
    upto: int
    why: str
    lanes: Sequence[int] = LANES

    def apply(self, tx: Tx) -> int:
        """How many events the sink took that are now skipped."""
        if self.sink not in tx.log.takings:
            raise ConfigError(f"sink {self.sink!r} is not configured")
        return sum(self._lane(tx, lane) for lane in self.lanes)

    def _lane(self, tx: Tx, lane: int) -> int:
        place = tx.place(self.sink, lane)
        upto = min(self.upto, tx.log.seq)
        if place is None or place[0] >= upto:
            return 0
        sink, taking = tx.log.scope("sink", self.sink), tx.log.takings[self.sink]
        tally = tallied(tx.log.side, place[0], upto, lane, taking, tx.log.names)
        skipped = 0
        for (hour, kind, taken), n in tally.items():
            if taken:
                skipped += n
                tx.count(sink, hour, kind, "skipped", n, why=self.why)
            else:
                tx.count(sink, hour, kind, "not_taken", n)
        left = 0 if upto >= tx.seq else max(0, place[1] - skipped)
        tx.put(self.sink, lane, upto, left)
        return skipped


class PassBy(Struct, frozen=True):
    """Let a sink that waits for nothing stand behind what is not for it.

    As a commit is short it may take several: True says that more lies ahead. What the
    sink takes is never passed.
    """

    sink: str

    def apply(self, tx: Tx) -> bool:
        return sum(self._lane(tx, lane) for lane in LANES) > 0  # both, always

    def _lane(self, tx: Tx, lane: int) -> bool:
        edge: int = tx.log.seq
        place = tx.place(self.sink, lane)
        if place is None or place[1] or place[0] >= edge:
            return False
        upto, taking = min(edge, place[0] + STEP), tx.log.takings[self.sink]
        tally = tallied(tx.log.side, place[0], upto, lane, taking, tx.log.names)
        if any(taken for _, _, taken in tally):
            return False
        sink = tx.log.scope("sink", self.sink)
        for (hour, kind, _), n in tally.items():
            tx.count(sink, hour, kind, "not_taken", n)
        tx.put(self.sink, lane, upto, 0)
        return upto < edge
