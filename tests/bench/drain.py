"""A backlog drained under a limit with live events beside: the rate used, breaches, what live ones wait."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from threading import Event, Thread

import msgspec

from fleetd.store import SinkPlace
from fleetd.taking import Taking
from tests.bench import proc
from tests.bench.corpus import SECRET
from tests.bench.far import Came, far
from tests.bench.fill import fill
from tests.bench.options import Options, folder_in
from tests.bench.report import Budget, Report, at_least, at_most, machine, say, spread
from tests.bench.servers import ROOT, Running, Setup, fleetd_with, status
from tests.faults.load import Line, point, violation

ROWS = 50_000
RATES = {"fifty": 50, "twohundred": 200}
PARALLEL = {"fifty": 1, "twohundred": 4}  # one at a time has 5 ms for each of 200
BURST_S = 0.2  # of its rate, that a sink may make up for at once
LIVE_EVERY_S = 0.2
AGAIN_S = 0.1
ALARM_EVERY = 35  # live events
FIRST = 1 << 42  # away from the numbers of the fill
SINK = """
[sinks.{name}]
kind = "http"
url = "http://127.0.0.1:{port}/{name}"
rate = {rate}
parallel = {parallel}
batch = 1
linger = "0s"
start = "{start}"
"""
FIGURES = (
    "of_ideal",
    "live_p99_s",
    "alarm_max_s",
    "peak_mb",
    "cpu_ms_a_request",
)
NOTES = [
    "Two sinks at a time, one event a request: at 50 a second, and at 200 with up to 4 under way; 5 live events a second go to both.",
    "--only outage:twohundred is one of the modes to one of the sinks.",
    "outage: all of it waits in the sink's lane, so live positions keep their place behind it; alarms do not.",
    "replay: the same number is sent again by a job, behind live delivery.",
    "of_ideal: all that came from the first request to the last of the backlog, over the rate.",
    "breaches: sliding seconds of the far side's own clock that held more requests than the limit allows.",
    "by_bucket: requests that a token bucket at the far side, with the sink's burst, would have refused.",
    "A latency is from before the webhook was sent until the request that carries it came.",
    "cpu_ms_a_request: of the daemon, live intake included; others_cores: what of the cores was busy with others.",
    "alarm_requests_ahead: how many requests came between the two.",
]


class Round(msgspec.Struct, frozen=True):
    mode: str
    sink: str
    came: int
    repeated: int
    missing: int
    of_ideal: float
    breaches: int
    by_bucket: int
    fullest_second: int
    live_p50_s: float
    live_p99_s: float
    live_max_s: float
    alarm_max_s: float
    alarm_requests_ahead: int
    peak_mb: float
    cpu_ms_a_request: float
    others_cores: float


class Costs(msgspec.Struct, frozen=True):
    """What the daemon spent, and what others did beside it."""

    peak_mb: float
    cpu_ms_a_request: float
    others_cores: float


def run(options: Options) -> Report:
    mode, _, sink = options.only.partition(":")
    rates = {name: rate for name, rate in RATES.items() if sink in ("", name)}
    rounds = [
        one
        for mode in ([mode] if mode else ["outage", "replay"])
        for one in play(mode, rates, options)
    ]
    return Report(
        name="drain",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=list(budgets(rounds)),
        figures={
            f"{one.mode}.{one.sink}.{figure}": spread([getattr(one, figure)])
            for one in rounds
            for figure in FIGURES
        },
        notes=NOTES,
        raw=[msgspec.to_builtins(one) for one in rounds],
    )


def budgets(rounds: Sequence[Round]) -> Iterator[Budget]:
    yield at_least("of the ideal", 0.98, min(one.of_ideal for one in rounds))
    yield at_most("breaches", 0, sum(one.breaches for one in rounds))
    yield at_most("missing", 0, sum(one.missing for one in rounds))
    yield at_most("s an alarm waits", 1, max(one.alarm_max_s for one in rounds))
    live = [one.live_p99_s for one in rounds if one.mode == "replay"]
    if live:
        yield at_most("live p99 beside a replay, s", 2, max(live))


def play(mode: str, rates: Mapping[str, int], options: Options) -> list[Round]:
    rows = options.rows or ROWS
    with folder_in(options) as name, ExitStack() as stack:
        folder = Path(name)
        known = {sink: SinkPlace(Taking()) for sink in rates}
        fill(folder / "data", rows, known if mode == "outage" else None)
        hub = stack.enter_context(far(folder / "came"))
        sinks = sinks_to(hub.port, rates)
        server = stack.enter_context(fleetd_with(folder, Setup(), sinks))
        ended = Event()
        live, busy = Live(server.port, ended), proc.Busy()
        if mode == "replay":
            for sink in rates:
                again(folder, sink, rows)
        live.start()
        wait_until_through(server)
        ended.set()
        live.join()
        wait_until_through(server, left=0)
        peak, cpu = server.memory_mb("VmHWM"), server.cpu_seconds()
        others = busy.cores(cpu + proc.cpu_seconds([hub.pid]))
        stack.close()
        came = hub.came()
    found = []
    for sink in rates:
        mine = [one for one in came if one.path == f"/{sink}"]
        costs = Costs(peak, cpu * 1000 / len(came), others)
        found.append(judged(mode, sink, mine, rows, live, costs))
        say(f"{mode} {sink}: {found[-1]}")
    return found


def sinks_to(port: int, rates: Mapping[str, int]) -> str:
    return "".join(
        SINK.format(
            name=name, port=port, rate=rate, parallel=PARALLEL[name], start="now"
        )
        for name, rate in rates.items()
    )


def again(folder: Path, sink: str, rows: int) -> None:
    """Begin a replay of everything that was there."""
    file = str(folder / "fleetd.toml")
    words = ["-c", file, "replay", sink, "--seq", f"1:{rows}", "--yes", "--json"]
    command = [sys.executable, "-m", "fleetd", *words]
    environ = {**os.environ, "BENCH_SECRET": SECRET, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)


def wait_until_through(server: Running, left: int = 100) -> None:
    """Until hardly anything waits, nor is sent again."""
    while True:
        said = status(server)
        most = max(one["waiting"] for one in said["sinks"].values())
        busy = any(one["state"] == "running" for one in said["jobs"])
        if most <= left and not busy:
            return
        time.sleep(0.5)


class Live(Thread):
    """Vehicles that go on sending, and an alarm now and then."""

    def __init__(
        self, port: int, ended: Event, every_s: float = LIVE_EVERY_S, first: int = FIRST
    ) -> None:
        super().__init__(daemon=True)
        self._port, self._ended = port, ended
        self._every_s, self._first = every_s, first
        self.sent: dict[str, float] = {}
        self.alarms: set[str] = set()

    def run(self) -> None:
        line, due = Line(self._port), time.monotonic()
        for number in count(self._first):
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            alarm = number % ALARM_EVERY == 0
            names, request = (violation if alarm else point)(number)
            (id_,) = (name.split(" ", 1)[1] for name in names)
            self.sent[id_] = time.monotonic()
            if alarm:
                self.alarms.add(id_)
            while line.post(request)[0] != 200:  # 503: again, as vendors do
                time.sleep(AGAIN_S)
            due += self._every_s


def judged(
    mode: str, sink: str, came: Sequence[Came], rows: int, live: Live, costs: Costs
) -> Round:
    rate = RATES[sink]
    times = [one.at for one in came]
    first: dict[str, int] = {}
    for number, one in enumerate(came):
        for id_ in one.ids:
            first.setdefault(id_, number)
    backlog = max(n for id_, n in first.items() if id_ not in live.sent)
    waits = {
        id_: times[first[id_]] - at for id_, at in live.sent.items() if id_ in first
    }
    alarms = {id_: wait for id_, wait in waits.items() if id_ in live.alarms}
    usual = sorted(wait for id_, wait in waits.items() if id_ not in live.alarms)
    return Round(
        mode=mode,
        sink=sink,
        came=len(came),
        repeated=sum(len(one.ids) for one in came) - len(first),
        missing=rows + len(live.sent) - len(first),
        of_ideal=backlog / (times[backlog] - times[0]) / rate,
        breaches=sum(n > rate for n in in_a_second(times)),
        by_bucket=over_bucket(times, rate, round(rate * BURST_S)),
        fullest_second=max(in_a_second(times)),
        live_p50_s=at(usual, 0.5),
        live_p99_s=at(usual, 0.99),
        live_max_s=at(usual, 1),
        alarm_max_s=max(alarms.values()),
        alarm_requests_ahead=max(
            first[id_] - bisect_left(times, live.sent[id_]) for id_ in alarms
        ),
        **msgspec.structs.asdict(costs),
    )


def in_a_second(times: Sequence[float]) -> Iterator[int]:
    """How many came within the second that ends with each."""
    return (n + 1 - bisect_right(times, at - 1) for n, at in enumerate(times))


def over_bucket(times: Sequence[float], rate: float, burst: int) -> int:
    """How many a token bucket at the far side would have refused."""
    tokens, last, over = float(burst), times[0], 0
    for at in times:
        tokens = min(float(burst), tokens + (at - last) * rate)
        last = at
        over += tokens < 1
        tokens -= tokens >= 1
    return over


def at(values: Sequence[float], share: float) -> float:
    return (
        values[min(len(values) - 1, int(len(values) * share))] if values else math.nan
    )
