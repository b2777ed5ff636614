"""The ledger as a table, with one sentence a source: complete, lost, or nobody can know."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import apsw
from msgspec import Struct

from fleetd import when
from fleetd.errors import UsageError
from fleetd.event import KINDS, Entry, millis, moment_of, stamp
from fleetd.store import balance, look, stats
from fleetd.store.balance import Gap
from fleetd.store.places import taking_in
from fleetd.store.stats import Hourly, Outage, Scope
from fleetd.store.totals import HOUR_MS
from fleetd.taking import Taking
from fleetd.tasks.report.asked import Asked
from fleetd.tasks.report.book import CAUGHT, COVERS, MINUTE_MS, Book, Known

FRESH_MINUTES = 2  # the heartbeat of these may still be on its way
DAYS_BY_DAY = 7
MOST_HOURS = 24 * 400
SOURCE = (
    "received", "normalized", "empty", "dead", "dropped", "made", "stored", "duplicate",
    "filtered", "refused",
)  # fmt: skip
SINK = ("delivered", "skipped", "dead", "dropped", "not_taken")
EXITS = {"complete": 0, "lost": 1, "unknown": 3}
PLACES = "SELECT lane, seq, taking FROM cursors WHERE sink = ?"
CARRIED = (  # a request of which one record was refused carried the others
    "SELECT lane, first, last FROM attempts WHERE sink = ? AND job = 0"
    " AND verdict IN ('taken', 'never') AND last >= ? AND first <= ?"
    " ORDER BY last LIMIT 20000"
)
BURIED = "SELECT seq FROM dead WHERE scope = ? AND seq > ? AND seq < ?"

NOWHERE = (0, Taking())


class Span(Struct, frozen=True):
    """Whole hours, from `first` up to and without `until`."""

    first: int
    until: int


def answer(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """The ledger of a window, or the ids behind one cell of it."""
    if asked.get("ids"):
        return ids(asked, db)
    by = asked.get("by") or "hour"
    if by not in {"hour", "day"}:
        raise UsageError(f"by={by!r}: by hour or by day")
    span = span_of(asked, by)
    with stats.steady(db):
        snap = stats.snapshot(db)
        rows = stats.hours(db, span.first, span.until)
        scopes = named(snap.scopes, asked.get("name"))
        ours = [one for one in scopes if one.side == "source"]
        sinks = [
            one
            for one in scopes
            if one.side == "sink" and one.name in asked.house.sinks
        ]
        reach = balance.reaches(db, sinks, snap.cursors)
        gaps = balance.gaps(rows, [*ours, *sinks], reach)
        outages = _outages(db, span, snap.created_ms, asked.now)
        known = Known(stats.kept(db, COVERS), stats.kept(db, CAUGHT))
    book = Book(asked, rows, gaps, outages, known)
    waiting: Counter[int] = Counter()
    for (sink, _lane), (_seq, n) in snap.cursors.items():
        waiting[sink] += n
    findings = [*book.sources(ours), *book.sinks(sinks, waiting)]
    worst = max((EXITS[one.verdict] for one in findings), default=0)
    lost = any(one.verdict == "lost" for one in findings)
    return {
        "window": when.spell(_moments(span), asked.house.daemon.timezone.info),
        "by": by,
        "rows": list(_table(asked, rows, scopes, by)),
        "outages": [_outage(one) for one in outages],
        "gaps": [_gap(one) for one in gaps],
        "findings": findings,
        "verdict": "lost" if lost else ("unknown" if worst else "complete"),
    }


def named(scopes: Sequence[Scope], name: str) -> Sequence[Scope]:
    """Those of that name, or all where none is given."""
    found = [one for one in scopes if name in ("", one.name)]
    if name and not found:
        there = ", ".join(sorted({one.name for one in scopes})) or "none"
        raise UsageError(f"no source or sink {name!r}; there are: {there}")
    return found


def span_of(asked: Asked, by: str) -> Span:
    """The hours that the window touches; a day's worth where none was given."""
    start, end = asked.window()
    usual = timedelta(days=DAYS_BY_DAY) if by == "day" else timedelta(days=1)
    start = start or (end or asked.now) - usual
    until = (
        millis(asked.now) // HOUR_MS + 1 if end is None else -(-millis(end) // HOUR_MS)
    )
    first = millis(start) // HOUR_MS
    return Span(max(first, until - MOST_HOURS), max(until, first + 1))


def _moments(span: Span) -> tuple[datetime, datetime]:
    return moment_of(span.first * HOUR_MS), moment_of(span.until * HOUR_MS)


def _outages(
    db: apsw.Connection, span: Span, created_ms: int, now: datetime
) -> list[Outage]:
    until = stats.told_until(db, millis(now) // MINUTE_MS, FRESH_MINUTES)
    return stats.outages(
        db, span.first * 60, min(span.until * 60, until), created_ms // MINUTE_MS + 1
    )


def _outage(one: Outage) -> dict[str, Any]:
    return {
        "state": one.state,
        "since": stamp(moment_of(one.since * MINUTE_MS)),
        "until": stamp(moment_of(one.until * MINUTE_MS)),
    }


def _gap(one: Gap) -> dict[str, Any]:
    return {
        "side": one.side, "name": one.name, "what": one.what, "wants": one.wants,
        "hour": stamp(moment_of(one.hour * HOUR_MS)), "has": one.has,
    }  # fmt: skip


def _table(
    asked: Asked, rows: Sequence[Hourly], scopes: Sequence[Scope], by: str
) -> Iterator[dict[str, Any]]:
    """One line a source or sink and period, oldest first."""
    named = {one.id: one for one in scopes}
    zone = asked.house.daemon.timezone.info
    found: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        moment = moment_of(row.hour * HOUR_MS).astimezone(zone)
        start = moment.strftime("%Y-%m-%d %H:00" if by == "hour" else "%Y-%m-%d")
        if row.outcome != "refused" or row.why != "unverified":
            found[row.scope, start][row.outcome] += row.n
    order = sorted(found, key=lambda key: (named[key[0]].side != "source", key[0], key[1])
                   if key[0] in named else (True, key[0], key[1]))  # fmt: skip
    for scope, start in order:
        one = named.get(scope)
        if one is None:
            continue
        n = found[scope, start]
        shown = SOURCE if one.side == "source" else SINK
        yield {
            "side": one.side,
            "name": one.name,
            "from": start,
            **{outcome: n[outcome] for outcome in shown},
        }


def ids(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """The ids behind one outcome of one hour, page by page."""
    zone = asked.house.daemon.timezone.info
    moment = when.resolve(asked.get("ids"), asked.now, zone)
    hour, outcome = millis(moment) // HOUR_MS, asked.get("outcome")
    ways = {
        "stored": _stored, "duplicate": _out, "filtered": _out, "dead": _dead,
        "delivered": _delivered,
    }  # fmt: skip
    if outcome not in ways:
        raise UsageError(f"no ids for {outcome!r}; there are: {', '.join(ways)}")
    found, more = ways[outcome](asked, db, hour, outcome)
    span = Span(hour, hour + 1)
    return {
        "window": when.spell(_moments(span), zone),
        "outcome": outcome,
        "ids": found,
        "high": more,
        "done": more is None,
    }


Page = tuple[list[dict[str, Any]], "int | None"]


def _stored(asked: Asked, db: apsw.Connection, hour: int, _outcome: str) -> Page:
    low, high = _seqs(asked, db, hour)
    found = look.oldest(db, _meant(asked), low, high, asked.limit)
    listed = [
        {"seq": one.seq, "source": one.source, "kind": one.kind, "id": one.event.id}
        for one in found.entries
    ]
    return listed, None if found.high >= high else found.high - 1


def _meant(asked: Asked) -> look.Filter:
    name = asked.get("name")
    source = name if name in asked.house.sources else ""
    return look.Filter(sources=frozenset({source} if source else ()))


def _seqs(asked: Asked, db: apsw.Connection, hour: int) -> tuple[int, int]:
    low = stats.seq_at(db, hour * HOUR_MS) - 1
    return max(low, asked.whole("after", 0)), stats.seq_at(db, (hour + 1) * HOUR_MS)


def _out(asked: Asked, db: apsw.Connection, hour: int, outcome: str) -> Page:
    found, more = look.asides_of(
        db, hour, outcome, asked.whole("after", 0), asked.limit
    )
    name = asked.get("name")
    return [
        {"source": one.source, "kind": one.kind, "id": one.event, "why": one.why}
        for one in found
        if not name or one.source == name
    ], more


DEAD = (
    "SELECT d.id, n.name, d.seq, d.kind, d.why FROM dead d JOIN names n ON n.id = d.scope"
    " WHERE d.hour = ? AND d.id > ? AND (? = '' OR n.name = ?) ORDER BY d.id LIMIT ?"
)


def _dead(asked: Asked, db: apsw.Connection, hour: int, _outcome: str) -> Page:
    name = asked.get("name")
    row = (hour, asked.whole("after", 0), name, name, asked.limit)
    found = [
        {"dead": number, "name": name, "seq": seq, "kind": KINDS[kind] if kind else None,
         "why": why}
        for number, name, seq, kind, why in db.execute(DEAD, row)
    ]  # fmt: skip
    return found, found[-1]["dead"] if len(found) == asked.limit else None


def _delivered(asked: Asked, db: apsw.Connection, hour: int, _outcome: str) -> Page:
    """What a sink took: what it takes, passed by its cursor, carried, and not set aside.

    Where some of the hour were skipped this names those of them that lie between others
    in a request: which they were is counted, and not written down.
    """
    sink = asked.get("name")
    if sink not in asked.house.sinks:
        there = ", ".join(asked.house.sinks) or "none"
        raise UsageError(f"say which sink took them, by --name; there are: {there}")
    number = next(
        (one.id for one in stats.scopes(db) if (one.side, one.name) == ("sink", sink)),
        0,
    )
    low, high = _seqs(asked, db, hour)
    places = {
        lane: (seq, taking_in(words))
        for lane, seq, words in db.execute(PLACES, (number,))
    }
    carried = list(db.execute(CARRIED, (number, low + 1, high - 1)))
    buried = {seq for (seq,) in db.execute(BURIED, (number, low, high))}

    def is_delivered(one: Entry) -> bool:
        upto, taking = places.get(one.lane, NOWHERE)
        return (
            one.seq <= upto
            and one.seq not in buried
            and taking.takes(one.source, one.event)
            and any(lane == one.lane and first <= one.seq <= last
                    for lane, first, last in carried)
        )  # fmt: skip

    found = look.oldest(db, look.Filter(), low, high, asked.limit)
    listed = [
        {"seq": one.seq, "sink": sink, "source": one.source, "kind": one.kind,
         "id": one.event.id}
        for one in found.entries
        if is_delivered(one)
    ]  # fmt: skip
    return listed, None if found.high >= high else found.high - 1
