"""What a document of the state is made of: what runs now, and what the log's rows say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import apsw
from msgspec import Struct

from fleetd.config import House
from fleetd.event import millis
from fleetd.store import Job, balance, stats
from fleetd.store.stats import Snapshot
from fleetd.store.totals import HOUR_MS
from fleetd.tasks.report.shape import ClockDoc

DAY_HOURS = 24
RECENT_MS = 14 * DAY_HOURS * HOUR_MS


class Pulse(Struct, frozen=True):
    """What a task says of itself."""

    state: str = ""
    why: str = ""
    restarts: int = 0
    last_success_ms: int | None = None


class Live(Struct, frozen=True, kw_only=True):
    """What no row of the log tells: all of it empty without a daemon."""

    now: datetime
    running: bool
    pid: int | None = None
    started_ms: int | None = None
    refusing: str = ""
    clock: ClockDoc = ClockDoc()
    pulses: Mapping[str, Pulse] = {}
    paused: frozenset[str] = frozenset()
    waiting: Mapping[tuple[str, int], int] = {}
    cursors: Mapping[tuple[str, int], int] = {}
    jobs: Sequence[Job] = ()
    rates: Mapping[str, float] = {}
    drains: Mapping[str, float] = {}
    received: Mapping[str, int] = {}
    taken: Mapping[str, int] = {}
    unproven: frozenset[str] = frozenset()
    silent: Mapping[str, int] = {}  # source → vehicles that usually speak by now
    unregistered: Mapping[str, str] = {}  # source → why its vendor pushes nothing here
    untyped: frozenset[str] = frozenset()  # sources whose events are all `other`
    budgets: Mapping[str, dict[str, Any]] = {}  # source → what it uses of its limits
    gone: Callable[[str, str], bool] = lambda _source, _vehicle: False
    growth_per_h: float | None = None
    fsync_p99_ms: float | None = None
    max_disk: int = 0
    free: int = 0
    wal: int = 0
    ballast: bool = True
    aside: str = ""
    crowded: frozenset[tuple[str, str]] = frozenset()  # too many dead letters
    warnings: tuple[str, ...] = ()  # of sinks about to lose what they hold
    refused_config: str = ""


class Rows(Struct, frozen=True):
    """What the log's rows say, read at once."""

    snap: Snapshot
    gaps: tuple[balance.Gap, ...]
    oldest: Mapping[str, int]  # sink → arrival of the first event waiting for it
    silence: Mapping[str, int | None]


def look(db: apsw.Connection, house: House, live: Live) -> Rows:
    """Read everything a document needs, as of one commit."""
    with stats.steady(db):
        snap = stats.snapshot(db)
        now = millis(live.now)
        day = stats.hours(db, now // HOUR_MS - DAY_HOURS, 1 << 40)
        ours = [
            one
            for one in snap.scopes
            if one.side == "source" or one.name in house.sinks
        ]
        reach = balance.reaches(
            db, [one for one in ours if one.side == "sink"], snap.cursors
        )
        return Rows(
            snap,
            tuple(balance.gaps(day, ours, reach)),
            {name: ms for name in house.sinks
             if (ms := _oldest(db, snap, name)) is not None},
            {name: stats.longest_silence(db, snap.scope("source", name), now - RECENT_MS)
             for name in house.sources},
        )  # fmt: skip


def _oldest(db: apsw.Connection, snap: Snapshot, sink: str) -> int | None:
    """When the first event that waits for a sink arrived; a bounded look."""
    number = snap.scope("sink", sink)
    found = [
        first[1]
        for lane in (0, 1)
        if (place := snap.cursors.get((number, lane))) and place[1] > 0
        if (first := stats.first_after(db, place[0], lane)) and first[1]
    ]
    return min(found, default=None)
