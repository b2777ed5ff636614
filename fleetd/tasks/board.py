"""What a running daemon knows of itself: everything that status needs and no row tells."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import trio
from msgspec import Struct

from fleetd.clock import Clock
from fleetd.config import House
from fleetd.errors import FleetdError
from fleetd.event import CODES, LANES, millis
from fleetd.metrics import Metrics
from fleetd.providers.contract import Provider
from fleetd.store import Store, stats
from fleetd.tasks.listen import Gate, mark_of
from fleetd.tasks.probes import Probes
from fleetd.tasks.report.rows import Live, Pulse
from fleetd.tasks.report.shape import ClockDoc
from fleetd.tasks.supervise import Health
from fleetd.world import World

if TYPE_CHECKING:
    from fleetd.tasks.poll import Credential
    from fleetd.tasks.registration import Registration

SAMPLE_S = 10.0
WINDOW = 6  # samples: the pace of the last minute
KEEP_EVERY = 6  # samples between two writes of what must survive a restart
DISK_EVERY_MS = 600_000
DISK_KEPT = 36  # six hours of sizes
DISK_LEAST_MS = 1_200_000
TIMES = "board:times"
DISK = "board:disk"


class Sample(Struct, frozen=True):
    """How far every sink was at one moment."""

    at: float
    waiting: dict[str, int]
    decided: dict[str, int]


class Board:
    """One daemon's own view of itself; tasks write their part, reports read it."""

    def __init__(
        self,
        house: House,
        store: Store,
        world: World,
        *,
        clock: Clock,
        metrics: Metrics | None = None,
        refusing: Callable[[], str] | None = None,
        providers: Mapping[str, Provider] | None = None,
        notifies: Iterable[str] = (),
        started_ms: int | None = None,
    ) -> None:
        self.house = house
        self.store = store
        self.world = world
        self.clock = clock
        self.metrics = metrics or Metrics()
        self.refusing = refusing or (lambda: store.trouble)
        self.providers = dict(providers or {})
        self.notifies = frozenset(notifies)
        self.started_ms = started_ms or millis(world.now())
        self.freshen: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.silent: dict[str, int] = {}  # source → vehicles that do not speak
        self.unregistered: dict[str, str] = {}  # source → why no webhook can come
        self.probes = Probes()
        self.gates: Mapping[str, Gate] = {}  # of the sources that receive
        self.registrations: dict[str, Registration] = {}
        self.healths: dict[str, Health] = {}
        self.budgets: dict[str, Callable[[], dict[str, Any]]] = {}
        self.credentials: Mapping[str, Credential] = {}  # of the sources that poll
        self.received: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self.refused_config = ""  # what was wrong with the file at the last reload
        self.ending = False
        self._samples: deque[Sample] = deque(maxlen=WINDOW + 1)
        self._disk: list[tuple[int, int]] = []

    def heard(self, source: str, ms: int) -> None:
        """Something of a source arrived, whatever became of it."""
        self.received[source] = ms

    def proven(self, source: str) -> bool:
        """Whether the secrets of now ever verified anything, or none are needed."""
        table = self.house.sources.get(source)
        if table is None or not table.webhook_secret:
            return True
        known = self.store.recall(f"verified:{source}").get("mark")
        return bool(known == mark_of(table.webhook_secret.reveal()))

    def end(self) -> None:
        """Have who waits for events answered now: no door closes on a long poll."""
        self.ending = True
        self.store.wake()

    async def begin(self) -> None:
        """Take up the times of the run before, so that a restart changes none."""
        kept = self.store.recall(TIMES)
        rows = await self.store.reading(
            lambda reader: (
                stats.last_raw(reader.db),
                stats.last_taken(reader.db),
                tuple(stats.scopes(reader.db)),
            )
        )
        names = {one.id: one.name for one in rows[2]}
        for here, before, found in (
            (self.received, kept.get("received", {}), rows[0]),
            (self.taken, kept.get("taken", {}), rows[1]),
        ):
            here.update(before)
            for number, ms in found.items():
                name = names.get(number, "")
                here[name] = max(here.get(name, 0), ms)
        self._disk = [
            (at, size) for at, size in self.store.recall(DISK).get("sizes", [])
        ]

    def live(self) -> Live:
        """All of it at this moment."""
        store, now = self.store, self.world.now()
        names = (*self.house.sources, *self.house.sinks)
        pairs = [*product(self.house.sinks, range(len(LANES)))]
        p99 = self.metrics.commit.quantile(0.99)
        return Live(
            now=now,
            running=True,
            pid=os.getpid(),
            started_ms=self.started_ms,
            refusing=self.refusing(),
            clock=ClockDoc(self.clock.state, self.clock.why),
            pulses={name: pulse(one) for name, one in self.healths.items()},
            paused=frozenset(name for name in names if store.paused(name)),
            waiting={pair: store.waiting(*pair) for pair in pairs},
            cursors={pair: store.cursor(*pair) for pair in pairs},
            jobs=store.jobs(),
            silent=dict(self.silent),
            unregistered=dict(self.unregistered),
            rates=self._rates(),
            drains=self._drains(),
            received=self._received(),
            taken=self._taken(),
            unproven=frozenset(n for n in self.house.sources if not self.proven(n)),
            untyped=frozenset(n for n, one in self.providers.items() if not one.typed),
            budgets={name: use() for name, use in self.budgets.items()},
            gone=self._gone,
            growth_per_h=self._growth(),
            fsync_p99_ms=None if p99 is None else p99 * 1000,
            max_disk=store.space.max_disk,
            free=store.space.free(),
            wal=store.space.wal_bytes(),
            ballast=store.space.has_ballast,
            aside=store.aside,
            crowded=frozenset(store.crowded),
            warnings=tuple(store.warnings),
            refused_config=self.refused_config,
        )

    def _gone(self, source: str, vehicle: str) -> bool:
        return self.store.directory.record(source, CODES["vehicle"], vehicle).gone

    def _received(self) -> dict[str, int]:
        return {**self.received, **self.store.heard}

    def _taken(self) -> dict[str, int]:
        newest = dict(self.taken)
        for name, health in self.healths.items():
            side, _, sink = name.partition(":")
            if side == "sink" and health.last_success_ms is not None:
                newest[sink] = max(newest.get(sink, 0), health.last_success_ms)
        return newest

    def _rates(self) -> dict[str, float]:
        return self._pace(lambda first, last, sink: (
            last.decided.get(sink, 0) - first.decided.get(sink, 0)
        ))  # fmt: skip

    def _drains(self) -> dict[str, float]:
        return self._pace(lambda first, last, sink: (
            first.waiting.get(sink, 0) - last.waiting.get(sink, 0)
        ))  # fmt: skip

    def _pace(self, of: Callable[[Sample, Sample, str], int]) -> dict[str, float]:
        """Per second over the last minute; nothing before there are two samples."""
        if len(self._samples) < 2:
            return {}
        first, last = self._samples[0], self._samples[-1]
        spent = max(last.at - first.at, 0.001)
        return {sink: round(of(first, last, sink) / spent, 3) for sink in last.waiting}

    def _growth(self) -> float | None:
        """Bytes an hour by which the log grew over the last hours."""
        if not self._disk or self._disk[-1][0] - self._disk[0][0] < DISK_LEAST_MS:
            return None
        hours = (self._disk[-1][0] - self._disk[0][0]) / 3_600_000
        return (self._disk[-1][1] - self._disk[0][1]) / hours

    async def sample(self) -> None:
        """Note how far every sink is, and how big the log."""
        snap = await self.store.reading(lambda reader: stats.snapshot(reader.db))
        sinks = self.house.sinks
        self._samples.append(Sample(
            trio.current_time(),
            {name: sum(self.store.waiting(name, lane) for lane in range(len(LANES)))
             for name in sinks},
            {name: snap.sums.of(snap.scope("sink", name), "delivered") for name in sinks},
        ))  # fmt: skip
        now = millis(self.world.now())
        if not self._disk or now - self._disk[-1][0] >= DISK_EVERY_MS:
            used = (snap.pages - snap.free_pages) * snap.page_bytes
            self._disk = [*self._disk, (now, used)][-DISK_KEPT:]

    async def keep(self) -> None:
        """Write what the next run must know."""
        times: dict[str, Any] = {"received": self._received(), "taken": self._taken()}
        if times != self.store.recall(TIMES):
            await self.store.remember(TIMES, times)
        sizes = {"sizes": [list(one) for one in self._disk]}
        if sizes != self.store.recall(DISK):
            await self.store.remember(DISK, sizes)


def pulse(health: Health) -> Pulse:
    """What a task says of itself, as data."""
    return Pulse(health.state, health.why, health.restarts, health.last_success_ms)


async def watch(board: Board, health: Health) -> None:
    """Sample for ever, and keep over restarts what must survive one."""
    turn = 0
    while True:
        await board.sample()
        health.say("ok")
        health.beat()
        if turn % KEEP_EVERY == 0:
            await board.keep()
        health.beat()
        turn += 1
        await trio.sleep(SAMPLE_S)


async def close(board: Board) -> None:
    """The last word of a run; a disk that is full or failed has the last say."""
    try:
        await board.keep()
    except FleetdError:
        return
