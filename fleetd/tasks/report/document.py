"""The state of everything as one document, made of the log's rows and of what runs now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import apsw

from fleetd import __version__
from fleetd.config import House
from fleetd.event import millis, stamp
from fleetd.store.stats import Snapshot
from fleetd.tasks.report.jobs import jobs_of
from fleetd.tasks.report.rows import Live, Pulse, Rows
from fleetd.tasks.report.shape import (
    Document,
    LogDoc,
    SinkDoc,
    SourceDoc,
    TaskDoc,
)
from fleetd.tasks.report.sources import TROUBLED, printed, source_of

BEHIND_S = 15 * 60.0
PINS_AFTER_S = 3600.0


def document(house: House, live: Live, rows: Rows) -> Document:
    """The state of everything, and why."""
    sources = {name: source_of(house, live, rows, name) for name in house.sources}
    sinks = {name: _sink(house, live, rows, name) for name in house.sinks}
    state, reasons = _verdict(live, rows, sources, sinks)
    return Document(
        state=state,
        reasons=reasons,
        version=__version__,
        pid=live.pid,
        config=str(house.path),
        config_refused=live.refused_config,
        started_at=printed(live.started_ms),
        now=stamp(live.now) or "",
        clock=live.clock,
        log=_log(house, live, rows, sinks),
        sources=sources,
        sinks=sinks,
        tasks={
            name: TaskDoc(pulse.state, pulse.restarts, pulse.why)
            for name, pulse in sorted(live.pulses.items())
        },
        jobs=jobs_of(live.jobs, house),
    )


def _sink(house: House, live: Live, rows: Rows, name: str) -> SinkDoc:
    snap = rows.snap
    number = snap.scope("sink", name)
    lanes = {lane: live.waiting.get((name, lane), 0) for lane in (0, 1)}
    waiting = sum(lanes.values())
    oldest = rows.oldest.get(name) if waiting else None
    pulse = live.pulses.get(f"sink:{name}", Pulse())
    state, why = _sink_state(live, name, pulse, waiting)
    of = snap.sums.of
    ends = [
        live.cursors.get((name, lane), 0) if n else snap.newest_seq
        for lane, n in lanes.items()
    ]
    return SinkDoc(
        house.sinks[name].kind, state, why, min(ends), waiting, lanes[1],
        None if oldest is None else max(0.0, (millis(live.now) - oldest) / 1000),
        of(number, "delivered"), of(number, "skipped"), of(number, "dead"),
        live.rates.get(name), _empty_at(live, name, waiting), printed(live.taken.get(name)),
    )  # fmt: skip


def _sink_state(live: Live, name: str, pulse: Pulse, waiting: int) -> tuple[str, str]:
    if name in live.paused:
        return "paused", f"fleetd resume {name}"
    if not live.running:
        return ("waiting" if waiting else "idle"), "fleetd is stopped"
    if pulse.state == "held":
        return "held", pulse.why
    if pulse.state in {"failing", "waiting", "closed", "open"} and pulse.why:
        return "waiting", pulse.why
    return ("sending" if waiting else "idle"), ""


def _empty_at(live: Live, name: str, waiting: int) -> str | None:
    """When nothing will wait any more, at the pace of the last minute."""
    drain = live.drains.get(name, 0.0)
    if not waiting:
        return stamp(live.now)
    if drain <= 0:
        return None
    return printed(millis(live.now) + int(waiting / drain * 1000))


def _log(house: House, live: Live, rows: Rows, sinks: Mapping[str, SinkDoc]) -> LogDoc:
    snap = rows.snap
    span = 0 if snap.oldest_seq is None else snap.newest_seq - snap.oldest_seq + 1
    used = snap.pages * snap.page_bytes + live.wal
    pinned = _pinned(sinks)
    return LogDoc(
        id=snap.log_id,
        folder=str(Path(house.daemon.data)),
        newest_seq=snap.newest_seq,
        oldest_seq=snap.oldest_seq,
        oldest_received_at=printed(snap.oldest_ms),
        events=min(span, snap.sums.stored()),
        disk_bytes=used,
        max_disk_bytes=live.max_disk,
        free_bytes=live.free,
        wal_bytes=live.wal,
        full_in_hours=_full_in(live, snap, pinned=pinned is not None),
        pinned_by=pinned,
        durability="WAL, synchronous=FULL",
        sqlite=apsw.sqlite_lib_version(),
        fsync_p99_ms=live.fsync_p99_ms,
        ballast=live.ballast,
    )


def _pinned(sinks: Mapping[str, SinkDoc]) -> str | None:
    """The sink that keeps the oldest events from going, if one is well behind."""
    behind = {
        name: sink.cursor
        for name, sink in sinks.items()
        if (sink.oldest_waiting_s or 0) > PINS_AFTER_S
    }
    return min(behind, key=lambda name: behind[name], default=None)


def _full_in(live: Live, snap: Snapshot, *, pinned: bool) -> float | None:
    """Hours until nothing more can be kept, at the growth of the last hours.

    The limit of our own counts only where a sink keeps the oldest events from going:
    else the law makes room by itself.
    """
    if live.refusing and not live.ballast:  # let go: this is what it was for
        return 0.0
    if live.growth_per_h is None or live.growth_per_h <= 0:
        return None
    spare = snap.free_pages * snap.page_bytes
    left = live.free + spare
    if pinned:
        left = min(left, live.max_disk - snap.pages * snap.page_bytes + spare)
    return round(max(0, left) / live.growth_per_h, 1)


def _verdict(
    live: Live, rows: Rows, sources: Mapping[str, SourceDoc],
    sinks: Mapping[str, SinkDoc],
) -> tuple[str, list[str]]:  # fmt: skip
    bad = [f"intake refuses: {live.refusing}"] if live.refusing else []
    bad += [f"the ledger does not balance: {gap}" for gap in rows.gaps[:3]]
    if live.aside:
        bad.append(live.aside)
    poor = [*_poor_sources(live, sources), *_poor_sinks(live, sinks), *live.warnings]
    if not live.running:
        return "stopped", [*bad, *poor]
    if bad:
        return "unhealthy", [*bad, *poor]
    return ("degraded", poor) if poor else ("healthy", [])


def _poor_sources(live: Live, sources: Mapping[str, SourceDoc]) -> list[str]:
    if not live.running:
        return []
    found = []
    for name, doc in sources.items():
        failing = any(feed.state in TROUBLED for feed in doc.feeds.values())
        mute = name in live.unproven and doc.unverified  # strangers alone alarm nobody
        if doc.state in {"held", "silent"} or failing or mute:
            found.append(f"source {name} is {doc.state}: {doc.why}")
    return found


def _poor_sinks(live: Live, sinks: Mapping[str, SinkDoc]) -> list[str]:
    found = []
    for name, doc in sinks.items():
        late = doc.oldest_waiting_s or 0
        why = f": {doc.why}" if doc.why else ""
        if doc.state == "held" or (doc.state == "waiting" and live.running):
            found.append(f"sink {name} is {doc.state}{why}")
        elif late > BEHIND_S:
            found.append(
                f"sink {name} is {late / 60:.0f} minutes behind, {doc.waiting} waiting{why}"
            )
    return found
