"""Why a vehicle is not where it should be: what came of it, and what each sink did with that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import apsw
import msgspec

from fleetd.errors import UsageError
from fleetd.event import Entry, line_of, millis, stamp
from fleetd.store import stats, units
from fleetd.store.look import Filter, same, source_names
from fleetd.store.places import PLACES, taking_in
from fleetd.store.trail import Trail, quality, tellers, trail
from fleetd.store.units import Unit
from fleetd.taking import Taking, matches
from fleetd.tasks.report.asked import Asked

MOST_UNITS = 20


def answer(asked: Asked, db: apsw.Connection) -> dict[str, Any]:
    """Everything the log says of a vehicle since midnight, source by source."""
    typed, sink = asked.get("vehicle"), asked.get("sink")
    if not typed:
        raise UsageError("say which vehicle: its id, number, VIN or plate")
    if sink and sink not in asked.house.sinks:
        there = ", ".join(asked.house.sinks) or "none"
        raise UsageError(f"no sink {sink!r}; there are: {there}")
    every = meant(asked, db, typed)
    found = every[:MOST_UNITS]
    zone = asked.house.daemon.timezone.info
    today = asked.now.astimezone(zone).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    if asked.get("since"):
        today = asked.window()[0] or today
    takings = {
        name: taking_in(words)
        for name, words in db.execute(PLACES)
        if name in asked.house.sinks and sink in ("", name)
    }
    with stats.steady(db):
        snap = stats.snapshot(db)
        return {
            "vehicle": typed,
            "since": stamp(today),
            "more": len(every) - len(found),
            "units": [
                _unit(asked, db, one, millis(today), takings, snap) for one in found
            ],
        }


def meant(asked: Asked, db: apsw.Connection, typed: str) -> list[Unit]:
    """The vehicles that a typed name fits, or `UsageError` with the nearest ones."""
    sources = asked.sources(name for name, _ in source_names(db).values())
    narrow = units.narrowed(db, Filter(vehicle=typed, sources=sources))
    every = [one for one in units.units(db) if not sources or one.source in sources]
    found = [one for one in every if (one.source, one.id) in (narrow.units or ())]
    if not found:  # it may have told no name, and nobody else of it
        told = tellers(db, typed)
        found = [Unit(one, typed) for one in told if not sources or one in sources]
    if found:
        return found
    names = sorted({name for one in every for name in (one.number, one.id) if name})
    close = [one for one in names if same(f"*{typed}*", one)][:5] or names[:5]
    hint = f"; there are: {', '.join(close)} …" if close else ""
    raise UsageError(f"no source has told of a vehicle {typed!r}{hint}")


def _unit(
    asked: Asked, db: apsw.Connection, one: Unit, since_ms: int,
    takings: dict[str, Taking], snap: stats.Snapshot,
) -> dict[str, Any]:  # fmt: skip
    found = trail(db, one.source, one.id, since_ms)
    fix = found.last_fix
    age = asked.now - fix.event.at if fix and fix.event.at else None
    sides = Counter(one.side for one in found.dead)
    return {
        "source": one.source, "id": one.id, "number": one.number or None,
        "vin": one.vin or None, "plate": one.plate or None,
        "configured": one.source in asked.house.sources,
        "last_fix": line_of(fix) if fix else None,
        "last_fix_age_s": None if age is None else round(age / timedelta(seconds=1), 1),
        "stored": len(found.entries),
        "kinds": dict(Counter(entry.kind for entry in found.entries)),
        "counted_out": found.out,
        "whole": found.whole,
        "sought_everywhere": found.all,
        "dead": [
            {"id": letter.id, "side": letter.side, "name": letter.name,
             "seq": letter.seq, "why": letter.why}
            for letter in found.dead
        ],
        "dead_records": sides["source"],
        "quality": msgspec.to_builtins(quality(found)),
        "sinks": {
            name: _sink(name, taking, one, found, snap)
            for name, taking in takings.items()
        },
    }  # fmt: skip


def _sink(
    name: str, taking: Taking, one: Unit, found: Trail, snap: stats.Snapshot
) -> dict[str, Any]:
    """Whether a sink takes this vehicle's fixes, and how far it is with them."""
    entries = [*found.entries, *((found.last_fix,) if found.last_fix else ())]
    why = next(_why_not(taking, one, entries), "")
    taken = [entry for entry in entries if taking.takes(entry.source, entry.event)]
    scope = snap.scope("sink", name)
    waiting = {
        entry.seq
        for entry in taken
        if entry.seq > snap.cursors.get((scope, entry.lane), (0, 0))[0]
    }
    dead = [letter.seq for letter in found.dead if letter.name == name]
    return {
        "takes": not why, "why": why, "waiting": len(waiting), "dead": dead,
        "passed": len({entry.seq for entry in taken}) - len(waiting),
    }  # fmt: skip


def _why_not(taking: Taking, one: Unit, entries: list[Entry]) -> Iterator[str]:
    """The first thing that keeps this vehicle's fixes from a sink."""
    if "position" not in taking.kinds:
        yield "`takes` has no position"
    if taking.sources and one.source not in taking.sources:
        yield f"`sources` has no {one.source}"
    if not taking.vehicles:
        return
    names = [name.lower() for name in (one.id, one.number, one.vin) if name]
    said = any(matches(taking.vehicles, entry.event) for entry in entries)
    if not said and not any(
        same(glob, name) for glob in taking.vehicles for name in names
    ):
        yield "not matched by `vehicles`"
