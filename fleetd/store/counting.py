"""Counting stretches of the log: what a sink takes there, by hour and kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import apsw
import msgspec

from fleetd.event import KINDS, SAFETY, unpack
from fleetd.store.totals import HOUR_MS
from fleetd.taking import Taking

DAMAGE = (  # a wrong byte in a row's header turns a number into text
    apsw.CorruptError,
    apsw.NotADBError,
    UnicodeDecodeError,
)
LATEST_MS = 1 << 48  # the year 10889: no box says so
Names: TypeAlias = Mapping[tuple[str, str], int]  # (side, name) → number
Passed: TypeAlias = "Counter[tuple[int, int]]"  # (hour, kind) → events

PASSED = (
    "SELECT received_ms / 3600000, kind, count(*) FROM events"
    " WHERE seq > ? AND seq <= ? AND lane = 0 GROUP BY 1, 2"
)
PASSED_SAFETY = (
    "SELECT received_ms / 3600000, kind, count(*) FROM events"
    " WHERE seq > ? AND seq <= ? AND lane = 1 GROUP BY 1, 2"
)
WAITING = (
    "SELECT count(*) FROM events WHERE seq > ? AND seq <= ? AND lane = ?"
    " AND kind IN (SELECT value FROM json_each(?))"
    " AND (? OR source IN (SELECT value FROM json_each(?)))"
)
GROUPS = (
    "SELECT received_ms / 3600000, kind, source, count(*) FROM events"
    " WHERE seq > ? AND seq <= ? AND lane = ? GROUP BY 1, 2, 3"
)
ROWS = (
    "SELECT received_ms, kind, source, body FROM events"
    " WHERE seq > ? AND seq <= ? AND lane = ?"
)
KIND_ROWS = (
    "SELECT source, body FROM events WHERE seq > ? AND seq <= ? AND lane = ?"
    " AND kind IN (SELECT value FROM json_each(?))"
)
ONE = "SELECT received_ms, source, body FROM events WHERE seq = ?"
BEFORE = (
    "SELECT received_ms, source FROM events WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
)
SAFETY_SEQS = (
    "SELECT seq FROM events INDEXED BY events_of_safety"
    " WHERE lane = 1 AND seq > ? AND seq <= ?"
)
KIND_SEQS = (
    "SELECT seq FROM events INDEXED BY events_by_kind"
    " WHERE kind = ? AND seq > ? AND seq <= ?"
)


def listed(
    db: apsw.Connection, after: int, upto: int, lane: int | None
) -> list[tuple[int, int]]:
    """(seq, kind) of a stretch, from the indexes alone: the rows need not be readable."""
    urgent = {seq for (seq,) in db.execute(SAFETY_SEQS, (after, upto))}
    return sorted(
        (seq, kind)
        for kind in range(len(KINDS))
        for (seq,) in db.execute(KIND_SEQS, (kind, after, upto))
        if lane is None or (seq in urgent) == (lane == SAFETY)
    )


def located(
    db: apsw.Connection, after: int, upto: int, lane: int
) -> Iterator[tuple[int, int, int, int, bytes]]:
    """(seq, arrival, kind, source, body) row by row, past damaged pages.

    An unreadable row has no body, and arrived when the readable one before it did.
    """
    try:
        seqs = listed(db, after, upto, lane)
        ms, source = db.execute(BEFORE, (after,)).get or (0, 0)
    except DAMAGE:
        return
    for seq, kind in seqs:
        body = b""
        with suppress(*DAMAGE):
            found = db.execute(ONE, (seq,)).get
            if found is not None and sane(found[0]) and isinstance(found[2], bytes):
                ms, source, body = found
        yield seq, ms, kind, source, body


def sane(ms: object) -> bool:
    """Whether a time of arrival as it was read can be one."""
    return type(ms) is int and 0 <= ms < LATEST_MS


def passed(db: apsw.Connection, after: int, upto: int, lane: int) -> Passed:
    """Every event of a lane in (after, upto], by hour and kind."""
    query = PASSED_SAFETY if lane == SAFETY else PASSED
    try:
        rows = list(db.execute(query, (after, upto)))
    except DAMAGE:
        rows = None
    if rows is not None and all(type(hour) is int for hour, _, _ in rows):
        return Counter({(hour, kind): n for hour, kind, n in rows})
    found = located(db, after, upto, lane)
    return Counter((ms // HOUR_MS, kind) for _, ms, kind, _, _ in found)


def tallied(
    db: apsw.Connection, after: int, upto: int, lane: int, taking: Taking, names: Names
) -> Counter[tuple[int, int, bool]]:
    """(hour, kind, whether it is taken) of every event of a lane in (after, upto]."""
    try:
        if taking.vehicles:
            rows = db.execute(ROWS, (after, upto, lane))
            return _judged(rows, taking, names)
        return _grouped(db.execute(GROUPS, (after, upto, lane)), taking, names)
    except DAMAGE:
        found = (row[1:] for row in located(db, after, upto, lane))
        return _judged(found, taking, names)


def _grouped(
    rows: Iterator[Any], taking: Taking, names: Names
) -> Counter[tuple[int, int, bool]]:
    ours = {names["source", one] for one in taking.sources if ("source", one) in names}
    found: Counter[tuple[int, int, bool]] = Counter()
    for hour, kind, source, n in rows:
        taken = kind in taking.codes and (not taking.sources or source in ours)
        found[hour, kind, taken] += n
    return found


def _judged(
    rows: Iterator[Any], taking: Taking, names: Names
) -> Counter[tuple[int, int, bool]]:
    source_of = {
        number: name for (side, name), number in names.items() if side == "source"
    }
    found: Counter[tuple[int, int, bool]] = Counter()
    for ms, kind, source, body in rows:
        taken = kind in taking.codes and _takes(taking, source_of.get(source, ""), body)
        found[ms // HOUR_MS, kind, taken] += 1
    return found


def _takes(taking: Taking, source: str, body: bytes) -> bool:
    """What cannot be read counts as taken: it will be met, and counted as damaged."""
    if not body:
        return True
    try:
        return taking.takes(source, unpack(body))
    except msgspec.MsgspecError:
        return True


def count_waiting(
    db: apsw.Connection, after: int, upto: int, lane: int, taking: Taking, names: Names
) -> int:
    """How many events a sink takes in (after, upto]: a scan, for new or changed sinks."""
    if after >= upto:
        return 0
    kinds = msgspec.json.encode(sorted(taking.codes)).decode()
    ours = [names["source", one] for one in taking.sources if ("source", one) in names]
    wanted = msgspec.json.encode(ours).decode()
    try:
        if taking.vehicles:
            return _chosen(db, (after, upto, lane, kinds), taking, names)
        row = (after, upto, lane, kinds, int(not taking.sources), wanted)
        return int(db.execute(WAITING, row).get)
    except DAMAGE:
        tally = tallied(db, after, upto, lane, taking, names)
        return sum(n for (_, _, taken), n in tally.items() if taken)


def _chosen(
    db: apsw.Connection, row: tuple[Any, ...], taking: Taking, names: Names
) -> int:
    source_of = {
        number: name for (side, name), number in names.items() if side == "source"
    }
    return sum(
        _takes(taking, source_of.get(source, ""), body)
        for source, body in db.execute(KIND_ROWS, row)
    )
