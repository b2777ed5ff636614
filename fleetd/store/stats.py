"""What status, metrics and the ledger read: sums and edges, never a scan of the log."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from fleetd.store.counting import DAMAGE
from fleetd.store.totals import HOUR_MS

SUMS = "SELECT scope, kind, outcome, why, n FROM sums"
HOURS = (
    "SELECT scope, hour, kind, outcome, why, n FROM totals"
    " WHERE scope = ? AND hour >= ? AND hour < ? ORDER BY hour"
)
NAMES = "SELECT id, side, name, provider FROM names"
EDGE = "SELECT id, newest_seq, newest_raw, received_ms, created_ms FROM log"
OLDEST = "SELECT seq, received_ms FROM events ORDER BY seq LIMIT 1"
NEXT = "SELECT seq, received_ms FROM events WHERE seq >= ? ORDER BY seq LIMIT 1"
NEXT_OF_LANE = (
    "SELECT seq, received_ms FROM (SELECT seq, received_ms, lane FROM events"
    " WHERE seq > ? ORDER BY seq LIMIT 20000) WHERE lane = ? LIMIT 1"
)
NEXT_SAFETY = "SELECT seq, received_ms FROM events WHERE lane = 1 AND seq > ? ORDER BY seq LIMIT 1"
BOOKMARKS = "SELECT source, feed, value, success_ms FROM bookmarks"
CURSORS = "SELECT sink, lane, seq, waiting FROM cursors"
KEPT_FROM = "SELECT name, value FROM kept WHERE name >= ? AND name < ?"
MINUTES = (
    "SELECT minute, state FROM minutes WHERE minute >= ? AND minute < ? ORDER BY 1"
)
NEWEST_MINUTE = "SELECT max(minute) FROM minutes WHERE minute <= ?"
LAST_TAKEN = (
    "SELECT sink, max(at_ms) FROM (SELECT sink, at_ms, verdict FROM attempts"
    " ORDER BY id DESC LIMIT 5000) WHERE verdict = 'taken' GROUP BY sink"
)
LAST_RAW = (
    "SELECT source, max(received_ms) FROM"
    " (SELECT source, received_ms FROM raw ORDER BY id DESC LIMIT 5000) GROUP BY source"
    " UNION ALL SELECT CAST(substr(name, 7) AS INTEGER), value ->> '$.ms' FROM kept"
    " WHERE name GLOB 'heard:*'"
)
HEARD = (
    "SELECT DISTINCT hour FROM totals"
    " WHERE scope = ? AND hour >= ? AND outcome = 'received' AND n > 0 ORDER BY hour"
)
UNVERIFIED = "SELECT source, count(*) FROM unverified GROUP BY source"


class Scope(Struct, frozen=True):
    """A source or sink, as the log numbers it."""

    id: int
    side: str
    name: str
    provider: str


class Hourly(Struct, frozen=True):
    """One row of the ledger."""

    scope: int
    hour: int
    kind: int
    outcome: str
    why: str
    n: int


class Sums:
    """The ledger over all hours."""

    def __init__(self, rows: list[tuple[int, int, str, str, int]]) -> None:
        self.rows = rows
        self._of: dict[int, Counter[str]] = defaultdict(Counter)
        self._why: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        for scope, _kind, outcome, why, n in rows:
            self._of[scope][outcome] += n
            self._why[scope, outcome][why] += n

    def of(self, scope: int, outcome: str) -> int:
        """How many of an outcome, all kinds and reasons."""
        found = self._of.get(scope)
        return found[outcome] if found else 0

    def whys(self, scope: int, outcome: str) -> dict[str, int]:
        """The same by reason."""
        return dict(self._why.get((scope, outcome), {}))

    def of_kind(self, scope: int, outcome: str, kind: int) -> int:
        """How many of an outcome, of one kind."""
        return sum(n for of, code, what, _, n in self.rows
                   if (of, code, what) == (scope, kind, outcome))  # fmt: skip

    def refused(self, scope: int) -> int:
        """Requests refused; what was kept as unverified is among them by its status."""
        whys = self.whys(scope, "refused")
        return sum(n for why, n in whys.items() if why != "unverified")

    def stored(self) -> int:
        """Events ever stored."""
        return sum(n for _, _, outcome, _, n in self.rows if outcome == "stored")


class Snapshot(Struct, frozen=True):
    """What the log's own rows say of its state at one moment."""

    log_id: str
    newest_seq: int
    received_ms: int
    created_ms: int
    oldest_seq: int | None
    oldest_ms: int | None
    pages: int
    free_pages: int
    page_bytes: int
    scopes: tuple[Scope, ...]
    sums: Sums
    bookmarks: dict[tuple[int, str], int]
    cursors: dict[tuple[int, int], tuple[int, int]]
    unverified: dict[int, int]

    def scope(self, side: str, name: str) -> int:
        """The number of a source or sink; 0 if the log never knew it."""
        found = (one.id for one in self.scopes if (one.side, one.name) == (side, name))
        return next(found, 0)


def snapshot(db: apsw.Connection) -> Snapshot:
    """Look once; the same cost with five rows in the log or with five million."""
    log_id, newest, _, received, created = db.execute(EDGE).get
    oldest = db.execute(OLDEST).get or (None, None)
    return Snapshot(
        log_id, newest, received, created, oldest[0], oldest[1],
        int(db.pragma("page_count")), int(db.pragma("freelist_count")),
        int(db.pragma("page_size")), tuple(scopes(db)),
        Sums(list(db.execute(SUMS))),
        {(source, feed): ms for source, feed, _, ms in db.execute(BOOKMARKS)},
        {(sink, lane): (seq, n) for sink, lane, seq, n in db.execute(CURSORS)},
        unverified(db),
    )  # fmt: skip


def unverified(db: apsw.Connection) -> dict[int, int]:
    """How many bodies of each source are kept as unverified, where that can be read."""
    found: dict[int, int] = {}
    with suppress(*DAMAGE):
        found.update(db.execute(UNVERIFIED))
    return found


def created(db: apsw.Connection) -> int:
    """When this log was begun, ms."""
    return int(db.execute("SELECT created_ms FROM log").get)


def kept(db: apsw.Connection, prefix: str) -> dict[str, dict[str, Any]]:
    """The small states whose name begins so, by the rest of their name."""
    edge = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {
        name.removeprefix(prefix): msgspec.json.decode(value)
        for name, value in db.execute(KEPT_FROM, (prefix, edge))
    }


def scopes(db: apsw.Connection) -> Iterator[Scope]:
    """Every source and sink that the log ever knew."""
    return (Scope(*row) for row in db.execute(NAMES))


def hours(db: apsw.Connection, first: int, until: int) -> list[Hourly]:
    """The ledger's rows of the hours from `first` up to and without `until`.

    Scope by scope, as the rows lie: a year of other hours is not looked at.
    """
    numbers = [0, *(one.id for one in scopes(db))]
    return [
        Hourly(*row)
        for number in numbers
        for row in db.execute(HOURS, (number, first, until))
    ]


def last_taken(db: apsw.Connection) -> dict[int, int]:
    """When each sink last took something, of the newest attempts."""
    found: dict[int, int] = {}
    with suppress(*DAMAGE):  # a daemon that cannot start over this is worse
        found.update(db.execute(LAST_TAKEN))
    return found


def last_raw(db: apsw.Connection) -> dict[int, int]:
    """When each source last sent something, of the newest bodies and of what left none."""
    found: dict[int, int] = {}
    with suppress(*DAMAGE):
        for source, received_ms in db.execute(LAST_RAW):
            found[source] = max(received_ms, found.get(source, 0))
    return found


def longest_silence(db: apsw.Connection, source: int, since_ms: int) -> int | None:
    """The most hours between two hours in which the source was heard."""
    heard = [hour for (hour,) in db.execute(HEARD, (source, since_ms // HOUR_MS))]
    gaps = [later - earlier for earlier, later in pairwise(heard)]
    return max(gaps, default=None)


def first_after(db: apsw.Connection, seq: int, lane: int) -> tuple[int, int] | None:
    """The first event of a lane beyond `seq`: its seq and arrival; a bounded look.

    Where a damaged page is in the way it is the next seq, and nothing is said of when.
    """
    query, row = (NEXT_SAFETY, (seq,)) if lane == 1 else (NEXT_OF_LANE, (seq, lane))
    try:
        found = db.execute(query, row).get
    except DAMAGE:
        return seq + 1, 0
    return found if found is None else (found[0], found[1])


def seq_at(db: apsw.Connection, ms: int) -> int:
    """The first seq that arrived at `ms` or later; one past the newest if none did.

    Arrival never goes backwards, so halving finds it: some 25 looks in a long log.
    """
    newest = int(db.execute("SELECT newest_seq FROM log").get)
    low = (db.execute(OLDEST).get or (newest + 1, 0))[0]
    high = newest + 1
    while low < high:
        middle = (low + high) // 2
        row = db.execute(NEXT, (middle,)).get
        if row is None or row[1] >= ms:
            high = middle
        else:
            low = row[0] + 1
    found = db.execute(NEXT, (low,)).get
    return int(found[0]) if found else newest + 1


class Outage(Struct, frozen=True):
    """Minutes in which fleetd was down, refusing or offline; `until` is exclusive."""

    state: str
    since: int
    until: int


def outages(db: apsw.Connection, first: int, until: int, created: int) -> list[Outage]:
    """Where the minutes say anything but `up`, from `first` up to `until` (minutes).

    Of minutes behind a damaged page nobody knows: as if nobody had listened.
    """
    first = max(first, created)
    found: list[Outage] = []
    expected = first
    with suppress(*DAMAGE):
        for minute, state in db.execute(MINUTES, (first, until)):
            if minute > expected:
                _extend(found, "down", expected, minute)
            if state != "up":
                _extend(found, state, minute, minute + 1)
            expected = minute + 1
    if until > expected:
        _extend(found, "down", expected, until)
    return found


def newest_minute(db: apsw.Connection, now: int) -> int | None:
    """The newest minute with a heartbeat; None where there is none, or none to be read."""
    found: int | None = None
    with suppress(*DAMAGE):
        found = db.execute(NEWEST_MINUTE, (now,)).get
    return found


def told_until(db: apsw.Connection, now: int, fresh: int) -> int:
    """Up to which minute silence means down: the newest ones may still be on their way,
    but none before one that was heard.
    """
    heard = newest_minute(db, now)
    return max(now - fresh, 0 if heard is None else heard + 1)


def _extend(found: list[Outage], state: str, since: int, until: int) -> None:
    if found and found[-1].state == state and found[-1].until == since:
        found[-1] = Outage(state, found[-1].since, until)
    else:
        found.append(Outage(state, since, until))


@contextmanager
def steady(db: apsw.Connection) -> Iterator[None]:
    """Read everything inside as of one commit."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
