"""Who usually speaks and does not, each by its own habit: told as alert events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio
from msgspec import Struct

from fleetd.event import CODES, DAY_MS, Position, millis
from fleetd.store import Store, stats
from fleetd.store.log import Landed
from fleetd.store.totals import HOUR_MS
from fleetd.tasks.announce import announce
from fleetd.tasks.supervise import Health

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

LOOK_S = 60.0
LEARNED_DAYS = 9  # a week and a day: weekends are habits too
ENOUGH_DAYS = 3  # a first night and a first weekend are no silence yet
SHORTEST_MS = 2 * HOUR_MS  # nobody is called silent sooner
UNKNOWN_MS = 48 * HOUR_MS  # of whom too little is known to call it unusual
TIMES = 2  # the longest gap of the days learned
SETTLED_S = 900.0  # after a start or a pause: what was missed is still being fetched
KEEP_S = 3600.0
LIVE = frozenset({"push", "poll"})  # origins of what is told now
VEHICLE = CODES["vehicle"]
MANY, MANY_SHARE = 5, 0.1  # so many at once are told in one alert


class Habit(Struct, array_like=True):
    """When a vehicle spoke last, and its longest silence of each of the last days (ms)."""

    last_ms: int
    day: int
    gaps: list[int]
    silent: bool = False

    def heard(self, ms: int, *, counts: bool = True) -> None:
        """It spoke; a gap that is our own fault teaches nothing."""
        self.turn(ms // DAY_MS)
        if counts:
            self.gaps[-1] = max(self.gaps[-1], ms - self.last_ms)
        self.last_ms = max(ms, self.last_ms)

    def turn(self, day: int) -> None:
        """Begin the days that came since."""
        missing = min(day - self.day, LEARNED_DAYS)
        if missing > 0:
            self.gaps = [*self.gaps, *[0] * missing][-LEARNED_DAYS:]
            self.day = day

    @property
    def limit_ms(self) -> int:
        """A silence longer than this is not its habit."""
        known = [one for one in self.gaps if one]
        if len(known) < ENOUGH_DAYS:
            return UNKNOWN_MS
        return max(SHORTEST_MS, TIMES * max(known))


async def watch_silence(board: Board, health: Health) -> None:
    """Look once a minute at who has not spoken, for ever."""
    watch = Watch(board)
    board.store.listeners.add(watch.landed)
    try:
        while True:
            await watch.look()
            health.say("ok")
            health.beat()
            await trio.sleep(LOOK_S)
    finally:
        board.store.listeners.discard(watch.landed)
        watch.keep()


class Watch:
    """The habits of all vehicles, and who is silent now."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._store: Store = board.store
        self._began = trio.current_time()
        self._began_ms = millis(board.world.now())
        self._kept = self._began
        self._paused: dict[str, int] = {}  # source → when it last was
        self._fixes: dict[tuple[str, str], int] = {}  # vehicle → when it last told
        self._habits: dict[str, dict[str, Habit]] = {}
        for source in board.house.sources:
            known = self._store.recall(f"habits:{source}")
            self._habits[source] = {
                vehicle: Habit(*row) for vehicle, row in known.items()
            }

    def landed(self, landed: Landed) -> None:
        """Note whose position is on the disk now; what is fetched of the past is no word."""
        self._fixes.update({
            (one.source, one.event.vehicle): one.received_ms
            for one, _ in landed.entries
            if one.origin in LIVE and type(one.event) is Position and one.event.vehicle
        })  # fmt: skip

    async def look(self) -> None:
        """Take in who spoke, and tell who does not."""
        now = millis(self._board.world.now())
        settled = trio.current_time() - self._began >= SETTLED_S
        for (source, vehicle), ms in self._fixes.items():
            self._heard(source, vehicle, ms)
        for source in self._board.house.sources:
            if self._store.paused(source):
                self._paused[source] = now
            asked = not 0 <= now - self._paused.get(source, 0) < SETTLED_S * 1000
            if settled and asked and self._board.clock.trusted:
                await self._judge_source(source, now)
                await self._judge_vehicles(source, now)
        self._board.silent = {
            source: sum(one.silent for one in habits.values())
            for source, habits in self._habits.items()
        }
        if trio.current_time() - self._kept >= KEEP_S:
            self.keep()

    def keep(self) -> None:
        """Let the habits outlive a restart."""
        self._kept = trio.current_time()
        for source, habits in self._habits.items():
            rows = {
                vehicle: [one.last_ms, one.day, one.gaps, one.silent]
                for vehicle, one in habits.items()
            }
            self._store.note(f"habits:{source}", rows)

    def _heard(self, source: str, vehicle: str, ms: int) -> None:
        habits = self._habits.setdefault(source, {})
        habit = habits.get(vehicle)
        if habit is None:
            habits[vehicle] = Habit(ms, ms // DAY_MS, [0])
        elif ms > habit.last_ms:
            ours = self._paused.get(source, self._began_ms)
            habit.heard(ms, counts=habit.last_ms >= ours)

    async def _judge_vehicles(self, source: str, now: int) -> None:
        habits = self._habits.get(source, {})
        self._forget_gone(source, habits)
        fresh: list[str] = []
        back: list[str] = []
        for vehicle, habit in habits.items():
            silent = now - habit.last_ms > habit.limit_ms
            if silent != habit.silent:
                habit.silent = silent
                (fresh if silent else back).append(vehicle)
        await self._tell(source, "silent", fresh, len(habits), now)
        await self._tell(source, "heard", back, len(habits), now)

    def _forget_gone(self, source: str, habits: dict[str, Habit]) -> None:
        """A vehicle that was sold is not silent."""
        record = self._store.directory.record
        for vehicle in [one for one in habits if record(source, VEHICLE, one).gone]:
            del habits[vehicle]
            self._fixes.pop((source, vehicle), None)

    async def _tell(
        self, source: str, what: str, vehicles: Iterable[str], known: int, now: int
    ) -> None:
        """One alert each, or one for all where it is many at once: then it is no truck's fault."""
        found = sorted(vehicles)
        if len(found) > max(MANY, known * MANY_SHARE):
            text = f"{source}: {len(found)} of {known} vehicles {SAYS[what]}"
            detail = {"vehicles": found[:100]}
            await announce(self._store, source, f"vehicles_{what}", text, detail=detail)
            return
        for vehicle in found:
            hours = (now - self._habits[source][vehicle].last_ms) / HOUR_MS
            text = f"{source}: {vehicle} {SAYS[what]}"
            text += f" for {hours:.0f} h" if what == "silent" else ""
            await announce(
                self._store, source, f"vehicle_{what}", text, vehicle=vehicle
            )

    async def _judge_source(self, source: str, now: int) -> None:
        """A source by its own hours of two weeks."""
        last = self._board.received.get(source)
        if last is None:
            return
        number = self._store.log.scope("source", source)
        usual = await self._store.reading(
            lambda reader: stats.longest_silence(reader.db, number, now - 14 * DAY_MS)
        )
        limit = UNKNOWN_MS if usual is None else max(2, 2 * usual) * HOUR_MS
        silent, name = now - last > limit, f"silent:{source}"
        if silent == bool(self._store.recall(name)):
            return
        await self._store.remember(name, {"ms": last} if silent else None)
        hours = (now - last) / HOUR_MS
        text = f"nothing has arrived for {hours:.0f} h" if silent else "speaks again"
        what = "source_silent" if silent else "source_heard"
        await announce(self._store, source, what, f"{source}: {text}")


SAYS = {"silent": "has not reported a position", "heard": "reports positions again"}
