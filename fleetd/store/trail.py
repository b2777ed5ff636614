"""One vehicle's trail through the log: its events, what was filtered, its dead letters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from math import asin, cos, radians, sin, sqrt
from statistics import median

import apsw
from msgspec import Struct

from fleetd.event import CODES, COLUMNS, Entry, Position, pack, row_of
from fleetd.store import stats
from fleetd.store.dead import COLUMNS as LETTER
from fleetd.store.dead import FROM, Letter
from fleetd.store.look import COLUMNS as ROW
from fleetd.store.look import ONE, entry_of, source_names
from fleetd.store.totals import HOUR_MS

MOST = 1_000_000  # rows of the log that one question goes through
KEPT = 20_000  # events of one vehicle that are looked at
EARTH_MILES = 3958.8
FASTEST_MPH = 120.0  # between two fixes: no truck was there and here
# An event holds the id packed as `pack` does it: most rows are passed over unread.
EVENTS = (
    f"SELECT {ROW} FROM events WHERE seq > ? AND source = ?"
    " AND instr(body, ?) > 0 ORDER BY seq"
)
FIXES = (
    f"SELECT {ROW} FROM events WHERE seq <= ? AND seq > ? AND kind = ? AND source = ?"
    " AND instr(body, ?) > 0 ORDER BY seq DESC"
)
FILTERED = (
    "SELECT outcome, why, count(*) FROM asides WHERE hour >= ? AND source = ?"
    " AND vehicle = ? GROUP BY 1, 2"
)
DEAD_RECORDS = (
    f"SELECT {LETTER}, d.body {FROM} WHERE d.hour >= ? AND d.scope = ?"
    " AND d.seq IS NULL AND instr(d.body, CAST(? AS BLOB)) > 0 ORDER BY d.id"
)
DEAD_EVENTS = (
    f"SELECT {LETTER} {FROM} JOIN events e ON e.seq = d.seq WHERE d.hour >= ?"
    " AND e.source = ? AND instr(e.body, ?) > 0 ORDER BY d.id"
)
SPOKE = (
    f"SELECT {ROW} FROM events WHERE seq > ? AND instr(body, ?) > 0 ORDER BY seq DESC"
)
COUNTED_OUT = "SELECT DISTINCT source FROM asides WHERE vehicle = ?"
LATEST, MOST_DEAD = 50, 100  # fixes that came last, dead letters


class Quality(Struct, frozen=True):
    """How good a vehicle's fixes are: shares from 0 to 1, seconds, counts.

    `filled` is the share of the 14 columns that say something, `jumps` are pairs of
    fixes that no truck can drive, `usual_gap_s` the middle one between two fixes.
    """

    fixes: int = 0
    filled: float | None = None
    no_fix: float | None = None
    jumps: int = 0
    usual_gap_s: float | None = None
    longest_gap_s: float | None = None


class Trail(Struct, frozen=True):
    """What the log holds of one vehicle since a moment.

    `whole` is False where there is more of that than one question looks through, `all`
    where the last fix may lie further back than it was sought.
    """

    entries: tuple[Entry, ...]
    last_fix: Entry | None
    out: dict[str, int]  # filtered by reason, and `duplicate`
    dead: tuple[Letter, ...]
    whole: bool
    all: bool = True


def trail(
    db: apsw.Connection, source: str, vehicle: str, since_ms: int, most: int = MOST
) -> Trail:
    """Look once through the log since then; the last fix is sought further back."""
    names = source_names(db)
    number = next((n for n, (name, _) in names.items() if name == source), 0)
    newest = int(db.execute("SELECT newest_seq FROM log").get)
    edge, begins = newest - most, stats.seq_at(db, since_ms) - 1
    rows = db.execute(EVENTS, (max(begins, edge), number, pack(vehicle)))
    entries = tuple(islice(_of(rows, names, vehicle), KEPT))
    out: Counter[str] = Counter()
    asked = (since_ms // HOUR_MS, number, vehicle)
    for outcome, why, n in db.execute(FILTERED, asked):
        out[why if outcome == "filtered" else outcome] += n
    letters = _letters(db, names, asked)
    fixes = db.execute(FIXES, (newest, edge, CODES["position"], number, pack(vehicle)))
    return Trail(
        entries,
        _last(islice(_of(fixes, names, vehicle), LATEST)),
        dict(out),
        tuple(islice(letters, MOST_DEAD)),
        begins >= edge and len(entries) < KEPT,
        edge < int(db.execute("SELECT coalesce(min(seq), 1) FROM events").get),
    )


def _last(fixes: Iterator[Entry]) -> Entry | None:
    """Where it was last, by its own clock where that can be believed."""
    found = list(fixes)
    dated = [one for one in found if "clock_suspect" not in one.event.flags]
    return max(dated or found, key=lambda one: (one.event.at is not None, one.event.at),
               default=None)  # fmt: skip


def _letters(
    db: apsw.Connection, names: dict[int, tuple[str, str]], asked: tuple[int, int, str]
) -> Iterator[Letter]:
    """Records that hold its id as a word of its own, and events of it that sinks refused."""
    whole = rb"(?<![\w.-])%b(?![\w.-])" % re.escape(asked[-1].encode())
    for *row, body in db.execute(DEAD_RECORDS, asked):
        if re.search(whole, body):
            yield Letter(*row)
    for row in db.execute(DEAD_EVENTS, (*asked[:-1], pack(asked[-1]))):
        letter = Letter(*row)
        if any(_of(db.execute(ONE, (letter.seq,)), names, asked[-1])):
            yield letter


def tellers(db: apsw.Connection, vehicle: str) -> list[str]:
    """The sources that told lately of a vehicle of this id, also one without any name."""
    names = source_names(db)
    newest = int(db.execute("SELECT newest_seq FROM log").get)
    rows = db.execute(SPOKE, (newest - MOST, pack(vehicle)))
    told = {one.source for one in islice(_of(rows, names, vehicle), KEPT)}
    told |= {names[n][0] for (n,) in db.execute(COUNTED_OUT, (vehicle,)) if n in names}
    return sorted(told)


def _of(
    rows: Iterator[tuple[object, ...]], names: dict[int, tuple[str, str]], vehicle: str
) -> Iterator[Entry]:
    for row in rows:
        entry = entry_of(row, names)
        if entry is not None and entry.event.vehicle == vehicle:
            yield entry


def quality(found: Trail) -> Quality:
    """What the fixes of a trail are worth."""
    fixes = sorted(
        (one.event for one in found.entries if isinstance(one.event, Position)),
        key=lambda one: one.at.timestamp() if one.at else 0.0,
    )
    lost = found.out.get("no_fix", 0)
    if not fixes:
        return Quality(no_fix=1.0 if lost else None)
    gaps = [(b.at - a.at).total_seconds() for a, b in pairwise(fixes) if a.at and b.at]
    entries = [one for one in found.entries if isinstance(one.event, Position)]
    full = sum(
        sum(cell is not None for cell in row_of(one).values()) for one in entries
    )
    return Quality(
        fixes=len(fixes),
        filled=round(full / len(entries) / len(COLUMNS), 3),
        no_fix=round(lost / (lost + len(fixes)), 3),
        jumps=sum(_jumps(a, b) for a, b in pairwise(fixes)),
        usual_gap_s=median(gaps) if gaps else None,
        longest_gap_s=max(gaps, default=None),
    )


def _jumps(a: Position, b: Position) -> bool:
    """Whether no truck can have driven from one fix to the next."""
    if a.at is None or b.at is None:
        return False
    hours = max((b.at - a.at).total_seconds(), 1.0) / 3600
    return miles(a, b) / hours > FASTEST_MPH and miles(a, b) > 1.0


def miles(a: Position, b: Position) -> float:
    """Along the great circle."""
    one = [radians(x or 0.0) for x in (a.latitude, a.longitude)]
    two = [radians(x or 0.0) for x in (b.latitude, b.longitude)]
    half = sin((two[0] - one[0]) / 2) ** 2
    half += cos(one[0]) * cos(two[0]) * sin((two[1] - one[1]) / 2) ** 2
    return 2 * EARTH_MILES * asin(min(1.0, sqrt(half)))
