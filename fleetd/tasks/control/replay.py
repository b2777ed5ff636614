"""Sending a part of the log again, asking a vendor again: jobs, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import apsw
from msgspec import Struct
from msgspec.structs import replace as with_

from fleetd import when
from fleetd.errors import UsageError
from fleetd.event import CODES, KINDS, LANES, millis, moment_of, stamp
from fleetd.store import Job, look, stats, units
from fleetd.store.counting import Names, count_waiting
from fleetd.store.jobs import AddJob
from fleetd.store.look import Filter
from fleetd.store.totals import HOUR_MS
from fleetd.taking import Taking
from fleetd.tasks.control.order import Order, known
from fleetd.tasks.report.asked import END, span_of

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

Narrow: TypeAlias = tuple[list[str], list[str], list[str], list[tuple[str, str]]]
ASKS_ABOVE = 10_000
STATES = {"pause": "paused", "resume": "running", "cancel": "cancelled"}
FIRST_STORED = (
    "SELECT min(hour) FROM totals WHERE scope = ? AND hour >= ? AND kind = ?"
    " AND outcome = 'stored' AND n > 0"
)
OLDEST_OF_KIND = "SELECT min(seq) FROM events WHERE kind = ?"
ARRIVAL = "SELECT received_ms FROM events WHERE seq = ?"
BEFORE = "SELECT seq, received_ms FROM events WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
THERE = "SELECT count(*) FROM events WHERE seq >= ? AND seq < ?"
STORED = (
    "SELECT coalesce(sum(n), 0) FROM totals WHERE scope = ? AND hour = ? AND kind = ?"
    " AND outcome = 'stored'"
)
THERE_OF_KIND = "SELECT count(*) FROM events WHERE kind = ? AND seq < ? AND source = ?"


class Stretch(Struct, frozen=True):
    """Part of the log that a replay would send: seqs after `after`, up to `upto`."""

    after: int
    upto: int
    count: int


class Wanted(Struct, frozen=True):
    """What a replay was asked for."""

    sink: str
    taking: Taking
    names: Names
    since_ms: int | None
    until_ms: int | None
    span: tuple[int, int] | None
    last: int | None


async def replay(board: Board, order: Order) -> dict[str, Any]:
    """Begin a replay, or say what it would send; asks where it is much or rings."""
    sink = known(order.text("sink"), board.house.sinks, "sink")
    sources, kinds = _listed(order, "source"), _listed(order, "kind")
    for kind in kinds:
        known(kind, KINDS[1:], "kind")
    for source in sources:
        known(source, board.house.sources, "source")
    vehicle = order.text("vehicle", "")
    units = await _units(board, vehicle, sources)
    narrow = (kinds, sources, [vehicle] if vehicle else [], units)
    wanted = _wanted(board, order, sink, narrow)
    found = await board.store.reading(lambda reader: stretch(reader.db, wanted))
    rings = sink in board.notifies
    table = board.house.sinks[sink]
    said = {
        "sink": sink, "kind": table.kind, "notifies": rings, "count": found.count,
        "first": found.after + 1, "last": found.upto, "window": _spelled(board, order),
        "asks": found.count > 0 and (rings or found.count > ASKS_ABOVE),
    }  # fmt: skip
    if order.flag("dry_run") or not found.count:
        return {**said, "job": None}
    if said["asks"] and not order.flag("yes"):
        raise UsageError(
            f"{question(sink, found.count, rings=rings)} Add --yes to do it"
        )
    job = await _begin(board, order, sink, found, narrow)
    return {**said, "job": job.id}


def question(sink: str, count: int, *, rings: bool) -> str:
    """What an operator should know before it happens."""
    many = f"{count:,}".replace(",", " ")
    if rings:
        return f"This would post {many} messages to {sink}."
    return f"This would send {many} events to {sink} again."


def _listed(order: Order, name: str) -> list[str]:
    return [one.strip() for one in order.text(name, "").split(",") if one.strip()]


async def _units(
    board: Board, vehicle: str, sources: list[str]
) -> list[tuple[str, str]]:
    """The vehicles that a typed one stands for, by a plate, say: each of one source."""
    if not vehicle:
        return []
    typed = Filter(sources=frozenset(sources), vehicle=vehicle)
    found = await board.store.reading(lambda reader: units.narrowed(reader.db, typed))
    return sorted(found.units or ())


def _wanted(
    board: Board,
    order: Order,
    sink: str,
    narrow: Narrow,
) -> Wanted:
    start, end = when.window(
        order.text("since", "") or None,
        order.text("until", "") or None,
        board.world.now(),
        board.house.daemon.timezone.info,
    )
    typed = order.text("seq", "")
    return Wanted(
        sink,
        narrowed(board.store.log.takings[sink], *narrow),
        dict(board.store.log.names),
        None if start is None else millis(start),
        None if end is None else millis(end),
        span_of(typed) if typed else None,
        order.number("last"),
    )


def _spelled(board: Board, order: Order) -> str:
    since, until = order.text("since", ""), order.text("until", "")
    if not since and not until:
        return ""
    zone = board.house.daemon.timezone.info
    return when.spell(
        when.window(since or None, until or None, board.world.now(), zone), zone
    )


def narrowed(
    sink: Taking,
    kinds: list[str],
    sources: list[str],
    vehicles: list[str],
    units: list[tuple[str, str]],
) -> Taking:
    """What a sink takes, narrowed by the filters of a replay, as one flat taking."""
    both = frozenset(sources) & sink.sources if sources and sink.sources else None
    if both is not None and not both:
        return with_(sink, kinds=frozenset())
    taking = Taking(
        sink.kinds & frozenset(kinds) if kinds else sink.kinds,
        both or frozenset(sources) or sink.sources,
        tuple(vehicles) or sink.vehicles,
        units=frozenset(units),
    )
    return with_(taking, within=sink) if vehicles and sink.vehicles else taking


def stretch(db: apsw.Connection, wanted: Wanted) -> Stretch:
    """The part of the log that is meant, or `UsageError` where it is no longer all there."""
    newest = int(db.execute("SELECT newest_seq FROM log").get)
    first, last = wanted.span or (1, END)
    after, upto = first - 1, min(last, newest)
    if wanted.since_ms is not None:
        after = max(after, stats.seq_at(db, wanted.since_ms) - 1)
    if wanted.until_ms is not None:
        upto = min(upto, stats.seq_at(db, wanted.until_ms) - 1)
    if wanted.last is not None:
        after = max(after, _before_last(db, wanted, after, upto))
    else:
        _all_there(db, wanted, after, upto)
    count = sum(
        count_waiting(db, after, upto, lane, wanted.taking, wanted.names)
        for lane in range(len(LANES))
    )
    return Stretch(after, upto, count)


def _before_last(db: apsw.Connection, wanted: Wanted, after: int, upto: int) -> int:
    """The seq before the last N events meant."""
    left, high = wanted.last or 0, upto + 1
    meant = Filter(kinds=wanted.taking.kinds, sources=wanted.taking.sources)
    while left > 0:
        found = look.newest(db, meant, after, high, min(left, 1000))
        fits = [
            one for one in found.entries if wanted.taking.takes(one.source, one.event)
        ]
        left -= len(fits)
        if left == 0:
            return fits[0].seq - 1
        if found.low <= after:
            return after
        high = found.low
    return upto


def _all_there(db: apsw.Connection, wanted: Wanted, after: int, upto: int) -> None:
    """Refuse a window that reaches past what is kept: what is gone would be missing."""
    if wanted.since_ms is None and wanted.span is None:
        return
    before, arrived = db.execute(BEFORE, (after,)).get or (0, 0)
    hour = max(arrived, wanted.since_ms or 0) // HOUR_MS
    first = max(before + 1, wanted.span[0] if wanted.span else 1)
    sources = wanted.taking.sources
    scopes = [
        number
        for (side, name), number in wanted.names.items()
        if side == "source" and (not sources or name in sources)
    ]
    for kind in sorted(wanted.taking.kinds):
        oldest = db.execute(OLDEST_OF_KIND, (CODES[kind],)).get or END
        if _is_whole(db, first, min(oldest, upto + 1)):
            continue
        if (gone := _gone(db, scopes, CODES[kind], hour)) is not None:
            raise UsageError(_too_far(kind, gone, wanted))


def _is_whole(db: apsw.Connection, first: int, end: int) -> bool:
    """Whether no seq is missing from `first` up to and without `end`."""
    return first >= end or int(db.execute(THERE, (first, end)).get) == end - first


def _gone(db: apsw.Connection, scopes: list[int], kind: int, hour: int) -> int | None:
    """The first hour since `hour` that held events of the kind which are gone."""
    hours = [db.execute(FIRST_STORED, (scope, hour, kind)).get for scope in scopes]
    first: int | None = min((one for one in hours if one is not None), default=None)
    if first is None:
        return None
    oldest = db.execute(OLDEST_OF_KIND, (kind,)).get
    kept = END if oldest is None else db.execute(ARRIVAL, (oldest,)).get // HOUR_MS
    if first != kept:
        return first if first < kept else None
    end = stats.seq_at(db, (kept + 1) * HOUR_MS)
    for scope in scopes:  # an hour of which a part is gone
        stored = db.execute(STORED, (scope, kept, kind)).get
        if stored > db.execute(THERE_OF_KIND, (kind, end, scope)).get:
            return first
    return None


def _too_far(kind: str, hour: int, wanted: Wanted) -> str:
    since = stamp(moment_of(hour * HOUR_MS))
    return (
        f"{kind} events from {since} on are no longer kept, so this would be incomplete; "
        "begin later, or fetch them from the vendor: fleetd backfill SOURCE FEED "
        f"--since {since} --until ..., which {wanted.sink} then gets by itself"
    )


async def _begin(
    board: Board, order: Order, sink: str, found: Stretch, narrow: Narrow
) -> Job:
    filters = zip(("kinds", "sources", "vehicles", "units"), narrow, strict=True)
    spec: dict[str, Any] = {name: value for name, value in filters if value}
    if (rate := order.rate("rate")) is not None:
        spec["rate"] = rate
    if order.flag("in_place"):
        spec["in_place"] = True
    now = millis(board.world.now())
    return await board.store.add_job(
        AddJob("replay", sink, spec, found.after, found.upto, found.count, now)
    )


async def change(board: Board, order: Order) -> dict[str, Any]:
    """Pause, resume or cancel a job."""
    action = known(order.text("action"), STATES, "action")
    number = order.number("id")
    jobs = {job.id: job for job in board.store.jobs()}
    if number not in jobs:
        raise UsageError(f"there is no job {number}; `fleetd jobs` lists them")
    if jobs[number].state in {"done", "cancelled", "failed"}:
        raise UsageError(f"job {number} is {jobs[number].state} already")
    why = "" if action == "resume" else "by hand"
    job = await board.store.change_job(number, STATES[action], why)
    return {
        "id": job.id, "kind": job.kind, "state": job.state, "done": job.done,
        "total": job.total, "records": job.cursor if job.kind == "backfill" else None,
    }  # fmt: skip
