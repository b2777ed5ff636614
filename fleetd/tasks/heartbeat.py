"""A row a minute that says fleetd was up, the watchdog ping, the writer's deadlines.

The rows are by the minute, so a start looks at what is known to the second: when the log
last took something in, and when fleetd was last told to stop. Where it was away for a
minute or more, the minute it comes back in is left without a row, and every outage of a
minute is seen; what is shorter, vendors send again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog
import trio

from fleetd.clock import Clock
from fleetd.errors import FullError, StoreError
from fleetd.event import millis
from fleetd.store import Store, stats
from fleetd.store.small import Beat, Nothing
from fleetd.systemd import notify, watchdog_s
from fleetd.tasks.supervise import Health

MINUTE_MS = 60_000
ANSWERS_WITHIN_S = 10.0
PULSE_S = 10.0
STOPPED = "stopped"
GONE = (
    "was taken away or replaced while fleetd ran; what comes in now would be nowhere after"
    " the next start, so fleetd ends"
)
SWEEP_S = 0.1
LOOK_S = 5.0
logger = structlog.get_logger()


class Board(Protocol):
    """What the heartbeat needs of the daemon's view of itself."""

    @property
    def store(self) -> Store: ...
    @property
    def refusing(self) -> Callable[[], str]: ...


class Reception(Protocol):
    """Whoever counts refused requests, to be put beside the ledger now and then."""

    @property
    def flush(self) -> Callable[[], Awaitable[None]]: ...


async def heartbeat(
    board: Board, reception: Reception, health: Health,
    environ: Mapping[str, str] = os.environ,
) -> None:  # fmt: skip
    """Beat for ever: every minute in the log, and as often as systemd wants to hear."""
    store, wanted = board.store, watchdog_s(environ)
    pulse = min(PULSE_S, wanted / 2) if wanted else PULSE_S
    away = await was_away(store)
    said = (millis(store.world.now()) // MINUTE_MS if away else -1, "")
    try:
        await _beat(board, reception, health, environ, pulse, said)
    finally:
        store.note(STOPPED, {"ms": millis(store.world.now())})


async def was_away(store: Store) -> bool:
    """Whether the last sign of a run before this one is a minute old."""
    now = millis(store.world.now())
    newest = await store.reading(
        lambda reader: stats.newest_minute(reader.db, now // MINUTE_MS)
    )
    if newest is None:
        return False
    stopped = int(store.recall(STOPPED).get("ms", 0))
    signs = (newest * MINUTE_MS, stopped, store.received_ms)
    return now - max(signs) >= MINUTE_MS


def which_log(store: Store) -> tuple[int, int] | None:
    """Which file stands at the log's place now; none if it was taken away."""
    try:
        found = (store.folder / "log.sqlite").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def _beat(
    board: Board, reception: Reception, health: Health, environ: Mapping[str, str],
    pulse: float, said: tuple[int, str],
) -> None:  # fmt: skip
    store, wanted = board.store, watchdog_s(environ)
    log = which_log(store)
    while True:
        if which_log(store) != log:
            raise StoreError(f"the log in {store.folder} {GONE}")
        minute = millis(store.world.now()) // MINUTE_MS
        refusing = board.refusing()
        online = "offline" if store.world.offline else "up"
        state = "refusing" if refusing else online
        if minute != said[0] or (refusing and said[1] != state):  # if only for a moment
            alive = await answers(store, Beat(minute, state))
            said = (minute, state)
        else:
            alive = not wanted or await answers(store, Nothing())
        if alive:
            await reception.flush()
            health.say("ok")
            health.beat()
            if wanted:
                notify(f"WATCHDOG=1\nSTATUS={refusing or 'taking in'}", environ)
        else:  # no ping: systemd decides how long that may go on
            logger.error("writer_stuck", seconds=ANSWERS_WITHIN_S)
            health.say("failing", f"the log did not answer for {ANSWERS_WITHIN_S:g} s")
        await trio.sleep(pulse)


async def answers(store: Store, write: Beat | Nothing) -> bool:
    """Whether the writer did it in time; that the disk is full is an answer as well."""
    try:
        await store.writer.join(write, within=ANSWERS_WITHIN_S)
    except TimeoutError:
        return False
    except FullError:
        return True
    return True


async def sweep(store: Store, health: Health) -> None:
    """Wake those whose write took longer than they may wait."""
    while True:
        store.writer.expire()
        health.beat()
        await trio.sleep(SWEEP_S if store.world.threads else MINUTE_MS / 1000)


async def keep_time(clock: Clock, health: Health) -> None:
    """Look at the clock every few seconds, and say when it is or is not believed."""
    before = clock.state
    while True:
        clock.look()
        if clock.state != before:
            logger.info("clock_judged", state=clock.state, why=clock.why)
            before = clock.state
        health.say("ok" if clock.state == "ok" else clock.state, clock.why)
        health.beat()
        await trio.sleep(LOOK_S)
