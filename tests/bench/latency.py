"""How long an answer takes at a steady rate, counted from when each request was due, over a sync of the folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from tests.bench import sync
from tests.bench.corpus import corpus
from tests.bench.options import Options, folder_in
from tests.bench.report import Budget, Report, at_most, machine, say, spread
from tests.bench.servers import drained, fleetd, setup_of
from tests.bench.tools import Load, load

NOTES = [
    "Open loop: a request's latency counts from the moment it was due (no coordinated omission).",
    "p99_over_sync is the p99 of the answers less the median sync, the stricter way to say it.",
]


class Round(msgspec.Struct, frozen=True):
    load: Load
    sync_before: sync.Sync
    sync_after: sync.Sync
    cpu_s_per_million: float
    idle_mb: float
    loaded_mb: float
    peak_mb: float

    @property
    def p99_over_sync(self) -> float:
        syncs = (self.sync_before.p50_ms, self.sync_after.p50_ms)
        return self.load.latency_ms.p99 - sum(syncs) / 2


def run(options: Options) -> Report:
    count = int(options.rate * (options.warmup + options.seconds)) + 1
    with corpus(count) as requests:
        rounds = [measure(requests, options) for _ in range(options.rounds)]
    return Report(
        name="latency",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=list(budgets(rounds)),
        figures={name: spread(values) for name, values in figures_of(rounds)},
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in rounds],
    )


def measure(requests: Path, options: Options) -> Round:
    setup = setup_of(options)
    with folder_in(options) as name, fleetd(Path(name), setup) as server:
        time.sleep(1)
        idle, before = server.memory_mb(), server.cpu_seconds()
        first = sync.measure(Path(name), delay_ms=options.sync_delay_ms)
        seen = load(
            server.port,
            requests,
            connections=options.connections,
            warmup=options.warmup,
            seconds=options.seconds,
            rate=options.rate,
        )
        loaded = server.memory_mb()
        drained(server)
        used = server.cpu_seconds() - before
        say(f"p99 {seen.latency_ms.p99:.2f} ms, {seen.wrong} wrong")
        return Round(
            load=seen,
            sync_before=first,
            sync_after=sync.measure(Path(name), delay_ms=options.sync_delay_ms),
            cpu_s_per_million=used / max(seen.answered, 1) * 1e6,
            idle_mb=idle,
            loaded_mb=loaded,
            peak_mb=server.memory_mb("VmHWM"),
        )


def figures_of(rounds: list[Round]) -> Iterator[tuple[str, list[float]]]:
    yield "p50_ms", [one.load.latency_ms.p50 for one in rounds]
    yield "p99_ms", [one.load.latency_ms.p99 for one in rounds]
    yield "max_ms", [one.load.latency_ms.max for one in rounds]
    yield "sync_p50_ms", [one.sync_before.p50_ms for one in rounds]
    yield "sync_p99_ms", [one.sync_before.p99_ms for one in rounds]
    yield "sync_max_ms", [one.sync_before.max_ms for one in rounds]
    yield "p99_over_sync_ms", [one.p99_over_sync for one in rounds]
    yield "cpu_s_per_million", [one.cpu_s_per_million for one in rounds]
    yield "idle_mb", [one.idle_mb for one in rounds]
    yield "loaded_mb", [one.loaded_mb for one in rounds]
    yield "peak_mb", [one.peak_mb for one in rounds]


def budgets(rounds: list[Round]) -> Iterator[Budget]:
    over = median(one.p99_over_sync for one in rounds)
    yield at_most("answers that were no 200", 0, sum(one.load.wrong for one in rounds))
    yield at_most("p99 over the sync, ms", 10, over)
    yield at_most("MB idle", 60, median(one.idle_mb for one in rounds))
    yield at_most("MB under load", 120, median(one.peak_mb for one in rounds))
