"""The log: what a group commit does, from the writes that joined it to the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import apsw
import msgspec

from fleetd.errors import FleetdError, FullError, StoreError
from fleetd.store.appends import Appends
from fleetd.store.files import Reservation, Space
from fleetd.store.moves import Append, Fact
from fleetd.store.totals import Deltas, add
from fleetd.store.writer import Steps
from fleetd.taking import Taking

EDGE = (
    "UPDATE log SET newest_seq = ?, newest_raw = ?, received_ms = max(received_ms, ?)"
)


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
        self.full = (
            f"the disk is full ({why}); free some space, fleetd goes on by itself"
        )
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
            taken = Appends(tx).take([writes[n] for n in appends])
            for n, counts in zip(appends, taken, strict=True):
                results[n] = counts
        for n, one in enumerate(writes):
            if not isinstance(one, Append):
                try:
                    results[n] = one.apply(tx)
                except FleetdError as refused:  # says no before it changes a row
                    results[n] = refused
