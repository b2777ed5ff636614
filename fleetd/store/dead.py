"""Dead letters of both sides and unverified bodies: listed, dropped, sent again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from fleetd.errors import UsageError
from fleetd.event import Entry
from fleetd.store.log import Tx
from fleetd.store.moves import Burial

COLUMNS = (
    "d.id, n.side, n.name, d.scope, d.hour, d.at_ms, d.seq, d.kind, d.feed, d.why,"
    " d.status, d.answer, length(d.body)"
)
FROM = "FROM dead d JOIN names n ON n.id = d.scope"
LIST = f"SELECT {COLUMNS} {FROM} WHERE d.id > ? ORDER BY d.id LIMIT ?"
LIST_OF = f"SELECT {COLUMNS} {FROM} WHERE n.name = ? AND d.id > ? ORDER BY d.id LIMIT ?"
OF_EVENT = f"SELECT {COLUMNS} {FROM} WHERE d.seq = ?"
ONE = f"SELECT {COLUMNS}, d.body {FROM} WHERE d.id = ?"
DELETE = "DELETE FROM dead WHERE id = ? RETURNING scope, hour, kind"
AGAIN = "UPDATE dead SET why = ?, at_ms = ? WHERE id = ?"
UNVERIFIED = (
    "SELECT u.id, n.name, u.received_ms, u.peer, u.why, u.headers, u.body"
    " FROM unverified u JOIN names n ON n.id = u.source"
    " WHERE n.name = ? AND u.id > ? ORDER BY u.id LIMIT ?"
)
COUNTS = (
    "SELECT n.name, count(*), sum(length(u.body)) FROM unverified u"
    " JOIN names n ON n.id = u.source GROUP BY 1"
)
ANY = "SELECT 1 FROM dead WHERE scope = ? AND seq IS NOT NULL LIMIT 1"
LEAVE = "DELETE FROM dead WHERE scope = ? AND seq = ? RETURNING scope, hour, kind"
STILL = (
    "UPDATE dead SET why = :why, status = :status, answer = :answer, at_ms = :now"
    " WHERE scope = :sink AND seq = :seq"
)
ANSWER_BYTES = 2048
FORGET = "DELETE FROM unverified WHERE id = ?"


def crowded(name: str) -> str:
    """What to say of a source or sink whose dead letters are at their limit."""
    return (
        "its dead letters fill a tenth of max_disk, and their bytes are kept until they "
        f"are retried or dropped: fleetd dead list {name}"
    )


class Letter(Struct, frozen=True):
    """A record that could not be read, or an event that its sink will never take."""

    id: int
    side: str
    name: str
    scope: int
    hour: int
    at_ms: int
    seq: int | None
    kind: int
    feed: str
    why: str
    status: int | None
    answer: bytes
    size: int
    body: bytes = b""


class Doubted(Struct, frozen=True):
    """A body whose signature fitted no secret when it came."""

    id: int
    source: str
    received_ms: int
    peer: str
    why: str
    headers: dict[str, str]
    body: bytes


def listed(db: apsw.Connection, name: str, after: int, limit: int) -> list[Letter]:
    """Dead letters, oldest first, of one source or sink or of all."""
    if name:
        return [Letter(*row) for row in db.execute(LIST_OF, (name, after, limit))]
    return [Letter(*row) for row in db.execute(LIST, (after, limit))]


def of_event(db: apsw.Connection, seq: int) -> list[Letter]:
    """The sinks that will never take this event."""
    return [Letter(*row) for row in db.execute(OF_EVENT, (seq,))]


def one(db: apsw.Connection, number: int) -> Letter:
    """One dead letter with its bytes, or `UsageError`."""
    row = db.execute(ONE, (number,)).get
    if row is None:
        raise UsageError(f"there is no dead letter {number}; `fleetd dead` lists them")
    return Letter(*row)


def unverified(
    db: apsw.Connection, source: str, after: int, limit: int
) -> Iterator[Doubted]:
    """Bodies of a source that are kept as unverified, oldest first."""
    for row in db.execute(UNVERIFIED, (source, after, limit)):
        number, name, received, peer, why, headers, body = row
        yield Doubted(
            number, name, received, peer, why, msgspec.json.decode(headers), body
        )


def unverified_counts(db: apsw.Connection) -> dict[str, dict[str, int]]:
    """How many such bodies each source has, and their bytes."""
    return {
        name: {"count": count, "bytes": size}
        for name, count, size in db.execute(COUNTS)
    }


class Drop(Struct, frozen=True):
    """Give dead letters up: counted `dropped` in the hours they came."""

    ids: Sequence[int]

    def apply(self, tx: Tx) -> int:
        """How many there were."""
        dropped = 0
        for number in self.ids:
            row: Any = tx.db.execute(DELETE, (number,)).get
            if row is not None:
                moved(tx, row, "dropped")
                dropped += 1
        return dropped


class Again(Struct, frozen=True):
    """A dead letter that still cannot be read, and why now."""

    id: int
    why: str
    now_ms: int

    def apply(self, tx: Tx) -> None:
        tx.db.execute(AGAIN, (self.why, self.now_ms, self.id))


class Forget(Struct, frozen=True):
    """Unverified bodies that were taken in or are of no use."""

    ids: Sequence[int]

    def apply(self, tx: Tx) -> None:
        for number in self.ids:
            tx.db.execute(FORGET, (number,))
        tx.log.apart.clear()  # how much is kept is counted anew


class Settled(Struct, frozen=True):
    """What a replay did to dead letters of its sink: delivered ones leave them."""

    sink: str
    delivered: Sequence[Entry]
    skipped: Sequence[tuple[Entry, str]]
    buried: Sequence[Burial]
    now_ms: int

    def apply(self, tx: Tx) -> None:
        sink = tx.log.scope("sink", self.sink)
        if tx.db.execute(ANY, (sink,)).get is None:
            return
        for entry in self.delivered:
            self._leave(tx, sink, entry, "delivered")
        for entry, why in self.skipped:
            self._leave(tx, sink, entry, "skipped", why)
        for one in self.buried:
            tx.db.execute(STILL, {
                "why": one.reason, "status": one.status, "now": self.now_ms,
                "answer": one.answer[:ANSWER_BYTES], "sink": sink, "seq": one.entry.seq,
            })  # fmt: skip

    def _leave(
        self, tx: Tx, sink: int, entry: Entry, outcome: str, why: str = ""
    ) -> None:
        row: Any = tx.db.execute(LEAVE, (sink, entry.seq)).get
        if row is not None:
            moved(tx, row, outcome, why)


def moved(tx: Tx, row: Sequence[int], outcome: str, why: str = "") -> None:
    """Move one from `dead` to another outcome, in the hour it was counted in."""
    scope, hour, kind = row
    tx.count(scope, hour, kind, "dead", -1)
    tx.count(scope, hour, kind, outcome, why=why)
