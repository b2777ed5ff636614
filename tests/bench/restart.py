"""kill -9 with a million events waiting for a sink: the first 2xx after the start, and the memory then."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from fleetd.store import SinkPlace
from fleetd.taking import Taking
from tests.bench.client import first_2xx
from tests.bench.fill import fill
from tests.bench.options import Options, folder_in
from tests.bench.report import Report, at_least, at_most, machine, say, spread
from tests.bench.servers import Setup, fleetd, status

ROWS = 1_000_000
SINK = "hub1"
SETTLE_S = 3.0
NOTES = [
    "The time is from the start of the process (interpreter and imports too) to the first 200 to a signed webhook.",
    "The sink's far side answers 503 throughout, so that everything keeps waiting.",
    "Memory is the peak within 3 s of the first 200, while the sink tries.",
]


class Start(msgspec.Struct, frozen=True):
    """One start after a kill -9, but for the first, which follows a clean end."""

    clean: bool
    first_2xx_s: float
    rss_mb: float
    peak_mb: float
    waiting: int


def run(options: Options) -> Report:
    rows = options.rows or ROWS
    with folder_in(options) as name:
        fill(Path(name) / "data", rows, {SINK: SinkPlace(Taking())})
        starts = [begin(Path(name), number) for number in range(options.rounds + 1)]
    killed = [one for one in starts if not one.clean]
    return Report(
        name="restart",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=[
            at_least("events waiting", rows, min(one.waiting for one in killed)),
            at_most("s to the first 2xx", 1, max(one.first_2xx_s for one in killed)),
            at_most("MB with all waiting", 120, max(one.peak_mb for one in killed)),
        ],
        figures={
            "first_2xx_s": spread(one.first_2xx_s for one in killed),
            "rss_mb": spread(one.rss_mb for one in killed),
            "peak_mb": spread(one.peak_mb for one in killed),
        },
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in starts],
    )


def begin(folder: Path, number: int) -> Start:
    """Start, take one webhook in, and die by SIGKILL."""
    setup = Setup(files=0, hubs=1, hole_status=503)
    began = time.monotonic()
    with fleetd(folder, setup, wait=False) as server:
        first_2xx(server.port, number)
        took = time.monotonic() - began
        time.sleep(SETTLE_S)
        start = Start(
            clean=number == 0,
            first_2xx_s=took,
            rss_mb=server.memory_mb(),
            peak_mb=server.memory_mb("VmHWM"),
            waiting=status(server)["sinks"][SINK]["waiting"],
        )
        server.kill()
    say(f"start {number}: {took:.3f} s, {start.peak_mb:.0f} MB")
    return start
