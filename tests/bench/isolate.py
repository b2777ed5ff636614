"""How long a well sink takes for live events, alone and beside three sick ones: A B, A B, A B."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import msgspec

from tests.bench.drain import FIRST, Live, at
from tests.bench.far import Came, far
from tests.bench.options import Options, folder_in
from tests.bench.report import Report, at_least, at_most, machine, say, spread
from tests.bench.servers import Setup, fleetd_with, status

EVERY_S = 0.01
SICK = {"slow": (2.0, 200), "broken": (0.0, 500), "hole": (0.0, 0)}  # wait, status
SINK = """
[sinks.{name}]
kind = "http"
url = "http://127.0.0.1:{port}/{name}"
rate = 200
linger = "0s"
start = "now"
"""
PATIENCE_S = 30.0
NOTES = [
    "100 live events a second; a latency is from before the webhook was sent until the well sink's far side had it.",
    "slow answers after 2 s, broken says 500, hole accepts and never answers; all of it waits for those.",
    "The ratio is of the 99th percentile over all rounds with the three, over that of all rounds without.",
]


class Round(msgspec.Struct, frozen=True):
    """One daemon, with the sick ones beside or without."""

    sick: bool
    sent: int
    missing: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    waiting: dict[str, int]
    cpu_s: float


def run(options: Options) -> Report:
    rounds: list[Round] = []
    waits: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * options.rounds):
        one, took = play(sick=number % 2 == 1, options=options)
        rounds.append(one)
        waits[one.sick] += took
        say(f"{one}")
    p99 = {sick: at(sorted(found), 0.99) * 1000 for sick, found in waits.items()}
    behind = [one.waiting.get("hole", 0) for one in rounds if one.sick]
    return Report(
        name="isolate",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=[
            at_most("missing", 0, sum(one.missing for one in rounds)),
            at_least("waiting for the hole", 1, min(behind)),
            at_most(
                "p99 beside three sick ones, of alone", 1.5, p99[True] / p99[False]
            ),
        ],
        figures=dict(figures(rounds)),
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in rounds],
    )


def figures(rounds: Sequence[Round]) -> Iterator[tuple[str, object]]:
    for word, sick in (("alone", False), ("beside", True)):
        mine = [one for one in rounds if one.sick is sick]
        yield f"{word}.p50_ms", spread(one.p50_ms for one in mine)
        yield f"{word}.p99_ms", spread(one.p99_ms for one in mine)
        yield f"{word}.max_ms", spread(one.max_ms for one in mine)


def play(*, sick: bool, options: Options) -> tuple[Round, list[float]]:
    with folder_in(options) as name, ExitStack() as stack:
        folder = Path(name)
        well = stack.enter_context(far(folder / "came"))
        sinks = SINK.format(name="well", port=well.port)
        for other, (wait, says) in SICK.items() if sick else ():
            port = stack.enter_context(far(folder / other, wait, says)).port
            sinks += SINK.format(name=other, port=port)
        server = stack.enter_context(fleetd_with(folder, Setup(), sinks))
        ended = Event()
        live = Live(server.port, ended, EVERY_S, FIRST)
        live.start()
        time.sleep(options.warmup + options.seconds)
        ended.set()
        live.join()
        until = time.monotonic() + PATIENCE_S
        while status(server)["sinks"]["well"]["waiting"] and time.monotonic() < until:
            time.sleep(0.05)
        said, cpu = status(server)["sinks"], server.cpu_seconds()
        stack.close()
        came = well.came()
    waiting = {name: one["waiting"] for name, one in said.items()}
    return judged(live, came, waiting, options.warmup, sick=sick, cpu=cpu)


def judged(
    live: Live,
    came: Sequence[Came],
    waiting: dict[str, int],
    warmup: float,
    *,
    sick: bool,
    cpu: float,
) -> tuple[Round, list[float]]:
    first: dict[str, float] = {}
    for one in came:
        for id_ in one.ids:
            first.setdefault(id_, one.at)
    begin = min(live.sent.values()) + warmup
    waits = [
        first[id_] - sent
        for id_, sent in live.sent.items()
        if id_ in first and sent >= begin
    ]
    usual = sorted(waits)
    return Round(
        sick=sick,
        sent=len(live.sent),
        missing=len(live.sent.keys() - first.keys()),
        p50_ms=at(usual, 0.5) * 1000,
        p99_ms=at(usual, 0.99) * 1000,
        max_ms=at(usual, 1) * 1000,
        waiting=waiting,
        cpu_s=cpu,
    ), waits
