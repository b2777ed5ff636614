"""What else goes from the log with time: raw bytes, identities, attempts, old counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

import apsw
from msgspec import Struct

from fleetd.event import DAY_MS
from fleetd.store.counting import DAMAGE
from fleetd.store.log import DAMAGED, Tx
from fleetd.store.retention import ROWS

RAW_BYTES = 4 << 20
ASIDES_MOST = 1_000_000
ATTEMPTS_MOST = 500_000
FACTS_KEPT = 64  # of one name and vehicle: no more are held in memory either
DEAD_SHARE = 0.1  # of max_disk, that dead letters may keep

SEEN_EDGE = "SELECT key FROM seen WHERE key < ? ORDER BY key LIMIT 1 OFFSET ?"
SEEN_ANY = "SELECT 1 FROM seen WHERE key < ? LIMIT 1"
SEEN = "DELETE FROM seen WHERE key <= ?"
TOTALS_EDGE = "SELECT min(hour) FROM totals WHERE scope = ?"
TOTALS = "DELETE FROM totals WHERE scope = ? AND hour < ?"
FACTS_GONE = (
    "SELECT source, vehicle, name, at_ms FROM (SELECT source, vehicle, name, at_ms,"
    " lead(at_ms) OVER one AS later, row_number() OVER back AS n FROM facts WINDOW"
    " one AS (PARTITION BY source, vehicle, name ORDER BY at_ms),"
    " back AS (PARTITION BY source, vehicle, name ORDER BY at_ms DESC))"
    " WHERE later < ? OR n > ? LIMIT 20000"
)
FACT = "DELETE FROM facts WHERE source = ? AND vehicle = ? AND name = ? AND at_ms = ?"
JOBS = (  # never the newest: its number would be given again, and a replay is known by it
    "DELETE FROM jobs WHERE state IN ('done', 'cancelled', 'failed')"
    " AND changed_ms < ? AND id < (SELECT max(id) FROM jobs) RETURNING id"
)
DEAD_RECORDS = (
    "SELECT scope, sum(length(body) + length(answer) + 200) FROM dead"
    " WHERE seq IS NULL GROUP BY scope"
)
DEAD_EVENTS = (
    "SELECT scope, sum(length(answer) + 600) FROM dead"
    " WHERE seq IS NOT NULL GROUP BY scope"
)
# by table: the ids and ages at its old end, and the deletion up to an id
OLD_END = {
    "raw": "SELECT id, received_ms, length(body) FROM raw WHERE id > ? ORDER BY id LIMIT ?",
    "asides": "SELECT id, hour * 3600000, 0 FROM asides WHERE id > ? ORDER BY id LIMIT ?",
    "unverified": "SELECT id, received_ms, 0 FROM unverified WHERE id > ? ORDER BY id LIMIT ?",
    "attempts": "SELECT id, at_ms, 0 FROM attempts WHERE id > ? ORDER BY id LIMIT ?",
    "minutes": (
        "SELECT minute, minute * 60000, 0 FROM minutes WHERE minute > ?"
        " ORDER BY minute LIMIT ?"
    ),
}
UP_TO = {
    "raw": "DELETE FROM raw WHERE id > ? AND id <= ?",
    "asides": "DELETE FROM asides WHERE id > ? AND id <= ?",
    "unverified": "DELETE FROM unverified WHERE id > ? AND id <= ?",
    "attempts": "DELETE FROM attempts WHERE id > ? AND id <= ?",
    "minutes": "DELETE FROM minutes WHERE minute > ? AND minute <= ?",
}
EDGES = {
    "asides": ("SELECT min(id), max(id) FROM asides WHERE id > ?", ASIDES_MOST),
    "attempts": ("SELECT min(id), max(id) FROM attempts WHERE id > ?", ATTEMPTS_MOST),
}


class Trim(Struct, frozen=True):
    """Delete the old end of a table: after one id, up to another."""

    prunes: ClassVar[bool] = True
    table: str
    after: int
    upto: int

    def apply(self, tx: Tx) -> int:
        """How many went."""
        tx.db.execute(UP_TO[self.table], (self.after, self.upto))
        if self.table == "unverified":
            tx.log.apart.clear()
        return int(tx.db.changes())


def old_end(
    db: apsw.Connection, table: str, after: int, before_ms: int | None
) -> tuple[int, int]:
    """The last id of a short piece that is old enough (None: any age), and its rows.

    `DAMAGED` rows where nothing can be read: look again beyond that id.
    """
    upto, n, size = after, 0, 0
    try:
        for number, ms, length in db.execute(OLD_END[table], (after, ROWS)):
            if before_ms is not None and ms >= before_ms:
                break
            upto, n, size = number, n + 1, size + length
            if size > RAW_BYTES:
                break
    except DAMAGE:
        return (upto, n) if n else (after + ROWS, DAMAGED)
    return upto, n


def beyond_most(db: apsw.Connection, table: str, after: int) -> int:
    """The last id that goes because there are too many, a piece at a time; 0 for none."""
    query, most = EDGES[table]
    low, high = db.execute(query, (after,)).get
    if low is None or high - low < most:
        return 0
    return int(min(low + ROWS - 1, high - most))


class TrimSeen(Struct, frozen=True):
    """Forget identities of days that no repeat can come from any more."""

    prunes: ClassVar[bool] = True
    day: int

    def apply(self, tx: Tx) -> int:
        """How many went; 0 when none are left."""
        edge = max(0, min(self.day, 0xFFFF)).to_bytes(2, "big")
        key = tx.db.execute(SEEN_EDGE, (edge, ROWS - 1)).get
        if key is None and tx.db.execute(SEEN_ANY, (edge,)).get is None:
            return 0
        tx.db.execute(SEEN, (key or edge,))
        return int(tx.db.changes())


class TrimTotals(Struct, frozen=True):
    """Drop ledger hours that are older than it is kept; the sums stay."""

    prunes: ClassVar[bool] = True
    hour: int

    def apply(self, tx: Tx) -> int:
        """How many went; 0 when none are left."""
        for scope in (0, *tx.log.names.values()):
            first = tx.db.execute(TOTALS_EDGE, (scope,)).get
            if first is not None and first < self.hour:
                tx.db.execute(TOTALS, (scope, min(self.hour, first + 24)))
                return int(tx.db.changes())
        return 0


class TrimFacts(Struct, frozen=True):
    """Drop facts that nothing can ask for any more."""

    prunes: ClassVar[bool] = True
    keys: Sequence[tuple[int, str, str, int]]

    def apply(self, tx: Tx) -> int:
        """How many went."""
        tx.db.executemany(FACT, self.keys)
        return len(self.keys)


def old_facts(db: apsw.Connection, before_ms: int) -> list[tuple[int, str, str, int]]:
    """Facts that were followed by another before then, or by very many."""
    return list(db.execute(FACTS_GONE, (before_ms, FACTS_KEPT)))


class TrimJobs(Struct, frozen=True):
    """Drop jobs that ended before then."""

    prunes: ClassVar[bool] = True
    before_ms: int

    def apply(self, tx: Tx) -> list[int]:
        """Their ids."""
        return [number for (number,) in tx.db.execute(JOBS, (self.before_ms,))]


def dead_bytes(db: apsw.Connection) -> dict[int, int]:
    """What the dead letters of each source or sink keep, roughly, and can be read."""
    found: dict[int, int] = {}
    for query in (DEAD_RECORDS, DEAD_EVENTS):
        with suppress(*DAMAGE):
            found |= dict(db.execute(query))
    return found


def crowded(sizes: Mapping[int, int], max_disk: int) -> set[int]:
    """Those to hold so that the rest stays under its share: the greatest first."""
    over, held = sum(sizes.values()) - max_disk * DEAD_SHARE, set()
    for number, size in sorted(sizes.items(), key=lambda one: -one[1]):
        if over <= 0:
            break
        held.add(number)
        over -= size
    return held


def first_day(now_ms: int, window_s: float) -> int:
    """The first day whose identities are still needed."""
    return int((now_ms - window_s * 1000) // DAY_MS)
