"""The log: what a group commit does, from the writes that joined it to the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import apsw
import msgspec

from fleetd.errors import FleetdError, FullError, PayloadError, StoreError
from fleetd.event import Entry
from fleetd.store.appends import Appends
from fleetd.store.counting import DAMAGE, count_waiting
from fleetd.store.files import Reservation, Space, connect
from fleetd.store.moves import Append, Fact, Job
from fleetd.store.rows import spread
from fleetd.store.totals import Deltas, add
from fleetd.store.writer import Aloft, Steps
from fleetd.taking import Taking

EDGE = (
    "UPDATE log SET newest_seq = ?, newest_raw = ?, received_ms = max(received_ms, ?)"
)
PLACES = "INSERT INTO cursors(sink, lane, seq, waiting, taking)"
MOVED = "ON CONFLICT DO UPDATE SET seq = excluded.seq, waiting = excluded.waiting"
STOOD = (
    "SELECT name, lane, seq, waiting, taking FROM cursors"
    " JOIN names ON names.id = cursors.sink"
)
Doing: TypeAlias = "Generator[Aloft, Exception | None, None]"
DAMAGED = -1  # what pruning answers where a page cannot be changed
UNFIT = (
    ArithmeticError, LookupError, TypeError, ValueError, apsw.ConstraintError,
    apsw.MismatchError, apsw.TooBigError,
)  # fmt: skip


class Write(Protocol):
    """A write other than an append: does its part of the transaction."""

    def apply(self, tx: Tx) -> Any:
        """Change the rows; answer the caller's result."""


class Landed(msgspec.Struct):
    """What a commit changed, told once it is on the disk and in the order of commits.

    `places` are where sinks stand now: (sink, lane) → (seq, waiting). `entries` are what
    was stored, each with the size of its body.
    """

    newest: int = 0
    entries: list[tuple[Entry, int]] = []
    facts: list[tuple[str, Fact]] = []
    records: list[tuple[str, int, str, str, int | None, int]] = []
    places: dict[tuple[str, int], tuple[int, int]] = {}
    jobs: list[Job] = []
    kept: dict[str, dict[str, Any] | None] = {}
    bookmarks: dict[tuple[str, str], str | None] = {}
    pruned: int = 0  # the last event that went
    calls: list[Callable[[], None]] = []


class Tx:
    """One group commit on its way to the disk."""

    def __init__(self, log: Log) -> None:
        self.db = log.db
        self.log = log
        self.deltas: Deltas = Counter()
        self.seq = log.seq
        self.raw = log.raw
        self.received_ms = log.received_ms
        self.landed = Landed()
        self.pours: list[
            Callable[[], None]
        ] = []  # rows of events, decided, not written

    def pour(self) -> None:
        """Write the rows that were decided: for whoever looks at them in here."""
        pours, self.pours = self.pours, []
        for write in pours:
            write()

    def sync(self) -> None:
        """Put it on the disk.

        With it go the rows of many events: big statements run beside the loop, where
        SQLite lets go of the interpreter's lock, while small ones would fight for it.
        """
        self.pour()
        self.db.execute("COMMIT")

    def count(
        self, scope: int, hour: int, kind: int, outcome: str, n: int = 1, why: str = ""
    ) -> None:
        """Add to the ledger, in this transaction."""
        if n:
            self.deltas[scope, hour, kind, outcome, why] += n

    def after(self, call: Callable[[], None]) -> None:
        """Run `call` once this commit is on the disk, before the next one begins."""
        self.landed.calls.append(call)

    def place(self, sink: str, lane: int) -> tuple[int, int] | None:
        """Where a sink stands at this point of the commit: (seq, waiting)."""
        key = (sink, lane)
        return self.landed.places.get(key) or self.log.places.get(key)

    def put(self, sink: str, lane: int, seq: int, waiting: int) -> None:
        """Let a sink stand there when this commit ends."""
        self.landed.places[sink, lane] = (seq, waiting)

    def waiting(self, after: int, upto: int, lane: int, taking: Taking) -> int:
        """How many events a sink takes in (after, upto], with those of this commit."""
        log, edge = self.log, self.log.seq
        old = count_waiting(log.side, after, min(upto, edge), lane, taking, log.names)
        new = count_waiting(self.db, max(after, edge), upto, lane, taking, log.names)
        return old + new

    def end(self) -> None:
        """Write what was gathered while the writes were applied."""
        rows = [
            (self.log.scope("sink", sink), lane, seq, waiting, "")
            for (sink, lane), (seq, waiting) in self.landed.places.items()
        ]
        spread(self.db, PLACES, rows, MOVED)
        self.log.reservation.cover(self.seq)
        self.db.execute(EDGE, (self.seq, self.raw, self.received_ms))
        add(self.db, self.deltas)


class Log:
    """The writer's side of the log; everything here runs inside a group commit."""

    def __init__(
        self, db: apsw.Connection, space: Space, reservation: Reservation
    ) -> None:
        self.db = db
        self.space = space
        self.reservation = reservation
        self.id, self.seq, self.raw, self.received_ms = db.execute(
            "SELECT id, newest_seq, newest_raw, received_ms FROM log"
        ).get
        self.names: dict[tuple[str, str], int] = {
            (side, name): number
            for number, side, name in db.execute("SELECT id, side, name FROM names")
        }
        self.places: dict[tuple[str, int], tuple[int, int]] = {}
        for name, lane, seq, waiting, words in db.execute(STOOD):
            msgspec.json.decode(words or "[]")  # what is damaged is known at once
            self.places[name, lane] = (seq, waiting)
        self.providers: dict[str, str] = {}
        self.takings: dict[str, Taking] = {}
        self.absent: dict[str, Taking] = {}  # of sinks that are not in the file now
        self.routed = 0  # how often sinks changed
        self.apart: dict[int, int] = {}  # source → bytes of its unverified bodies
        self.full = ""
        self.broken = ""
        self.publish: Callable[[Landed], None] = lambda _landed: None
        self._side: apsw.Connection | None = None
        self._wal_pages = self._folded = 0
        self._page_bytes: int = db.pragma("page_size")
        db.pragma("journal_size_limit", space.wal_cap)
        db.set_wal_hook(self._grew)

    @property
    def side(self) -> apsw.Connection:
        """Reads what is on the disk, beside the transaction.

        Damage met by a read inside a transaction would spoil all of it.
        """
        if self._side is None:
            self._side = connect(Path(self.db.filename), write=False)
        return self._side

    def close(self) -> None:
        """Let go of the file; SQLite folds the write-ahead log in."""
        if self._side is not None:
            self._side.close()
        try:
            self.db.close()
        except apsw.Error as bad:
            self._broke(bad, 0)

    def scope(self, side: str, name: str) -> int:
        """The number of a source or sink that was registered."""
        return self.names[side, name]

    def route(self, takings: dict[str, Taking], absent: dict[str, Taking]) -> None:
        """Count what is stored from now on for these sinks."""
        self.takings, self.absent = takings, absent
        self.routed += 1

    def know(self, names: dict[tuple[str, str], int]) -> None:
        """The numbers of all sources and sinks; readers may be looking at the old ones."""
        self.names = names

    def rename(self, before: str, name: str) -> None:
        """A sink goes on where it stood under its old name."""
        for key in [key for key in self.places if key[0] == before]:
            self.places[name, key[1]] = self.places.pop(key)

    def forget(self, sink: str) -> None:
        """This sink stands nowhere any more."""
        self.absent.pop(sink, None)
        self.routed += 1
        for key in [key for key in self.places if key[0] == sink]:
            del self.places[key]

    def commit(self, writes: Sequence[Any]) -> Steps:
        """One transaction for all of them; yields where it is to be synced."""
        if self.broken:
            return [StoreError(self.broken)] * len(writes)
        if self.full:
            return (yield from self._without_growth(writes))
        try:
            return (yield from self._transaction(writes))
        except (apsw.FullError, FullError) as bad:
            self._filled_up(str(bad))
            return (yield from self._without_growth(writes))
        except UNFIT as bad:
            return (yield from self._singly(writes, bad))
        except (apsw.Error, StoreError) as bad:
            return (yield from self._failed(writes, bad))

    def _failed(self, writes: Sequence[Any], bad: Exception) -> Steps:
        """Damage is the affair of writes that reckon with it; else the log is done for."""
        if isinstance(bad, DAMAGE) and any(map(prunes, writes)):
            return (yield from self._singly(writes, bad))
        return self._broke(bad, len(writes))

    def _singly(self, writes: Sequence[Any], bad: Exception) -> Steps:
        """A write that no row can hold is refused alone; the others go on."""
        if len(writes) == 1:
            if isinstance(bad, DAMAGE):
                return [DAMAGED]
            why = f"the log cannot hold it: {type(bad).__name__}: {bad}"
            refused = PayloadError(why)
            refused.__cause__ = bad
            return [refused]
        results: list[Any] = []
        for one in writes:
            results += yield from self.commit([one])
        return results

    def _grew(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        """Called by each commit; in place of SQLite's own checkpoints."""
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def fold(self) -> Callable[[], None] | None:
        """Folding the write-ahead log into the file, when there is enough of it.

        SQLite would do so inside a commit, while everybody in it waits, and keep the
        faults to itself. What a reader still looks at stays for the next time.
        """
        self._folded = min(self._folded, self._wal_pages)
        fresh = (self._wal_pages - self._folded) * self._page_bytes
        return None if self.broken or fresh < self.space.wal_cap // 4 else self._fold

    def _fold(self) -> None:
        try:
            self.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._folded = self._wal_pages
        except apsw.FullError as bad:
            self._filled_up(str(bad))
        except apsw.BusyError:
            return
        except apsw.Error as bad:
            self._broke(bad, 0)

    def _without_growth(self, writes: Sequence[Any]) -> Steps:
        """Cursors still commit on a full disk; nothing new is taken in."""
        refused = FullError(self.full)
        rest = [one for one in writes if not grows(one)]
        try:
            results = (yield from self._transaction(rest)) if rest else []
        except (apsw.FullError, FullError) as bad:
            return [FullError(str(bad))] * len(writes)
        except UNFIT as bad:
            return (yield from self._singly(writes, bad))
        except (apsw.Error, StoreError) as bad:
            return (yield from self._failed(writes, bad))
        found = iter(results)
        return [refused if grows(one) else next(found) for one in writes]

    def _filled_up(self, why: str) -> None:
        self.full = (
            f"the disk is full ({why}); free some space, fleetd goes on by itself"
        )
        self.space.drop_ballast()

    def _broke(self, bad: Exception, n: int) -> list[Any]:
        self.broken = f"the log cannot be written: {type(bad).__name__}: {bad}"
        self.db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # no sync twice
        return [StoreError(self.broken)] * n

    def _transaction(self, writes: Sequence[Any]) -> Steps:
        tx = Tx(self)
        results: list[Any] = [None] * len(writes)
        done = False
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield from self._apply(tx, writes, results)
            tx.end()
            yield from _told(tx.sync)
            done = True
        finally:
            if not done:
                self.apart.clear()
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
        self._take_up(tx)
        return results

    def _take_up(self, tx: Tx) -> None:
        """What is on the disk now is so in memory as well."""
        self.seq, self.raw, self.received_ms = tx.seq, tx.raw, tx.received_ms
        self.places.update(tx.landed.places)
        for call in tx.landed.calls:
            call()
        tx.landed.newest = tx.seq
        self.publish(tx.landed)

    def _apply(self, tx: Tx, writes: Sequence[Any], results: list[Any]) -> Doing:
        appends = [n for n, one in enumerate(writes) if isinstance(one, Append)]
        if appends:
            gathered = Appends(tx, [writes[n] for n in appends])
            if gathered.many:
                yield from _told(gathered.look_up)
            else:
                gathered.look_up()
            taken = gathered.take()
            for n, counts in zip(appends, taken, strict=True):
                results[n] = counts
        others = [n for n, one in enumerate(writes) if not isinstance(one, Append)]
        for n in sorted(others, key=lambda n: prunes(writes[n])):
            one = writes[n]
            if not getattr(one, "blind", False):
                tx.pour()
            try:
                results[n] = one.apply(tx)
            except FleetdError as refused:  # says no before it changes a row
                results[n] = refused


def _told(work: Callable[[], None]) -> Doing:
    """Have it done where the disk is waited for, and raise here what it raised there."""

    def aloft() -> Exception | None:
        try:
            work()
        except (apsw.Error, *UNFIT) as bad:
            return bad
        return None

    fault = yield aloft
    if fault is not None:
        raise fault


def grows(write: Any) -> bool:
    """Whether a write brings bytes from outside, which a full disk cannot take."""
    return isinstance(write, Append) or getattr(write, "grows", False)


def prunes(write: Any) -> bool:
    """Whether a write deletes what is old: it goes last, and expects damaged pages."""
    return bool(getattr(write, "prunes", False))
