"""Intake and `status` with five million events in the log, beside an empty one: A B, A B, A B."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from tests.bench.corpus import corpus
from tests.bench.fill import fill
from tests.bench.intake import MORE_THAN_ANY_TAKES_PER_S
from tests.bench.options import Options, folder_in
from tests.bench.report import Report, at_least, at_most, machine, say, spread
from tests.bench.servers import Running, Setup, fleetd, status
from tests.bench.tools import Load, load

ROWS = 5_000_000
ASKED = 300
NOTES = [
    "The big log is filled once and grows a little with each round; the empty one is new each round.",
    "status: the median of 300 asked over one connection each, after the load.",
]


class Round(msgspec.Struct, frozen=True):
    log: str
    load: Load
    status_ms: float
    newest_seq: int


def run(options: Options) -> Report:
    with folder_in(options) as name:
        rows = options.rows or ROWS
        fill(Path(name) / "data", rows)
        rounds = list(play(Path(name), options))
    rates = {log: rates_of(rounds, log) for log in ("empty", "big")}
    asked = {log: status_of(rounds, log) for log in ("empty", "big")}
    return Report(
        name="big",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=[
            at_most("answers that were no 200", 0, sum(r.load.wrong for r in rounds)),
            at_least(
                "intake, of an empty one",
                0.8,
                median(rates["big"]) / median(rates["empty"]),
            ),
            at_most(
                "status, of an empty one",
                1.2,
                median(asked["big"]) / median(asked["empty"]),
            ),
        ],
        figures={
            "empty.rate_per_s": spread(rates["empty"]),
            "big.rate_per_s": spread(rates["big"]),
            "empty.status_ms": spread(asked["empty"]),
            "big.status_ms": spread(asked["big"]),
        },
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in rounds],
    )


def play(big: Path, options: Options) -> Iterator[Round]:
    size = int(MORE_THAN_ANY_TAKES_PER_S * (options.warmup + options.seconds))
    for number in range(options.rounds):
        with corpus(size, first=number * size) as requests:
            with folder_in(options) as empty:
                yield measure("empty", Path(empty), requests, options)
            yield measure("big", big, requests, options)


def measure(log: str, folder: Path, requests: Path, options: Options) -> Round:
    # `now`, or the file sink would first carry the five million away
    with fleetd(folder, Setup(start="now")) as server:
        seen = load(
            server.port,
            requests,
            connections=options.connections,
            warmup=options.warmup,
            seconds=options.seconds,
        )
        time.sleep(1)
        took = median(ask(server) for _ in range(ASKED))
        newest = status(server)["log"]["newest_seq"]
    say(f"{log}: {seen.rate_per_s:.0f}/s, status {took:.2f} ms, {newest:,} events")
    return Round(log, seen, took, newest)


def ask(server: Running) -> float:
    began = time.perf_counter()
    status(server)
    return (time.perf_counter() - began) * 1000


def rates_of(rounds: list[Round], log: str) -> list[float]:
    return [one.load.rate_per_s for one in rounds if one.log == log]


def status_of(rounds: list[Round], log: str) -> list[float]:
    return [one.status_ms for one in rounds if one.log == log]
