"""The appends of one commit: what is new, what is a repeat, and their rows."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import apsw
from msgspec import MsgspecError
from msgspec.structs import replace

from fleetd.event import (
    DIRECTORY_KINDS,
    GONE,
    KINDS,
    ORIGINS,
    AnyEvent,
    Entry,
    Origin,
    day_of,
    dedupe_key,
    filled,
    merged,
    pack,
    tag_of_record,
    unpack,
)
from fleetd.store.moves import Append, Counts, DeadRecord, Made, Raw
from fleetd.store.routing import route
from fleetd.store.rows import gather, pour, spread
from fleetd.store.totals import HOUR_MS

if TYPE_CHECKING:
    from fleetd.store.log import Tx

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
RECORDS = "INSERT INTO records(source, kind, id, content, revision, seq)"
NEWER = (  # as the directory in memory decides: an older copy that comes late is none
    "ON CONFLICT DO UPDATE SET content = excluded.content, revision = excluded.revision,"
    " seq = excluded.seq WHERE coalesce(nullif(excluded.revision, 0), revision, 0)"
    " >= coalesce(revision, 0)"
)
DEAD = (
    "INSERT INTO dead(scope, hour, at_ms, kind, feed, digest, why, answer, body)"
    " VALUES (:scope, :hour, :at, 0, :feed, :digest, :why, x'', :body)"
    " ON CONFLICT DO NOTHING RETURNING id"
)
BOOKMARK = (
    "INSERT OR REPLACE INTO bookmarks(source, feed, value, success_ms)"
    " VALUES (:source, :feed, :value, :now)"
)
HEARD = (
    "INSERT OR REPLACE INTO kept(name, value)"
    " VALUES ('heard:' || ?, json_object('ms', ?))"
)
ORIGIN_CODES = {origin: code for code, origin in enumerate(ORIGINS)}
EVENT_WIDTH, SEEN_WIDTH = 12, 3  # columns
FIRST = "SELECT body, revision FROM events WHERE seq = ?"
STANDS = "SELECT content, revision, seq FROM records WHERE source = ? AND kind = ? AND id = ?"
SEEN_ONE = "SELECT seq, filled FROM seen WHERE key = ?"
UNDEAD = "DELETE FROM dead WHERE id = ?"
BULK = 512  # events of a commit from which their rows are written where it syncs
PACK_FROM = 4096  # bytes from which a body is worth compressing
CHANGED = frozenset(KINDS.index(kind) for kind in DIRECTORY_KINDS)


class Appends:
    """The appends of one commit, gathered into one statement a table."""

    def __init__(self, tx: Tx, appends: Sequence[Append]) -> None:
        self.tx = tx
        self.appends = [self._in_order(one) for one in appends]
        self.many = sum(len(one.made) for one in appends) >= BULK
        self.known: dict[bytes, tuple[int, int]] = {}  # as `seen`, from the disk
        self.events: list[Any] = []  # flat, as the statements want it
        self.seen: dict[bytes, tuple[int, int]] = {}  # key → seq, columns filled
        self.raws: list[tuple[tuple[Any, ...], Raw]] = []
        self.asides: list[tuple[Any, ...]] = []
        self.records: list[tuple[Any, ...]] = []
        self.standing: dict[tuple[int, int, str], tuple[str, int | None, int]] = {}
        self.heard: dict[int, int] = {}  # sources of which no bytes say when

    def look_up(self) -> None:
        """Find which keys are in the log already; may run beside the loop."""
        keys = [made.key for one in self.appends for made in one.made if made.key]
        rows = gather(self.tx.db, KNOWN, keys)
        self.known = {row[0]: (row[1], row[2]) for row in rows}

    def take(self) -> list[Counts]:
        """Decide what is new, write it, and answer the counts of each append.

        The rows of many events are left to `Tx.pour`, which may run beside the loop.
        """
        db = self.tx.db
        counts = [self._one(append) for append in self.appends]
        self.tx.pours += (self._pour_events, self._pour_seen, self._pour_raws)
        if not self.many:
            self.tx.pour()
        spread(db, ASIDES, self.asides)
        spread(db, RECORDS, self.records, NEWER)
        for source, received_ms in self.heard.items():
            db.execute(HEARD, (source, received_ms))
        self._facts(self.appends)
        route(self.tx)
        return counts

    def _pour_events(self) -> None:
        pour(self.tx.db, EVENTS, EVENT_WIDTH, self.events)

    def _pour_seen(self) -> None:
        flat = [one for key, row in self.seen.items() for one in (key, *row)]
        pour(self.tx.db, SEEN, SEEN_WIDTH, flat, SEEN_TWICE)

    def _pour_raws(self) -> None:
        spread(self.tx.db, RAW, [(*row, *packed(raw)) for row, raw in self.raws])

    def _in_order(self, append: Append) -> Append:
        """Arrival never goes backwards along the log: it is searched by halving."""
        tx = self.tx
        if append.received_ms < tx.received_ms:
            return replace(append, received_ms=tx.received_ms)
        tx.received_ms = append.received_ms
        return append

    def _one(self, append: Append) -> Counts:
        tx = self.tx
        source = tx.log.scope("source", append.source)
        hour = append.received_ms // HOUR_MS
        raw = tx.raw + 1 if append.raw else 0
        stored = self._events(append, source, hour, raw)
        came = append.retried[1] if append.retried else hour
        dead = sum(self._dead(append, one, source, came) for one in append.dead)
        for one in append.filtered:
            self._aside(append, "filtered", one.why, one.kind, one.event, one.vehicle,
                        raw, one.part)  # fmt: skip
            tx.count(source, hour, one.kind, "filtered", why=one.why)
            tx.count(source, hour, one.kind, "made")
        if append.raw and (stored or dead or append.filtered):
            self._raw(append, source, raw)
        elif not append.ours:
            self.heard[source] = append.received_ms
        self._records(append, source, hour)
        again = len(append.made) - stored + len(append.dead) - dead
        return Counts(stored, again, len(append.filtered), dead)

    def _events(self, append: Append, source: int, hour: int, raw: int) -> int:
        """Store what is new, count the rest as duplicates; how many were stored."""
        tx = self.tx
        first: int = tx.seq
        seen, known = self.seen, self.known
        stored: list[int] = []
        recovered = Counter[int]()
        for one in append.made:
            changes = one.kind in CHANGED
            made = self._beside(append, one, source) if changes else one
            key = made.key
            before = (seen.get(key) or known.get(key)) if key else None
            if before is None and key:
                revision = made.revision
                if revision is None:
                    revision = append.received_ms if made.event.changes else 0
                self._store(append, made, made.event, made.body, revision, source, raw)
                stored.append(made.kind)
                recovered[made.kind] += made.recovered
            elif (
                before
                and made.own & ~before[1]
                and self._amend(append, made, before, source, raw)
            ):
                stored.append(made.kind)
            else:
                self._duplicate(append, made, source, hour)
        for kind, n in Counter([one.kind for one in append.made]).items():
            tx.count(source, hour, kind, "made", n)
        for kind, n in Counter(stored).items():
            tx.count(source, hour, kind, "stored", n)
        for kind, n in recovered.items():
            tx.count(source, hour, kind, "recovered", n)
        return int(tx.seq) - first

    def _beside(self, append: Append, made: Made, source: int) -> Made:
        """A directory record keyed beside the one that stands now.

        Since it was read another may have come, in this very commit or the one before:
        what was no change then is one now, and the other way round.
        """
        stands = self._standing(source, made)
        if stands[0] == made.content:
            return replace(made, key=b"")
        dated = made.at_ms is not None and "clock_suspect" not in made.event.flags
        day = (made.at_ms if dated else append.received_ms) or 0
        back = stands[1] is None and stands[0].startswith(GONE)
        tag = tag_of_record(made.event, made.content, stands[2], back=back)
        key = dedupe_key(append.source, made.event, tag, day_of(day))
        if key not in self.known:
            for seq, mask in self.tx.db.execute(SEEN_ONE, (key,)):
                self.known[key] = (seq, mask)
        revision = None if back else made.revision  # newer than what said it was gone
        return replace(made, key=key, revision=revision)

    def _standing(self, source: int, made: Made) -> tuple[str, int | None, int]:
        """Content, revision and seq of the record that stands; seq 0 where none does."""
        at = (source, made.kind, made.event.id)
        found = self.standing.get(at) or self.tx.db.execute(STANDS, at).get
        return found or ("", None, 0)

    def _amend(
        self, append: Append, made: Made, before: tuple[int, int], source: int, raw: int
    ) -> bool:
        """A later copy that fills a null: the merged event, as the next revision.

        False where the first copy is gone: there is nothing to amend.
        """
        found = self._copy(before[0])
        if found is None:
            return False
        event = merged(found[0], made.event)
        self._store(append, made, event, pack(event), found[1] + 1, source, raw)
        return True

    def _copy(self, seq: int) -> tuple[AnyEvent, int] | None:
        if seq > self.tx.log.seq:  # in this very commit
            at = (seq - self.tx.log.seq - 1) * EVENT_WIDTH
            row = self.events[at : at + EVENT_WIDTH]
            return unpack(row[11]), row[7]
        try:
            row = self.tx.log.side.execute(FIRST, (seq,)).get
            return (unpack(row[0]), row[1]) if row else None
        except (apsw.CorruptError, MsgspecError):  # damaged: as if it were gone
            return None

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
        tx, kind, lane = self.tx, made.kind, made.lane
        seq = tx.seq = tx.seq + 1
        received = append.received_ms
        origin: Origin = "recovered" if made.recovered else append.origin
        self.events += (
            seq, source, kind, lane, ORIGIN_CODES[origin], made.at_ms, received,
            revision, raw, made.part, zlib.crc32(body, seq & 0xFFFFFFFF), body,
        )  # fmt: skip
        provider = tx.log.providers.get(append.source, "")
        entry = Entry(
            seq, append.source, provider, event, revision, received, origin, lane
        )  # fmt: skip
        tx.landed.entries.append((entry, len(body)))
        mask = made.filled if event is made.event else filled(event)
        self.seen[made.key] = (seq, mask)
        if kind in CHANGED:
            self._stands(append.source, source, made, seq)

    def _stands(self, name: str, source: int, made: Made, seq: int) -> None:
        """This directory record is now the one that stands."""
        revision = made.revision
        at = (source, made.kind, made.event.id)
        before = self._standing(source, made)
        if (revision or before[1] or 0) >= (before[1] or 0):  # as NEWER decides
            self.standing[at] = (made.content, revision, seq)
        self.records.append((*at, made.content, revision, seq))
        self.tx.landed.records.append(
            (name, made.kind, made.event.id, made.content, revision, seq)
        )

    def _duplicate(self, append: Append, made: Made, source: int, hour: int) -> None:
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

    def _dead(self, append: Append, one: DeadRecord, source: int, hour: int) -> int:
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
        self.raws.append((
            (number, source, raw.feed, append.received_ms, raw.signed_ms, raw.verdict,
             raw.headers), raw,
        ))  # fmt: skip

    def _records(self, append: Append, source: int, hour: int) -> None:
        tx = self.tx
        if append.retried:
            letter, hour = append.retried
            tx.db.execute(UNDEAD, (letter,))
            if tx.db.changes() == 0:
                return  # retried or dropped by another hand: counted there
            tx.count(source, hour, 0, "dead", -1)
        tx.count(source, hour, 0, "received", append.received)
        tx.count(source, hour, 0, "normalized", append.normalized)
        tx.count(source, hour, 0, "empty", append.empty)
        if append.bookmark:
            feed, value = append.bookmark
            now = append.received_ms
            row = {"source": source, "feed": feed, "value": value, "now": now}
            of = feed.partition("/")[0]  # a vehicle's bookmark is its feed's
            if append.raw and of.startswith("job:"):
                of = append.raw.feed
            tx.count(source, hour, 0, "polled", append.received, why=of)
            tx.db.execute(BOOKMARK, row)
            tx.landed.bookmarks[append.source, feed] = value

    def _facts(self, appends: Sequence[Append]) -> None:
        rows = []
        for append in appends:
            source = self.tx.log.scope("source", append.source)
            for fact in append.facts:
                rows.append((source, fact.vehicle, fact.name, fact.at_ms, fact.value))
                self.tx.landed.facts.append((append.source, fact))
        spread(self.tx.db, FACTS, rows)


def packed(raw: Raw) -> tuple[int, bytes]:
    """Whether a body is kept as zlib, and how it is kept."""
    if raw.packed or len(raw.body) < PACK_FROM:
        return int(raw.packed), raw.body
    return 1, zlib.compress(raw.body, 1)
