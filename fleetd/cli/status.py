"""The state of everything, and why: sources, sinks, what waits, the disk, the tasks.

Exit 0 healthy or degraded, 1 unhealthy, 69 stopped (then it is read from the log).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from fleetd import config
from fleetd.cli import _client, _show
from fleetd.cli._show import ago, apart, many, size, span
from fleetd.cli.jobs import said
from fleetd.errors import ConfigError, FleetdError, UsageError
from fleetd.masking import MASK
from fleetd.tasks.report.shape import Document

EXITS = {"healthy": 0, "degraded": 0, "unhealthy": 1, "stopped": 69}
REDRAW_S = 2.0
SOURCES = ("source", "provider", "state", "received", "stored", "dup", "filt", "dead",
           "refused", "last")  # fmt: skip
SINKS = ("sink", "kind", "state", "waiting", "oldest", "rate/s", "empty in", "delivered",
         "skipped", "dead", "last")  # fmt: skip
SPARE = ("rate/s", "provider", "kind", "skipped", "filt", "dup",  # on 80 columns
         "refused", "oldest", "empty in", "received", "delivered",
         "stored")  # on fewer  # fmt: skip
SHOWN = ("feed:", "sink:")  # tasks that have a line of their own above
Block = tuple[Sequence[str], list[Sequence[str]], str]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="redraw every 2 s")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    try:
        house = config.load(chosen.config)
    except ConfigError as bad:
        return anyway(chosen, bad)
    if chosen.watch and (chosen.json or not _show.on_terminal()):
        raise UsageError("--watch redraws a terminal; without one, ask again by hand")
    if chosen.watch:
        return watch(house)
    return tell(_client.reader(house).status(), as_json=chosen.json)


def anyway(chosen: argparse.Namespace, bad: ConfigError) -> int:
    """The file is wrong; a daemon that runs goes on as before, and can be asked."""
    remote = None if chosen.watch else _client.despite(chosen.config)
    if remote is None:
        raise bad
    sys.stderr.write(f"fleetd: {MASK.mask(str(bad))}\n")
    return tell(remote.status(), as_json=chosen.json)


def tell(doc: Document, *, as_json: bool) -> int:
    if as_json:
        _show.document(doc)
    else:
        draw(doc)
    return EXITS[doc.state]


def watch(house: config.House) -> int:
    """Draw again and again until interrupted; a restart of the daemon is waited out."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=_show.console(), screen=True, auto_refresh=False) as live:
        while True:
            try:
                shown = screen(_client.reader(house).status())
            except FleetdError as bad:
                shown = Text(f"fleetd: {bad}", style="red")
            live.update(shown, refresh=True)
            time.sleep(REDRAW_S)


def draw(doc: Document) -> None:
    """Print it once."""
    if _show.on_terminal():
        _show.console().print(screen(doc))
        return
    for line in verdict(doc):
        print(_show.printable(line))
    for heads, rows, sides in tables(doc):
        print()
        for line in _show.plain(heads, rows, sides):
            print(line)
    print()
    for line in rest(doc):
        print(_show.printable(line))


def screen(doc: Document) -> Any:
    """The whole of it for a terminal."""
    from rich.console import Group
    from rich.text import Text

    colour = _show.COLOURS[doc.state]
    first, *why = verdict(doc)
    parts: list[Any] = [Text(_show.printable(first), style=f"bold {colour}")]
    parts += [Text(_show.printable(line), style=colour) for line in why]
    for heads, rows, sides in tables(doc):
        parts += [Text(""), _show.rich_table(heads, rows, sides, SPARE)]
    parts.append(Text(""))
    parts += [Text(_show.printable(line)) for line in rest(doc)]
    return Group(*parts)


def verdict(doc: Document) -> Iterator[str]:
    """One line of verdict, and why."""
    up = f", up {span(apart(doc.started_at, doc.now))}" if doc.started_at else ""
    pid = f" (pid {doc.pid}{up})" if doc.pid else ""
    yield f"fleetd {doc.version}{pid} is {doc.state.upper()}  {doc.config}"
    for reason in doc.reasons:
        yield f"  ! {reason}"


def tables(doc: Document) -> Iterator[Block]:
    """Sources and sinks."""
    if doc.sources:
        rows = [row for name in doc.sources for row in source_rows(doc, name)]
        yield SOURCES, rows, "lllrrrrrrl"
    if doc.sinks:
        rows = [row for name in doc.sinks for row in sink_rows(doc, name)]
        yield SINKS, rows, "lllrrrrrrrl"


def source_rows(doc: Document, name: str) -> Iterator[Sequence[str]]:
    one = doc.sources[name]
    last = ago(one.last_received_at, doc.now)
    counts = (
        one.received,
        one.stored,
        one.duplicate,
        one.filtered,
        one.dead,
        one.refused,
    )
    yield (name, one.provider, one.state, *map(many, counts), last)
    for feed, it in one.feeds.items():
        asked = ago(it.last_success_at, doc.now)
        yield (f"  {feed}", "", it.state, many(it.records), "", "", "", "", "", asked)


def sink_rows(doc: Document, name: str) -> Iterator[Sequence[str]]:
    one = doc.sinks[name]
    waiting = many(one.waiting)
    if one.waiting_safety:
        waiting += f" ({many(one.waiting_safety)} safety)"
    yield (
        name, one.kind, one.state, waiting, span(one.oldest_waiting_s),
        "-" if one.rate_per_s is None else f"{one.rate_per_s:.1f}", empty_in(doc, name),
        many(one.delivered), many(one.skipped), many(one.dead),
        ago(one.last_success_at, doc.now),
    )  # fmt: skip


def empty_in(doc: Document, name: str) -> str:
    """When nothing will wait any more."""
    one = doc.sinks[name]
    if not one.waiting:
        return "-"
    if one.state in {"held", "paused"}:
        return f"not while {one.state}"
    if one.empty_at is None:
        return "not at this pace" if one.rate_per_s is not None else "?"
    return span(max(1.0, apart(doc.now, one.empty_at)))


def rest(doc: Document) -> Iterator[str]:
    """What each says of itself, dead letters, the log and its disk, clock, jobs, tasks."""
    yield from notes(doc)
    yield from letters(doc)
    yield from drift(doc)
    yield from quiet(doc)
    yield from log(doc)
    for line in doc.config_refused.splitlines():
        yield f"config    not taken, fleetd goes on as before: {line}"
    if doc.clock.state != "ok":
        yield f"clock     {doc.clock.state}: {doc.clock.why}"
    for job in doc.jobs:
        if job.state in {"running", "paused"}:
            far = said(msgspec.structs.asdict(job))
            left = "" if job.left_s is None else f", {span(job.left_s)} left"
            to = "of" if job.kind == "backfill" else "to"
            yield f"job {job.id:<5} {job.kind} {to} {job.target} {job.state}: {far}{left}"
    yield from tasks(doc)


def notes(doc: Document) -> Iterator[str]:
    """Why a source or sink is in its state, where the verdict did not say so."""
    told = " ".join(doc.reasons)
    said = [(name, one.state, one.why) for name, one in doc.sources.items()]
    said += [(name, one.state, one.why) for name, one in doc.sinks.items()]
    for name, state, why in said:
        if why and why not in told and doc.state != "stopped":
            yield f"{name:<9} {state}: {why}"


def letters(doc: Document) -> Iterator[str]:
    sources = {name: one.dead for name, one in doc.sources.items() if one.dead}
    sinks = {name: one.dead for name, one in doc.sinks.items() if one.dead}
    both = [f"{name} {many(n)}" for name, n in (*sources.items(), *sinks.items())]
    yield f"dead      {', '.join(both)}: fleetd dead" if both else "dead      none"
    kept = [
        f"{name} {many(one.unverified)}"
        for name, one in doc.sources.items()
        if one.unverified
    ]
    if kept:
        yield f"unproven  {', '.join(kept)}: bodies that no secret vouches for: fleetd dead"


def quiet(doc: Document) -> Iterator[str]:
    found = [
        f"{name} {many(one.silent_vehicles)}"
        for name, one in doc.sources.items()
        if one.silent_vehicles
    ]
    if found:
        yield f"silent    {', '.join(found)} vehicles longer than usual: fleetd why VEHICLE"


def drift(doc: Document) -> Iterator[str]:
    found = [
        f"{name} {many(one.drift)}" for name, one in doc.sources.items() if one.drift
    ]
    if found:
        yield (
            f"drift     {', '.join(found)}: of types that this fleetd does not know: "
            "fleetd events --kind other"
        )


def log(doc: Document) -> Iterator[str]:
    it = doc.log
    first = (
        "empty" if it.oldest_seq is None else f"seq {it.oldest_seq} to {it.newest_seq}"
    )
    since = f", since {it.oldest_received_at[:10]}" if it.oldest_received_at else ""
    yield f"log       {many(it.events)} events ({first}{since}) in {it.folder}"
    full = "not filling up"
    if it.full_in_hours == 0:
        full = "full"
    elif it.full_in_hours is not None:
        full = f"full in {span(it.full_in_hours * 3600)}"
    pinned = f", pinned by {it.pinned_by}" if it.pinned_by else ""
    sync = "" if it.fsync_p99_ms is None else f", commits p99 {it.fsync_p99_ms:g} ms"
    yield (
        f"disk      {size(it.disk_bytes)} of {size(it.max_disk_bytes)}, "
        f"{size(it.free_bytes)} free, {full}{pinned}{sync}"
    )


def tasks(doc: Document) -> Iterator[str]:
    if not doc.tasks:
        return
    again = [
        f"{name} x{one.restarts}" for name, one in doc.tasks.items() if one.restarts
    ]
    sick = [
        f"{name} {one.state}"
        for name, one in doc.tasks.items()
        if one.state in {"failing", "held"} and not name.startswith(SHOWN)
    ]
    restarted = f"; run again: {', '.join(again)}" if again else ""
    unwell = f"; unwell: {', '.join(sick)}" if sick else ""
    yield f"tasks     {len(doc.tasks)} running{restarted}{unwell}"
