"""The daemon's peak memory with a million events waiting for four sinks of four kinds, and while it delivers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fleetd.store import SinkPlace
from fleetd.taking import Taking
from tests.bench import proc
from tests.bench.far import far
from tests.bench.fill import fill
from tests.bench.options import Options, folder_in
from tests.bench.report import Report, at_least, at_most, machine, say, spread
from tests.bench.servers import Running, Setup, fleetd_with, status
from tests.clouds.slack import HOOK, Slack

ROWS = 1_000_000
SHARE = 10  # the small log has this part of the events
GLANCE_S = 0.1
FLAT = 1.15
SLOW_S = 0.25  # each answer of the HTTP endpoint takes that
SINKS = """
[sinks.hub]
kind = "http"
url = "http://127.0.0.1:{hub}/ingest"
start = "oldest"

[sinks.archive]
kind = "file"
path = "{folder}/archive"
start = "oldest"

[sinks.lake]
kind = "parquet"
path = "{folder}/lake"
linger = "0s"
start = "oldest"

[sinks.ops]
kind = "slack"
webhook_url = "file:{folder}/hook"
takes = ["position", "fault"]
start = "oldest"
max_age = "400d"
"""
NAMES = ("hub", "archive", "lake", "ops")
NOTES = [
    "Each round: a log with everything waiting for an HTTP endpoint that takes 0.25 s to answer, for files, for Parquet and for Slack at its one message a second.",
    "peak_mb is VmHWM of the daemon's own process after so many seconds; flat: over that of a log with a tenth.",
    "children_mb: the most that its short-lived processes (Parquet's) were seen to hold beside it.",
]


class Round(msgspec.Struct, frozen=True):
    """One daemon with everything waiting."""

    rows: int
    waiting_at_first: dict[str, int]
    peak_mb: float
    rss_mb: float
    children_mb: float
    delivered: dict[str, int]
    cpu_s: float


def run(options: Options) -> Report:
    rows = options.rows or ROWS
    small = play(rows // SHARE, options)
    rounds = [play(rows, options) for _ in range(options.rounds)]
    peak = max(one.peak_mb for one in rounds)
    least = min(one.delivered[name] for one in rounds for name in NAMES)
    waited = min(one.waiting_at_first[name] for one in rounds for name in NAMES)
    return Report(
        name="memory",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=[
            at_least(
                "events waiting for each sink at first, of all", 0.8, waited / rows
            ),
            at_least("events delivered to each sink", 1, least),
            at_most("MB at the peak", 120, peak),
            at_most("peak over that of a tenth", FLAT, peak / small.peak_mb),
        ],
        figures={
            figure: spread(getattr(one, figure) for one in rounds)
            for figure in ("peak_mb", "rss_mb", "children_mb", "cpu_s")
        },
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in [small, *rounds]],
    )


@contextmanager
def slack(folder: Path) -> Iterator[None]:
    """One that takes a message a second, or says how long to wait."""
    one = Slack()
    one.now = time.monotonic
    file = folder / "hook"
    file.touch(0o600)
    file.write_text(f"http://127.0.0.1:{one.serve()}{HOOK}")
    try:
        yield
    finally:
        one.close()


def play(rows: int, options: Options) -> Round:
    with folder_in(options) as name, ExitStack() as stack:
        folder = Path(name)
        fill(folder / "data", rows, {one: SinkPlace(Taking()) for one in NAMES})
        stack.enter_context(slack(folder))
        hub = stack.enter_context(far(folder / "came", SLOW_S))
        sinks = SINKS.format(hub=hub.port, folder=folder)
        server = stack.enter_context(fleetd_with(folder, Setup(files=0), sinks))
        first, children = waiting(server), 0.0
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            children = max(children, beside(server))
            time.sleep(GLANCE_S)
        said = status(server)["sinks"]
        found = Round(
            rows=rows,
            waiting_at_first=first,
            peak_mb=own(server, "VmHWM"),
            rss_mb=own(server, "VmRSS"),
            children_mb=children,
            delivered={name: said[name]["delivered"] for name in NAMES},
            cpu_s=server.cpu_seconds(),
        )
    say(f"{found}")
    return found


def own(server: Running, field: str) -> float:
    """The daemon's own process, without its children."""
    return proc.kilobytes(server.roots[0], field) * 1024 / 1e6


def beside(server: Running) -> float:
    return server.memory_mb() - own(server, "VmRSS")


def waiting(server: Running) -> dict[str, Any]:
    return {name: one["waiting"] for name, one in status(server)["sinks"].items()}
