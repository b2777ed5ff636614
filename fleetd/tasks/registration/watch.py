"""Reading a registration back once a day, for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from fleetd.errors import FleetdError, StoreError, UsageError
from fleetd.event import DAY_MS, millis
from fleetd.tasks.registration.registry import Registration, registration_of
from fleetd.tasks.supervise import Health

if TYPE_CHECKING:
    from fleetd.tasks.board import Board

LOOK_S = 300.0  # how often somebody asks whether a day is over
AGAIN_MS = 3_600_000  # after a look that failed
logger = structlog.get_logger()


async def watch_registration(board: Board, source: str, health: Health) -> None:
    """Look once a day whether the vendor still has it as it was."""
    registration, failed_ms = registration_of(board, source), 0
    while True:
        now = millis(board.world.now())
        due = is_due(registration, now) and now - failed_ms >= AGAIN_MS
        if due and not board.store.paused(source):
            failed_ms = 0 if await looked(registration, health) else now
        health.beat()
        await trio.sleep(LOOK_S)


def is_due(registration: Registration, now: int) -> bool:
    """Whether a day is over (or the clock went back), or the time of one rotated out."""
    kept = registration.kept
    ends = [one.retires_ms for one in kept.made if one.retires_ms is not None]
    fresh = 0 <= now - kept.looked_ms < DAY_MS
    return not fresh or any(end <= now for end in ends)


async def looked(registration: Registration, health: Health) -> bool:
    """Look; a vendor that cannot be asked just now says nothing about the webhook."""
    try:
        await registration.look()
    except StoreError:
        raise
    except (UsageError, FleetdError) as bad:
        logger.info("webhook_not_read", source=registration.source, why=str(bad))
        health.say("ok", f"could not be read back: {bad}")
        return False
    health.say("ok")
    return True
