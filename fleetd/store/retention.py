"""Which events go from the log: chosen in a reader's thread, deleted in short commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar

import apsw
import msgspec
from msgspec import Struct

from fleetd.event import SAFETY, unpack
from fleetd.store.counting import DAMAGE, located
from fleetd.store.log import Tx
from fleetd.store.totals import HOUR_MS
from fleetd.taking import Taking

ROWS = 400  # that one commit deletes: it is done between two requests
PAGES = 128  # that one commit gives back to the filesystem

OLDEST = (
    "SELECT seq, received_ms, kind, source, lane, body FROM events"
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)
OF_KIND = (
    "SELECT seq, received_ms, kind, source, lane, body FROM events"
    " WHERE kind = ? AND seq > ? ORDER BY seq LIMIT ?"
)
LETTERS = "SELECT DISTINCT seq FROM dead WHERE scope = ? AND seq >= ? AND seq <= ?"
EXPUNGE = "DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?))"


VACUUM = f"PRAGMA incremental_vacuum({PAGES})"


class Use(Struct, frozen=True):
    """Bytes of the log: in use, free inside its file, and that the law allows."""

    used: int
    free: int
    max_disk: int

    @property
    def share(self) -> float:
        return self.used / self.max_disk


def use_of(db: apsw.Connection, wal: int, max_disk: int) -> Use:
    """Pages used and the write-ahead log; costs two looks at the header."""
    page, pages = db.pragma("page_size"), db.pragma("page_count")
    free = db.pragma("freelist_count")
    return Use((pages - free) * page + wal, free * page, max_disk)


class Pin(Struct, frozen=True):
    """What waits for a sink (or a replay of it): nothing of that goes before `edge_ms`.

    `cursors` are those of the two lanes. What arrived before the edge has been held for
    too long: it no longer stands in the way, and is lost to the sink when it goes.
    """

    sink: str
    taking: Taking
    cursors: tuple[int, int]
    edge_ms: int
    upto: int = 1 << 62
    replay: bool = False

    def waits(self, seq: int, lane: int, source: str, body: bytes) -> bool:
        """Whether this event waits for the sink."""
        if not self.cursors[lane] < seq <= self.upto:
            return False
        return _takes(self.taking, source, body)


class Victim(Struct, frozen=True):
    """An event that goes; `missed` are the absent sinks that would have taken it."""

    seq: int
    lane: int
    hour: int
    kind: int
    missed: frozenset[str] = frozenset()


class Choice(Struct, frozen=True):
    """What a look at a stretch came to.

    `lost` is, by sink and lane, the last event that a sink has held for too long: it is
    to be skipped that far before the victims go. `last` is where to look next.
    """

    victims: tuple[Victim, ...]
    lost: Mapping[tuple[str, int], int]
    last: int
    more: bool
    routed: int


class Chooser:
    """Looks at the old end of the log for what may go."""

    def __init__(
        self, db: apsw.Connection, names: Mapping[int, str], pins: Sequence[Pin],
        absent: Mapping[str, Taking], letters: Sequence[int], routed: int,
        stuck: AbstractSet[int] = frozenset(),
    ) -> None:  # fmt: skip
        self._db = db
        self._names = names
        self._pins = [(one, one.taking.codes) for one in pins if one.taking.kinds]
        self._absent = absent
        self._letters = letters  # numbers of the sinks
        self._routed = routed
        self._stuck = stuck
        self._hurt = False

    def oldest(self, after: int) -> Choice:
        """Of everything, in the order of the log: for a disk that fills up."""
        return self._choose(self._rows(OLDEST, (after, ROWS)), after, None)

    def of_kind(self, kind: int, after: int, before_ms: int) -> Choice:
        """Of one kind, what arrived before."""
        rows = self._rows(OF_KIND, (kind, after, ROWS))
        return self._choose(rows, after, before_ms)

    def _rows(self, query: str, values: tuple[int, ...]) -> list[Any]:
        self._hurt = False
        try:
            return list(self._db.execute(query, values))
        except DAMAGE:  # what cannot be read cannot be deleted either: it stays
            self._hurt = True
            *only, after, limit = values
            found = [
                (seq, ms, kind, source, lane, body)
                for lane in (0, SAFETY)
                for seq, ms, kind, source, body in located(
                    self._db, after, after + limit, lane
                )
                if body and kind in (only or (kind,))
            ]
            return [*sorted(found), (after + limit, 0, 0, 0, 0, b"")]

    def _choose(self, rows: Sequence[Any], after: int, before_ms: int | None) -> Choice:
        victims: list[Victim] = []
        lost: dict[tuple[str, int], int] = {}
        kept = self._kept(rows)
        last = after
        for seq, ms, kind, source, lane, body in rows:
            if before_ms is not None and ms >= before_ms:
                return Choice(tuple(victims), lost, last, False, self._routed)
            last = seq
            if not body or seq in kept or seq in self._stuck:
                continue
            late = self._waiting(seq, ms, kind, lane, self._names.get(source, ""), body)
            if late is None:
                continue
            lost.update({(sink, lane): seq for sink in late})
            victims.append(
                Victim(seq, lane, ms // HOUR_MS, kind, self._missed(kind, source, body))
            )
        more = self._hurt or len(rows) >= ROWS
        return Choice(tuple(victims), lost, last, more, self._routed)

    def _kept(self, rows: Sequence[Any]) -> set[int]:
        """Those that a dead letter needs: it keeps its bytes until retried or dropped."""
        if not rows:
            return set()
        edges = (rows[0][0], rows[-1][0])
        return {
            seq
            for number in self._letters
            for (seq,) in self._db.execute(LETTERS, (number, *edges))
        }

    def _waiting(
        self, seq: int, ms: int, kind: int, lane: int, source: str, body: bytes
    ) -> list[str] | None:
        """The sinks that have held it for too long, or None where one may hold it."""
        late: list[str] = []
        for pin, codes in self._pins:
            if kind in codes and pin.waits(seq, lane, source, body):
                if ms >= pin.edge_ms:
                    return None
                if not pin.replay:
                    late.append(pin.sink)
        return late

    def _missed(self, kind: int, source: int, body: bytes) -> frozenset[str]:
        name = self._names.get(source, "")
        return frozenset(
            sink
            for sink, taking in self._absent.items()
            if kind in taking.codes and _takes(taking, name, body)
        )


def _takes(taking: Taking, source: str, body: bytes) -> bool:
    """Kinds are compared by the caller; the event is only read where globs ask for it."""
    if taking.sources and source not in taking.sources:
        return False
    if not taking.vehicles and taking.within is None:
        return True
    try:
        return taking.takes(source, unpack(body))
    except msgspec.MsgspecError:
        return False


class Expunge(Struct, frozen=True):
    """Delete events that nobody waits for; what no cursor has passed is counted here.

    `routed` is of the choice: if sinks have changed since, nothing is done.
    """

    victims: Sequence[Victim]
    routed: int

    prunes: ClassVar[bool] = True

    def apply(self, tx: Tx) -> int:
        """How many went."""
        if self.routed != tx.log.routed:
            return 0
        seqs = msgspec.json.encode([one.seq for one in self.victims]).decode()
        tx.db.execute(EXPUNGE, (seqs,))
        last = max((one.seq for one in self.victims), default=0)
        tx.landed.pruned = max(tx.landed.pruned, last)
        for sink in (*tx.log.takings, *tx.log.absent):
            self._count(tx, sink)
        return len(self.victims)

    def _count(self, tx: Tx, sink: str) -> None:
        number = tx.log.scope("sink", sink)
        cursors = [(tx.place(sink, lane) or (1 << 62, 0))[0] for lane in (0, SAFETY)]
        for one in self.victims:
            if one.seq > cursors[one.lane]:
                if sink in one.missed:
                    tx.count(number, one.hour, one.kind, "skipped", why="expired")
                else:
                    tx.count(number, one.hour, one.kind, "not_taken")


class Vacuum(Struct, frozen=True):
    """Give free pages at the end of the file back to the filesystem, a few at a time."""

    prunes: ClassVar[bool] = True

    def apply(self, tx: Tx) -> int:
        list(tx.db.execute(VACUUM))
        return 0


class Shut(Struct, frozen=True):
    """Take nothing more in, and say why; an empty word opens again."""

    why: str

    def apply(self, tx: Tx) -> None:
        tx.after(lambda: setattr(tx.log, "full", self.why))
