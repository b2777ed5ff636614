"""How fast a full log is carried to each kind of sink, and how much memory that takes.

Each file here is one part, found by its name: `python -m tests.bench deliver --only
postgres,http` runs some of them. A part has `BUDGET`, events a second or 0 for none, and
`far(folder)`, a context of a `Far`; `MEMORY_MB` where its sink has processes of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from pathlib import Path
from typing import Any

import apsw
import msgspec

from tests.bench import proc
from tests.bench.deliver.part import Far
from tests.bench.fill import fill
from tests.bench.options import Options, folder_in
from tests.bench.report import Budget, Report, Spread, at_least, at_most, machine, say
from tests.bench.report import spread as spread_of
from tests.bench.servers import Running, Setup, fleetd_with, status

ROWS = 300_000
SHARE = 10  # the small log has this part of the large one's events
FLAT = 1.15
MEMORY_MB = 120
GLANCE_S = 0.05
PATIENCE_S = 600.0
HELPERS = frozenset({"part"})
REQUESTS = """
SELECT at_ms, n, ms FROM attempts JOIN names ON names.id = sink AND names.name = ?
WHERE side = 'sink' AND verdict = 'taken' ORDER BY attempts.id
"""
NOTES = [
    "A log with all events waiting; the daemon begins, and one new sink takes them from the oldest on.",
    "Rate: events of all requests but the first, from the end of that one to the end of the last, as the log has it.",
    "others_cores: what of the two cores others used meanwhile; writing_share: of the time, in requests.",
    "peak_mb is VmHWM of the daemon when nothing waits; flat: at a backlog ten times as long, over that of the short.",
    "The far side runs on the same cores; its processor time is told where it is a process of its own.",
]


class Drained(msgspec.Struct, frozen=True):
    """One log carried to one sink, whole."""

    part: str
    events: int
    events_per_s: float
    writing_share: float
    peak_mb: float
    daemon_cpu_s: float
    far_cpu_s: float
    others_cores: float


def run(options: Options) -> Report:
    rows = options.rows or ROWS
    wanted = options.only.split(",") if options.only else parts()
    with folder_in(options) as name:
        large, small = Path(name) / "large", Path(name) / "small"
        for folder, events in ((large, rows), (small, rows // SHARE)):
            folder.mkdir()
            fill(folder / "data", events)
        found = [
            one
            for part in wanted
            for one in rounds(part, small, large, options.rounds, rows)
        ]
    return Report(
        name="deliver",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=[one for part in wanted for one in budgets(part, found, rows)],
        figures={
            name: one
            for part in wanted
            for name, one in figures(part, found, rows).items()
        },
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in found],
    )


def parts() -> list[str]:
    """Every part there is."""
    names = {one.name for one in pkgutil.iter_modules(__path__)}
    return sorted(names - HELPERS)


def load(part: str) -> Any:
    if part not in parts():
        raise SystemExit(f"bench: deliver has {', '.join(parts())}; no {part!r}")
    return importlib.import_module(f"{__name__}.{part}")


def rounds(part: str, small: Path, large: Path, times: int, rows: int) -> list[Drained]:
    """The small log once, the large one as often as asked: each by a sink of its own."""
    found = [drained(part, 0, small, rows // SHARE)]
    found += [drained(part, number, large, rows) for number in range(1, times + 1)]
    for one in found:
        say(
            f"{part}: {one.events:,} at {one.events_per_s:,.0f}/s, {one.peak_mb:.0f} MB"
        )
    return found


def drained(part: str, number: int, folder: Path, rows: int) -> Drained:
    name = f"{part}{number}"
    with load(part).far(folder) as far:
        table = f'\n[sinks.{name}]\n{far.sink.strip()}\nstart = "oldest"\n'
        with fleetd_with(folder, Setup(files=0), table) as daemon:
            busy = proc.Busy()
            wait_until_empty(daemon, name)
            ours = daemon.cpu_seconds(), proc.cpu_seconds(far.pids)
            others, peak = busy.cores(sum(ours)), daemon.memory_mb("VmHWM")
        rate, writing = told(folder / "data", name)
    return Drained(
        part=part,
        events=rows,
        events_per_s=round(rate, 1),
        writing_share=round(writing, 3),
        peak_mb=round(peak, 1),
        daemon_cpu_s=round(ours[0], 2),
        far_cpu_s=round(ours[1], 2),
        others_cores=round(others, 2),
    )


def wait_until_empty(daemon: Running, name: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while (sink := status(daemon)["sinks"][name])["waiting"]:
        if time.monotonic() > until:
            raise SystemExit(f"bench: {name} still waits: {sink}")
        time.sleep(GLANCE_S)
    assert sink["delivered"], sink
    assert not sink["dead"], sink


def told(data: Path, name: str) -> tuple[float, float]:
    """Events a second from the first request's end to the last one's; the part of it spent in requests."""
    log = apsw.Connection(str(data / "log.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = log.execute(REQUESTS, (name,)).fetchall()
    finally:
        log.close()
    if len(found) == 1:  # so little that it went at once
        (_, events, ms), writing = found[0], 1.0
        return events * 1000 / max(ms, 1), writing
    seconds = (found[-1][0] - found[0][0]) / 1000
    events = sum(n for _, n, _ in found[1:])
    return events / seconds, sum(ms for _, _, ms in found[1:]) / 1000 / seconds


def of(part: str, found: list[Drained], rows: int) -> list[Drained]:
    return [one for one in found if one.part == part and one.events == rows]


def budgets(part: str, found: list[Drained], rows: int) -> list[Budget]:
    large, small = of(part, found, rows), of(part, found, rows // SHARE)
    rate = spread_of(one.events_per_s for one in large).median
    peak = max(one.peak_mb for one in large)
    kept: list[Budget] = []
    if least := load(part).BUDGET:
        kept.append(at_least(f"{part}: events a second", least, rate))
    most = getattr(load(part), "MEMORY_MB", MEMORY_MB)
    kept.append(at_most(f"{part}: peak memory, MB", most, peak))
    kept.append(
        at_most(
            f"{part}: peak memory over that of a tenth", FLAT, peak / small[0].peak_mb
        )
    )
    return kept


def figures(part: str, found: list[Drained], rows: int) -> dict[str, Spread]:
    large = of(part, found, rows)
    return {
        f"{part}_events_per_s": spread_of(one.events_per_s for one in large),
        f"{part}_peak_mb": spread_of(one.peak_mb for one in large),
        f"{part}_daemon_cpu_s": spread_of(one.daemon_cpu_s for one in large),
        f"{part}_far_cpu_s": spread_of(one.far_cpu_s for one in large),
    }


__all__ = ["Far", "run"]
