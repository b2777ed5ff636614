"""The log: what a group commit does, from the writes that joined it to the disk."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import apsw
import msgspec

from fleetd.errors import FleetdError, FullError, StoreError
from fleetd.event import (
    DIRECTORY_KINDS,
    KINDS,
    ORIGINS,
    AnyEvent,
    filled,
    merged,
    pack,
    unpack,
)
from fleetd.store.files import Reservation, Space
from fleetd.store.moves import Append, Counts, Fact, Made
from fleetd.store.rows import gather, spread
from fleetd.store.totals import HOUR_MS, Deltas, add
from fleetd.store.writer import Steps
from fleetd.taking import Taking

KNOWN = "SELECT key, seq, filled FROM seen WHERE key IN"
SEEN = "INSERT INTO seen(key, seq, filled)"
SEEN_TWICE = "ON CONFLICT DO UPDATE SET seq = excluded.seq, filled = excluded.filled"
EVENTS = (
    "INSERT INTO events(seq, source, kind, lane, origin, at_ms, received_ms, revision,"
    " raw, part, crc, body)"
)
RAW = (
    "INSERT INTO raw(id, source, feed, received_ms, signed_ms, verdict, headers, packed,"
    " body)"
)
ASIDES = (
    "INSERT INTO asides(source, hour, outcome, why, kind, event, vehicle, raw, part)"
)
FACTS = "INSERT OR REPLACE INTO facts(source, vehicle, name, at_ms, value)"
RECORDS = "INSERT OR REPLACE INTO records(source, kind, id, content, revision, seq)"
DEAD = (
    "INSERT INTO dead(scope, hour, at_ms, kind, feed, digest, why, answer, body)"
    " VALUES (:scope, :hour, :at, 0, :feed, :digest, :why, x'', :body)"
    " ON CONFLICT DO NOTHING RETURNING id"
)
BOOKMARK = (
    "INSERT OR REPLACE INTO bookmarks(source, feed, value, success_ms)"
    " VALUES (:source, :feed, :value, :now)"
)
FIRST = "SELECT body, revision FROM events WHERE seq = ?"
EDGE = "UPDATE log SET newest_seq = ?, newest_raw = ?, received_ms = max(received_ms, ?)"
WAITING = "UPDATE cursors SET waiting = waiting + ? WHERE sink = ? AND lane = ?"
UNDEAD = "DELETE FROM dead WHERE id = ?"
PACK_FROM = 4096  # bytes from which a body is worth compressing
CHANGED = frozenset(KINDS.index(kind) for kind in DIRECTORY_KINDS)


class Write(Protocol):
    """A write other than an append: does its part of the transaction."""

    def apply(self, tx: Tx) -> Any:
        """Change the rows; answer the caller's result."""


class Landed(msgspec.Struct):
    """What a commit put into the log, told to the loop once it is on the disk."""

    newest: int
    facts: list[tuple[str, Fact]]
    records: list[tuple[str, int, str, str, int | None]]
    waiting: Counter[tuple[str, int]]
    calls: list[Callable[[], None]]
    stored: int = 0


class Tx:
    """One group commit on its way to the disk."""

    def __init__(self, log: Log) -> None:
        self.db = log.db
        self.log = log
        self.deltas: Deltas = Counter()
        self.seq = log.seq
        self.raw = log.raw
        self.received_ms = 0
        self.landed = Landed(0, [], [], Counter(), [])

    def count(
        self, scope: int, hour: int, kind: int, outcome: str, n: int = 1, why: str = ""
    ) -> None:
        """Add to the ledger, in this transaction."""
        if n:
            self.deltas[scope, hour, kind, outcome, why] += n

    def after(self, call: Callable[[], None]) -> None:
        """Run `call` in the loop's thread once this commit is on the disk."""
        self.landed.calls.append(call)


class Log:
    """The writer's side of the log; everything here runs inside a group commit."""

    def __init__(
        self, db: apsw.Connection, space: Space, reservation: Reservation
    ) -> None:
        self.db = db
        self.space = space
        self.reservation = reservation
        self.seq, self.raw, self.received_ms = db.execute(
            "SELECT newest_seq, newest_raw, received_ms FROM log"
        ).get
        self.names: dict[tuple[str, str], int] = {
            (side, name): number
            for number, side, name in db.execute("SELECT id, side, name FROM names")
        }
        self.takings: dict[str, Taking] = {}
        self.full = ""
        self.broken = ""
        self.publish: Callable[[Landed], None] = lambda _landed: None

    def scope(self, side: str, name: str) -> int:
        """The number of a source or sink that was registered."""
        return self.names[side, name]

    def commit(self, writes: Sequence[Any]) -> Steps:
        """One transaction for all of them; yields where it is to be synced."""
        if self.broken:
            return [StoreError(self.broken)] * len(writes)
        if self.full:
            return (yield from self._without_appends(writes))
        try:
            return (yield from self._transaction(writes))
        except (apsw.FullError, FullError) as bad:
            self._filled_up(str(bad))
            return (yield from self._without_appends(writes))
        except apsw.Error as bad:
            return self._broke(bad, len(writes))

    def sync(self) -> Exception | None:
        """Put the transaction on the disk: the one step that may run elsewhere."""
        try:
            self.db.execute("COMMIT")
        except apsw.Error as bad:
            return bad
        return None

    def _without_appends(self, writes: Sequence[Any]) -> Steps:
        """Cursors still commit on a full disk; nothing new is taken in."""
        refused = FullError(self.full)
        rest = [one for one in writes if not isinstance(one, Append)]
        try:
            results = (yield from self._transaction(rest)) if rest else []
        except (apsw.FullError, FullError) as bad:
            return [FullError(str(bad))] * len(writes)
        except apsw.Error as bad:
            return self._broke(bad, len(writes))
        found = iter(results)
        return [refused if isinstance(one, Append) else next(found) for one in writes]

    def _filled_up(self, why: str) -> None:
        self.full = f"the disk is full ({why}); free some space, fleetd goes on by itself"
        self.space.drop_ballast()

    def _broke(self, bad: apsw.Error, n: int) -> list[Any]:
        self.broken = f"the log cannot be written: {type(bad).__name__}: {bad}"
        return [StoreError(self.broken)] * n

    def _transaction(self, writes: Sequence[Any]) -> Steps:
        tx = Tx(self)
        results: list[Any] = [None] * len(writes)
        done = False
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self._apply(tx, writes, results)
            self.reservation.cover(tx.seq)
            self.db.execute(EDGE, (tx.seq, tx.raw, tx.received_ms))
            add(self.db, tx.deltas)
            fault = yield
            if fault is not None:
                raise fault
            done = True
        finally:
            if not done and self.db.in_transaction:
                self.db.execute("ROLLBACK")
        self.seq, self.raw = tx.seq, tx.raw
        self.received_ms = max(self.received_ms, tx.received_ms)
        tx.landed.newest = tx.seq
        self.publish(tx.landed)
        return results

    def _apply(self, tx: Tx, writes: Sequence[Any], results: list[Any]) -> None:
        appends = [n for n, one in enumerate(writes) if isinstance(one, Append)]
        if appends:
            taken = Intake(tx).take([writes[n] for n in appends])
            for n, counts in zip(appends, taken, strict=True):
                results[n] = counts
        for n, one in enumerate(writes):
            if not isinstance(one, Append):
                try:
                    results[n] = one.apply(tx)
                except FleetdError as refused:  # says no before it changes a row
                    results[n] = refused


class Intake:
    """The appends of one commit, gathered into one statement a table."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.events: list[tuple[Any, ...]] = []
        self.seen: dict[bytes, tuple[bytes, int, int]] = {}
        self.raws: list[tuple[Any, ...]] = []
        self.asides: list[tuple[Any, ...]] = []
        self.records: list[tuple[Any, ...]] = []
        self.routed: list[tuple[str, AnyEvent, int]] = []

    def take(self, appends: Sequence[Append]) -> list[Counts]:
        """Decide what is new, write it, and answer the counts of each append."""
        db = self.tx.db
        keys = [made.key for one in appends for made in one.made if made.key]
        self.known = {row[0]: (row[1], row[2]) for row in gather(db, KNOWN, keys)}
        counts = [self._one(append) for append in appends]
        spread(db, EVENTS, self.events)
        spread(db, SEEN, list(self.seen.values()), SEEN_TWICE)
        spread(db, RAW, self.raws)
        spread(db, ASIDES, self.asides)
        spread(db, RECORDS, self.records)
        self._facts(appends)
        self._waiting()
        self.tx.landed.stored = len(self.events)
        return counts

    def _one(self, append: Append) -> Counts:
        tx = self.tx
        source = tx.log.scope("source", append.source)
        hour = append.received_ms // HOUR_MS
        tx.received_ms = max(tx.received_ms, append.received_ms)
        raw = tx.raw + 1 if append.raw else 0
        stored = sum(self._event(append, made, source, raw) for made in append.made)
        dead = sum(self._dead(append, one, source, hour) for one in append.dead)
        for one in append.filtered:
            self._aside(append, "filtered", one.why, one.kind, one.event, one.vehicle,
                        raw, one.part)  # fmt: skip
            tx.count(source, hour, one.kind, "filtered", why=one.why)
            tx.count(source, hour, one.kind, "made")
        if append.raw and (stored or dead or append.filtered):
            self._raw(append, source, raw)
        self._records(append, source, hour, dead)
        again = len(append.made) - stored + len(append.dead) - dead
        return Counts(stored, again, len(append.filtered), dead)

    def _event(self, append: Append, made: Made, source: int, raw: int) -> int:
        """Store one event, or count it a duplicate; 1 if it was stored."""
        tx, hour = self.tx, append.received_ms // HOUR_MS
        tx.count(source, hour, made.kind, "made")
        before = self.known.get(made.key) if made.key else None
        if made.key and before is None:
            revision = made.revision
            if revision is None:
                revision = append.received_ms if made.event.changes else 0
            self._store(append, made, made.event, made.body, revision, source, raw)
            return 1
        if before is not None and made.own & ~before[1]:
            return self._amend(append, made, before, source, raw)
        self._duplicate(append, made, raw, source, hour)
        return 0

    def _amend(
        self, append: Append, made: Made, before: tuple[int, int], source: int, raw: int
    ) -> int:
        """A later copy that fills a null: the merged event, as the next revision."""
        found = self._copy(before[0])
        if found is None:  # the first copy is gone: nothing to amend
            hour = append.received_ms // HOUR_MS
            self._duplicate(append, made, raw, source, hour)
            return 0
        event = merged(found[0], made.event)
        self._store(append, made, event, pack(event), found[1] + 1, source, raw)
        return 1

    def _copy(self, seq: int) -> tuple[AnyEvent, int] | None:
        for row in self.events:  # in this very commit
            if row[0] == seq:
                return unpack(row[11]), row[7]
        row = self.tx.db.execute(FIRST, (seq,)).get
        return (unpack(row[0]), row[1]) if row else None

    def _store(
        self,
        append: Append,
        made: Made,
        event: AnyEvent,
        body: bytes,
        revision: int,
        source: int,
        raw: int,
    ) -> None:
        tx = self.tx
        tx.seq += 1
        seq, received = tx.seq, append.received_ms
        self.events.append((
            seq, source, made.kind, made.lane, ORIGINS.index(append.origin), made.at_ms,
            received, revision, raw, made.part, zlib.crc32(body, seq & 0xFFFFFFFF), body,
        ))  # fmt: skip
        mask = filled(event)
        self.known[made.key] = (seq, mask)
        self.seen[made.key] = (made.key, seq, mask)
        self.routed.append((append.source, event, made.lane))
        tx.count(source, received // HOUR_MS, made.kind, "stored")
        if made.kind in CHANGED:
            self._stands(append.source, source, made, seq)

    def _stands(self, name: str, source: int, made: Made, seq: int) -> None:
        """This directory record is now the one that stands."""
        revision = made.revision
        self.records.append(
            (source, made.kind, made.event.id, made.content, revision, seq)
        )
        self.tx.landed.records.append(
            (name, made.kind, made.event.id, made.content, revision)
        )

    def _duplicate(
        self, append: Append, made: Made, raw: int, source: int, hour: int
    ) -> None:
        self.tx.count(source, hour, made.kind, "duplicate")
        vehicle = made.event.vehicle or ""
        self._aside(append, "duplicate", "", made.kind, made.event.id, vehicle, 0, 0)

    def _aside(
        self,
        append: Append,
        outcome: str,
        why: str,
        kind: int,
        event: str,
        vehicle: str,
        raw: int,
        part: int,
    ) -> None:
        source = self.tx.log.scope("source", append.source)
        hour = append.received_ms // HOUR_MS
        self.asides.append(
            (source, hour, outcome, why, kind, event, vehicle, raw, part)
        )

    def _dead(self, append: Append, one: Any, source: int, hour: int) -> int:
        """Bury a record that could not be read; the same bytes again are a duplicate."""
        new = self.tx.db.execute(
            DEAD,
            {
                "scope": source, "hour": hour, "at": append.received_ms,
                "feed": one.feed, "digest": one.digest, "why": one.why, "body": one.body,
            },
        ).get  # fmt: skip
        if new is None:
            self.tx.count(source, hour, 0, "normalized")
            self.tx.count(source, hour, 0, "made")
            self.tx.count(source, hour, 0, "duplicate")
            return 0
        self.tx.count(source, hour, 0, "dead")
        return 1

    def _raw(self, append: Append, source: int, number: int) -> None:
        raw = append.raw
        assert raw is not None
        self.tx.raw = number
        packed = len(raw.body) >= PACK_FROM
        self.raws.append((
            number, source, raw.feed, append.received_ms, raw.signed_ms, raw.verdict,
            raw.headers, int(packed), zlib.compress(raw.body, 1) if packed else raw.body,
        ))  # fmt: skip

    def _records(self, append: Append, source: int, hour: int, dead: int) -> None:
        tx = self.tx
        if append.retried:
            letter, hour = append.retried
            tx.db.execute(UNDEAD, (letter,))
            tx.count(source, hour, 0, "dead", -1)
        tx.count(source, hour, 0, "received", append.received)
        tx.count(source, hour, 0, "normalized", append.normalized)
        tx.count(source, hour, 0, "empty", append.empty)
        if append.bookmark:
            feed, value = append.bookmark
            now = append.received_ms
            row = {"source": source, "feed": feed, "value": value, "now": now}
            tx.count(source, hour, 0, "polled", append.received, why=feed)
            tx.db.execute(BOOKMARK, row)

    def _facts(self, appends: Sequence[Append]) -> None:
        rows = []
        for append in appends:
            source = self.tx.log.scope("source", append.source)
            for fact in append.facts:
                rows.append(
                    (source, fact.vehicle, fact.name, fact.at_ms, fact.value)
                )
                self.tx.landed.facts.append((append.source, fact))
        spread(self.tx.db, FACTS, rows)

    def _waiting(self) -> None:
        """Count what each sink takes of this commit, by groups where that suffices."""
        tx = self.tx
        groups = Counter((src, one.kind, lane) for src, one, lane in self.routed)
        for sink, taking in tx.log.takings.items():
            for (src, kind, lane), n in groups.items():
                if kind not in taking.kinds:
                    continue
                if taking.sources and src not in taking.sources:
                    continue
                if taking.vehicles:
                    n = sum(  # noqa: PLW2901
                        taking.takes(src, one)
                        for of, one, where in self.routed
                        if (of, one.kind, where) == (src, kind, lane)
                    )
                tx.landed.waiting[sink, lane] += n
        for (sink, lane), n in tx.landed.waiting.items():
            if n:
                tx.db.execute(WAITING, (n, tx.log.scope("sink", sink), lane))

