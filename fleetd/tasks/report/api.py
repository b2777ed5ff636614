"""What the reading commands ask, answered from the log's rows: with a daemon or without."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apsw
import msgspec

from fleetd.errors import UsageError
from fleetd.event import KINDS, LANES, Entry, line_of, millis, moment_of, stamp
from fleetd.store import dead, look, stats, units
from fleetd.store.jobs import rows_of_jobs
from fleetd.store.look import Filter
from fleetd.store.totals import HOUR_MS
from fleetd.tasks.report import ledger, why
from fleetd.tasks.report.asked import END, Asked, span_of
from fleetd.tasks.report.jobs import jobs_of

Answer = Callable[[Asked, apsw.Connection], Any]


def wanted(asked: Asked, db: apsw.Connection) -> Filter:
    """The filter that was typed, its vehicle looked up."""
    kinds = asked.listed("kind")
    for kind in kinds:
        if kind not in KINDS[1:]:
            raise UsageError(f"no kind {kind!r}; there are: {', '.join(KINDS[1:])}")
    sources = asked.sources(name for name, _ in look.source_names(db).values())
    found = Filter(kinds, sources, asked.get("vehicle"))
    return units.narrowed(db, found)


def bounds(asked: Asked, db: apsw.Connection) -> tuple[int, int]:
    """The seqs that since, until and seq allow, both ends exclusive."""
    low, high = 0, END
    start, end = asked.window()
    if start is not None:
        low = stats.seq_at(db, millis(start)) - 1
    if end is not None:
        high = stats.seq_at(db, millis(end))
    if span := asked.get("seq"):
        first, last = span_of(span)
        low, high = max(low, first - 1), min(high, last + 1)
    return low, high


def events(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """Events meant, oldest first: the newest ones, those `before`, or those `after`.

    One answer goes through 20 000 rows at most: `low` and `high` say how far it came, to
    go on with `before=low` or `after=high`; `done` whether there is no more that way.
    """
    if asked.get("filtered"):
        return asides(asked, db)
    meant = wanted(asked, db)
    low, high = bounds(asked, db)
    newest = int(db.execute("SELECT newest_seq FROM log").get)
    high = min(high, newest + 1)
    if asked.get("after"):
        low = max(low, asked.whole("after", 0))
        found = look.oldest(db, meant, low, max(high, low + 1), asked.limit)
        done = found.high >= high
    else:
        high = min(high, asked.whole("before", END))
        found = look.newest(db, meant, low, high, asked.limit)
        done = found.low <= low
    return {
        "events": [line_of(entry) for entry in found.entries],
        "damaged": list(found.damaged),
        "low": found.low,
        "high": max(found.high - 1, low),
        "done": done,
        "window": asked.spelled(),
    }


def asides(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """What was counted out, oldest first: the newest ones, or those `before` an id."""
    meant = wanted(asked, db)
    start, end = asked.window()
    before = asked.whole("before", END)
    if end is not None:
        before = min(before, look.first_aside(db, -(-millis(end) // HOUR_MS)))
    after = 0
    if start is not None:
        after = look.first_aside(db, millis(start) // HOUR_MS) - 1
    found = look.asides(db, meant, "filtered", (after, before), asked.limit)
    return {
        "filtered": [_out(one) for one in found.outs],
        "low": found.low,
        "done": found.low <= after,
        "window": asked.spelled(),
    }


def _out(one: look.Out) -> dict[str, Any]:
    return {
        "source": one.source,
        "hour": stamp(moment_of(one.hour * HOUR_MS)),
        "outcome": one.outcome,
        "why": one.why,
        "kind": one.kind,
        "id": one.event,
        "vehicle": one.vehicle or None,
        "raw": one.raw or None,
        "part": one.part,
    }


def show(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """Everything known of one event."""
    seq = asked.whole("seq", 0)
    found = look.whole(db, seq)
    if found is None:
        raise UsageError(_no_event(db, seq))
    return {
        "seq": seq,
        "event": line_of(found.entry) if found.entry else None,
        "damaged": found.damaged,
        "received": _received(found) if found.received else None,
        "revisions": [line_of(one) for one in found.revisions],
        "deliveries": list(_carried(asked, found)),
        "dead": [_letter(one) for one in dead.of_event(db, seq)],
    }


def _no_event(db: apsw.Connection, seq: int) -> str:
    newest = int(db.execute("SELECT newest_seq FROM log").get)
    oldest = db.execute(stats.OLDEST).get
    if oldest is None:
        return "the log is empty"
    return f"there is no event {seq}: the log holds {oldest[0]} to {newest}"


def _received(found: look.Whole) -> dict[str, Any]:
    raw = found.received
    assert raw is not None
    text, packed = body_of(raw.body)
    return {
        "feed": raw.feed,
        "part": found.part,
        "received_at": stamp(moment_of(raw.received_ms)),
        "signed_at": None if raw.signed_ms is None else stamp(moment_of(raw.signed_ms)),
        "signature": raw.verdict,
        "headers": raw.headers,
        "body": text,
        "body_base64": packed,
    }


def body_of(body: bytes) -> tuple[str | None, str | None]:
    """Bytes as text where they are text, else in base64."""
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode()


def _carried(asked: Asked, found: look.Whole) -> Iterator[dict[str, Any]]:
    for one in found.carried:
        table, entry = asked.house.sinks.get(one.sink), found.entry
        takes = table.taking(KINDS[1:]).takes if table else None
        if entry and takes and not takes(entry.source, entry.event):
            continue
        yield {
            "sink": one.sink, "generation": one.job, "lane": LANES[one.lane],
            "first": one.first, "last": one.last, "events": one.count,
            "verdict": one.verdict, "status": one.status, "ms": one.ms,
            "at": stamp(moment_of(one.at_ms)), "key": one.key,
            "answer": one.answer.decode(errors="replace"),
        }  # fmt: skip


def letters(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """Dead letters of both sides, oldest first, page by page."""
    after = asked.whole("after", 0)
    found = dead.listed(db, asked.get("name"), after, asked.limit)
    if not found:  # a name that nobody bears must not read like one without letters
        ledger.named([*stats.scopes(db)], asked.get("name"))
    return {
        "dead": [_letter(one) for one in found],
        "high": found[-1].id if found else after,
        "done": len(found) < asked.limit,
        "unverified": dead.unverified_counts(db),
    }


def letter(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """One dead letter with its bytes."""
    one = dead.one(db, asked.whole("id", 0))
    text, packed = body_of(one.body)
    entry: Entry | None = None
    if one.seq is not None and (found := look.whole(db, one.seq)):
        entry = found.entry
    return {
        **_letter(one),
        "body": text,
        "body_base64": packed,
        "event": line_of(entry) if entry else None,
    }


def _letter(one: dead.Letter) -> dict[str, Any]:
    return {
        "id": one.id, "side": one.side, "name": one.name, "feed": one.feed or None,
        "seq": one.seq, "kind": KINDS[one.kind] if one.kind else None, "why": one.why,
        "status": one.status, "answer": one.answer.decode(errors="replace") or None,
        "hour": stamp(moment_of(one.hour * HOUR_MS)), "at": stamp(moment_of(one.at_ms)),
        "bytes": one.size,
    }  # fmt: skip


def jobs(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """Replays and backfills, oldest first."""
    return {"jobs": jobs_of(list(rows_of_jobs(db)), asked.house)}


ANSWERS: Mapping[str, Answer] = {
    "/api/events": events,
    "/api/show": show,
    "/api/dead": letters,
    "/api/letter": letter,
    "/api/ledger": ledger.answer,
    "/api/jobs": jobs,
    "/api/why": why.answer,
}


def encode(answer: Any) -> bytes:
    """An answer as JSON."""
    return msgspec.json.encode(answer)
