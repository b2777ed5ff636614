"""How many signed webhooks a second are on the disk and answered, beside the peers: A B C, A B C, A B C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

import msgspec

from tests.bench.corpus import corpus
from tests.bench.options import Options, folder_in
from tests.bench.proc import Busy
from tests.bench.report import (
    Budget,
    Report,
    at_least,
    at_most,
    machine,
    say,
    spread,
)
from tests.bench.servers import (
    Running,
    Setup,
    drained,
    fastapi,
    flask,
    fleetd,
    setup_of,
)
from tests.bench.tools import Load, load

Contender = Callable[[Path, Setup], AbstractContextManager[Running]]
MORE_THAN_ANY_TAKES_PER_S = 25_000
NOTES = [
    "others_cores: how many cores the rest of the machine kept busy meanwhile; above 0.1 or so, run it again.",
    "Every contender starts each round with an empty store, gets the same bytes, and is stopped before the next.",
    "The peers verify, drop repeats, store and answer; they deliver to no sink. fleetd does, in the same seconds.",
    "CPU per million counts the whole process tree, for fleetd until its sinks have everything.",
]


class Round(msgspec.Struct, frozen=True):
    number: int
    contender: str
    load: Load
    cpu_s_per_million: float
    idle_mb: float
    peak_mb: float
    drained_s: float
    others_cores: float


def run(options: Options) -> Report:
    rounds = list(play(options))
    figures = {}
    for name in contenders(options):
        for figure, values in figures_of([r for r in rounds if r.contender == name]):
            figures[f"{name}.{figure}"] = spread(values)
    return Report(
        name="intake",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=list(budgets(options, rounds)),
        figures=figures,
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in rounds],
    )


def contenders(options: Options) -> dict[str, Contender]:
    every: dict[str, Contender] = {"fleetd": fleetd, "flask": flask, "fastapi": fastapi}
    if options.only:
        return {options.only: every[options.only]}
    return every if options.peer else {"fleetd": fleetd}


def play(options: Options) -> Iterator[Round]:
    count = int(MORE_THAN_ANY_TAKES_PER_S * (options.warmup + options.seconds))
    for number in range(options.rounds):
        with corpus(count, first=number * count) as requests:
            for name, start in contenders(options).items():
                one = measure(number, start, requests, options)
                say(
                    f"round {number + 1} {name}: {one.load.rate_per_s:.0f}/s, {one.load.wrong} wrong"
                )
                yield one


def measure(number: int, start: Contender, requests: Path, options: Options) -> Round:
    setup = setup_of(options)
    with folder_in(options) as folder, start(Path(folder), setup) as server:
        idle, before, busy = server.memory_mb(), server.cpu_seconds(), Busy()
        seen = load(
            server.port,
            requests,
            connections=options.connections,
            warmup=options.warmup,
            seconds=options.seconds,
        )
        others = busy.cores(server.cpu_seconds() - before + seen.own_cpu_s)
        waited = drained(server)
        used = server.cpu_seconds() - before
        return Round(
            number=number,
            contender=server.name,
            load=seen,
            cpu_s_per_million=used / max(seen.answered, 1) * 1e6,
            idle_mb=idle,
            peak_mb=server.memory_mb("VmHWM"),
            drained_s=waited,
            others_cores=others,
        )


def figures_of(rounds: list[Round]) -> Iterator[tuple[str, list[float]]]:
    yield "rate_per_s", [one.load.rate_per_s for one in rounds]
    yield "p50_ms", [one.load.latency_ms.p50 for one in rounds]
    yield "p99_ms", [one.load.latency_ms.p99 for one in rounds]
    yield "cpu_s_per_million", [one.cpu_s_per_million for one in rounds]
    yield "idle_mb", [one.idle_mb for one in rounds]
    yield "peak_mb", [one.peak_mb for one in rounds]
    yield "others_cores", [one.others_cores for one in rounds]
    yield "wrong_answers", [float(one.load.wrong) for one in rounds]


def budgets(options: Options, rounds: list[Round]) -> Iterator[Budget]:
    def middle(name: str, of: Callable[[Round], float]) -> float:
        return median([of(one) for one in rounds if one.contender == name])

    def rate(name: str) -> float:
        return middle(name, lambda one: one.load.rate_per_s)

    measured, native = contenders(options), not options.sync_delay_ms
    yield at_most("answers that were no 200", 0, sum(one.load.wrong for one in rounds))
    if "fleetd" not in measured:
        return
    cpu = middle("fleetd", lambda one: one.cpu_s_per_million)
    yield at_most("CPU seconds a million", 60, cpu)
    yield at_most("MB idle", 60, middle("fleetd", lambda one: one.idle_mb))
    yield at_most("MB under load", 120, middle("fleetd", lambda one: one.peak_mb))
    if native:
        yield at_least("requests a second", 15_000, rate("fleetd"))
    if "fastapi" in measured:
        least = 3 if native else 1.2
        times = rate("fleetd") / rate("fastapi")
        yield at_least("times FastAPI + Redis", least, times)
    if "flask" in measured and native:
        yield at_least("times Flask + SQLite", 8, rate("fleetd") / rate("flask"))
