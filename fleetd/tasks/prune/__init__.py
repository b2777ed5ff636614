"""Keeps the disk law and every `keep`: what is old goes, and what is waited for stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import structlog
import trio

from fleetd.clock import Clock
from fleetd.errors import FullError
from fleetd.event import KINDS, LANES, NORMAL, SAFETY, millis
from fleetd.store import Store
from fleetd.store.jobs import taking_of
from fleetd.store.log import DAMAGED
from fleetd.store.retention import (
    Choice,
    Chooser,
    Expunge,
    Pin,
    Shut,
    Use,
    Vacuum,
)
from fleetd.store.trimming import (
    TrimFacts,
    TrimSeen,
    TrimTotals,
    crowded,
    dead_bytes,
    first_day,
    old_facts,
)
from fleetd.tasks.prune.steps import MOST_STEPS, Steps
from fleetd.tasks.supervise import Health

TICK_S = 1.0
EVERY_S = 60.0
HOURLY_S = 3600.0
HIGH = 0.8  # of max_disk: above it, what nobody waits for goes early
REOPENS = 0.9  # of max_disk: below it, a log that was full of what waits opens again
FRUITLESS_S = 60.0  # before looking again for what may go
UNVERIFIED_S = 86_400.0
FACTS_S = JOBS_S = 30 * 86_400.0
WARN_S = 3 * 86_400.0  # before a sink loses what it holds
VACUUM_SHARE = 0.1  # of the file may be free inside it
VACUUM_LEAST = 16 << 20
OPEN_JOBS = frozenset({"running", "paused"})
logger = structlog.get_logger()


class SinkTable(Protocol):
    @property
    def hold(self) -> float: ...


class House(Protocol):
    @property
    def sinks(self) -> Mapping[str, SinkTable]: ...


class Board(Protocol):
    """What pruning needs of the daemon's view of itself."""

    @property
    def store(self) -> Store: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def house(self) -> House: ...


async def prune(board: Board, health: Health) -> None:
    """Look every second, and prune every minute or as soon as the disk asks for it."""
    holds = {name: float(table.hold) for name, table in board.house.sinks.items()}
    keeper = Keeper(board.store, board.clock, holds)
    while True:
        try:
            await keeper.tick()
            health.say("ok", keeper.why)
        except FullError as full:  # nothing is lost by waiting
            health.say("waiting", str(full))
        health.beat()
        await trio.sleep(TICK_S)


class Keeper:
    """The disk law and the clockwork of expiry, over one log.

    A sink pins what it waits for, no longer than its `hold`; what has been held longer
    goes when its room is needed or its `keep` is over, counted `skipped: expired`. A
    running replay keeps its window from expiring for as long, but never from going when
    the disk fills up: only what a configured sink waits for may stop intake. What a
    dead letter needs stays until it is retried or dropped. While the clock is suspect
    nothing goes for its age, and beyond the law the oldest that nobody waits for does.
    """

    def __init__(self, store: Store, clock: Clock, holds: Mapping[str, float]) -> None:
        self._store, self._clock, self._holds = store, clock, holds
        self._due = self._hourly = self._fruitless = 0.0
        self._by_law = False
        self._steps = Steps(store)
        self._stuck: set[int] = set()  # events on damaged pages
        self.why = ""

    async def tick(self) -> None:
        """What is due now."""
        use = await self._steps.use()
        if self._store.log.full:
            await self._reopen(use)
        self._clock.look()  # right before anything is judged by its age
        now, trusted = trio.current_time(), self._clock.trusted
        urgent = use.share > 1 and not self._store.trouble
        if urgent or (trusted and use.share > HIGH and now >= self._fruitless):
            await self._relieve(use)
            self._clock.look()  # that may have taken minutes
        if not self._clock.trusted:
            self.why = (
                f"nothing is pruned while the clock is suspect: {self._clock.why}"
            )
            return
        if now >= self._due:
            self._due = now + EVERY_S
            await self.expire()
            self.why = await self._warnings()

    # the disk law

    async def _relieve(self, use: Use) -> None:
        """Raw bytes first, then events that no sink waits for, down to four fifths."""
        before = use
        use = await self._drop_raw(use)
        use = await self._drop_events(use)
        if use.used < before.used:
            logger.info("made_room", before=before.used, after=use.used)
        if use.share <= HIGH:
            return
        self._fruitless = trio.current_time() + FRUITLESS_S
        if use.share > 1 and not self._store.trouble:
            await self._shut(use)

    async def _drop_raw(self, use: Use) -> Use:
        while use.share > HIGH and await self._steps.trim_once("raw", None):
            use = await self._steps.use()
        return use

    async def _drop_events(self, use: Use) -> Use:
        pins, after = self._pins(), 0
        while use.share > HIGH:
            choice = await self._look(pins, partial(Chooser.oldest, after=after))
            if choice.victims:
                pins = await self._let_go(choice, pins)
                use = await self._steps.use()
            if not choice.more:
                break
            after = choice.last
        return use

    async def _shut(self, use: Use) -> None:
        names = ", ".join(sorted({pin.sink for pin in self._pins()})) or "dead letters"
        why = (
            f"the log holds {use.used >> 20} MiB of the {use.max_disk >> 20} MiB it may, "
            f"all of it waiting for {names}: mend, skip or remove that, or give it more "
            "max_disk"
        )
        await self._store.join(Shut(why))
        self._by_law = True
        logger.error("log_full", why=why)

    async def _reopen(self, use: Use) -> None:
        """Take in again once there is room, and room for the reserve as well."""
        store = self._store
        if self._by_law:
            if use.share > REOPENS:
                return
        elif not await store.world.in_thread(store.space.fill_ballast):
            return
        try:
            await store.join(Shut(""))
        except FullError:
            store.space.drop_ballast()
            raise
        self._by_law = False
        logger.info("log_reopened", used=use.used, free=store.space.free())

    # what goes with time

    async def expire(self) -> None:
        """One pass over everything that has an age."""
        store, rules = self._store, self._store.rules
        now = millis(store.world.now())
        await self._settle()
        pins = [*self._pins(), *self._replays(now)]
        for kind in range(1, len(KINDS)):
            keep = rules.keep_kinds.get(KINDS[kind], rules.keep)
            pins = await self._expire_kind(kind, now - int(keep * 1000), pins)
        raw, ledger = now - int(rules.keep_raw * 1000), int(rules.keep_ledger * 1000)
        await self._steps.trim("raw", raw)
        await self._steps.trim("asides", raw)
        await self._steps.trim("unverified", now - int(UNVERIFIED_S * 1000))
        await self._steps.trim("attempts", now - int(rules.keep * 1000))
        await self._steps.trim("minutes", now - ledger)
        await self._steps.repeat(TrimTotals((now - ledger) // 3_600_000))
        if not self._backfilling():
            await self._steps.repeat(TrimSeen(first_day(now, rules.dedupe_window)))
        sizes = await self._steps.read(dead_bytes)
        full = crowded(sizes, self._store.space.max_disk)
        numbers = self._store.log.names
        self._store.crowded = {key for key, n in numbers.items() if n in full}
        if trio.current_time() >= self._hourly:
            self._hourly = trio.current_time() + HOURLY_S
            await self._expire_small(now)
        await self._vacuum()

    async def _settle(self) -> None:
        """Move sinks that nothing waits for over what they do not take."""
        store = self._store
        for sink in self._holds:
            for lane in range(len(LANES)):
                while not store.waiting(sink, lane):
                    read = await store.next_batch(sink, lane, limit=1)
                    if read.entries or read.upto <= read.after:
                        break
                    await self._steps.timed(partial(store.advance, read))

    async def _expire_kind(
        self, kind: int, before_ms: int, pins: list[Pin]
    ) -> list[Pin]:
        after, more = 0, True
        while more:
            of_kind = partial(
                Chooser.of_kind, kind=kind, after=after, before_ms=before_ms
            )
            choice = await self._look(pins, of_kind)
            if choice.victims:
                pins = await self._let_go(choice, pins)
            after, more = choice.last, choice.more
        return pins

    async def _expire_small(self, now: int) -> None:
        store = self._store
        gone = await self._steps.read(
            partial(old_facts, before_ms=now - int(FACTS_S * 1000))
        )
        for at in range(0, len(gone), 400):
            await self._steps.step(TrimFacts(gone[at : at + 400]))
        await store.trim_jobs(now - int(JOBS_S * 1000))

    async def _vacuum(self) -> None:
        for _ in range(MOST_STEPS):
            use = await self._steps.use()
            if use.free < max(VACUUM_LEAST, VACUUM_SHARE * (use.used + use.free)):
                return
            if await self._steps.step(Vacuum()) == DAMAGED:
                return

    # pins, and letting go

    def _pins(self) -> list[Pin]:
        """What each configured sink waits for."""
        store = self._store
        now = millis(store.world.now())
        pins = []
        for sink, hold in self._holds.items():
            taking = store.log.takings.get(sink)
            if taking is None or not any(store.waiting(sink, n) for n in range(2)):
                continue
            normal, safety = (
                store.cursor(sink, lane) if store.waiting(sink, lane) else 1 << 62
                for lane in (NORMAL, SAFETY)
            )
            edge = now - int(hold * 1000) if self._clock.trusted else 0
            pins.append(Pin(sink, taking, (normal, safety), edge))
        return pins

    def _replays(self, now: int) -> list[Pin]:
        """What running replays are still to send, while they are young."""
        store, pins = self._store, []
        for job in store.jobs():
            taking = store.log.takings.get(job.target)
            if taking is None or job.kind != "replay" or job.state not in OPEN_JOBS:
                continue
            if job.created_ms > now - int(self._holds.get(job.target, 0) * 1000):
                cursors = (job.cursor, job.cursor)
                within = taking_of(job, taking)
                pins.append(Pin(job.target, within, cursors, 0, job.upto, replay=True))
        return pins

    def _backfilling(self) -> bool:
        jobs = self._store.jobs()
        return any(one.kind == "backfill" and one.state in OPEN_JOBS for one in jobs)

    async def _look(self, pins: list[Pin], look: Callable[[Chooser], Choice]) -> Choice:
        log = self._store.log
        names = {n: name for (side, name), n in log.names.items() if side == "source"}
        letters = [n for (side, _), n in log.names.items() if side == "sink"]
        absent, routed = dict(log.absent), log.routed
        stuck = frozenset(self._stuck)
        return await self._steps.read(
            lambda db: look(Chooser(db, names, pins, absent, letters, routed, stuck))
        )

    async def _let_go(self, choice: Choice, pins: list[Pin]) -> list[Pin]:
        """Delete, after those who held it for too long were moved past it."""
        store = self._store
        for (sink, lane), seq in choice.lost.items():
            lost = await store.skip(sink, seq, "expired", lanes=(lane,))
            logger.warning("held_too_long", sink=sink, events=lost)
        if await self._steps.step(Expunge(choice.victims, choice.routed)) == DAMAGED:
            await self._singly(choice)
        if not choice.lost:
            return pins
        return [*self._pins(), *(pin for pin in pins if pin.replay)]

    async def _singly(self, choice: Choice) -> None:
        """Round a damaged page: what stands on it stays."""
        for one in choice.victims:
            if await self._steps.step(Expunge([one], choice.routed)) == DAMAGED:
                self._stuck.add(one.seq)
        logger.warning("damaged_events_stay", events=len(self._stuck))

    async def _warnings(self) -> str:
        """Sinks that are about to lose what they hold."""
        store, found = self._store, []
        now = millis(store.world.now())
        for pin in self._pins():
            hold = self._holds[pin.sink]
            since = await self._oldest_waiting(pin)
            age = (now - since) / 1000
            if age > max(hold / 2, hold - WARN_S):
                left = max(0.0, hold - age) / 86_400
                found.append(
                    f"{pin.sink} has let events wait for {age / 86_400:.0f} days; in "
                    f"{left:.1f} days the oldest may go"
                )
        store.warnings = found
        return "; ".join(found)

    async def _oldest_waiting(self, pin: Pin) -> int:
        oldest = millis(self._store.world.now())
        for lane in range(len(LANES)):
            if self._store.waiting(pin.sink, lane):
                read = await self._store.next_batch(pin.sink, lane, limit=1)
                oldest = min([oldest, *(one.received_ms for one in read.entries)])
        return oldest
