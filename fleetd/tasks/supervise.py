"""Runs every task for ever: a bug costs a traceback and a wait, never its neighbours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
import trio

from fleetd.errors import (
    ConfigError,
    FullError,
    HeldError,
    PayloadError,
    StoreError,
    TransientError,
    leaves,
)
from fleetd.pace import Breaker

OURS = (ConfigError, StoreError)
THEIRS = (TransientError, HeldError, PayloadError, FullError)
HELD_RETRY = 300.0

logger = structlog.get_logger()
Task = Callable[[], Awaitable[None]]


class Health:
    """How one task is: read by `status`, written by the task and its supervisor."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.state = "starting"
        self.why = ""
        self.restarts = 0
        self.last_success_ms: int | None = None
        self.rate_per_s: float | None = None
        self._breaker: Breaker | None = None

    def watch(self, breaker: Breaker) -> None:
        """Let a beat close this breaker."""
        self._breaker = breaker

    def beat(self) -> None:
        """One piece of work is done."""
        self.last_success_ms = int(self._now().timestamp() * 1000)
        if self._breaker is not None:
            self._breaker.succeeded()

    def say(self, state: str, why: str = "") -> None:
        """What the operator should read."""
        self.state, self.why = state, why


async def keep_alive(name: str, task: Task, health: Health, breaker: Breaker) -> None:
    """Run a task for ever; only what is ours to mend ends it."""
    health.watch(breaker)
    while True:
        asked = 0.0
        health.say("ok")
        try:
            await task()
        except Exception as fault:
            faults = list(leaves(fault))
            if any(isinstance(one, OURS) for one in faults):
                raise
            asked = _heard(name, faults, health)
        rest = max(asked, breaker.failed())
        health.restarts += 1
        await trio.sleep(rest)


def _heard(name: str, faults: list[BaseException], health: Health) -> float:
    """Note a failure where the operator looks; the wait it asked for, in seconds."""
    unwell = all(isinstance(one, THEIRS) for one in faults)
    held = next((one for one in faults if isinstance(one, HeldError)), None)
    health.say("held" if held else "failing", str(held or faults[0]))
    logger.warning("task_failed", task=name, why=str(faults[0]), exc_info=not unwell)
    waits = [getattr(one, "after", None) or 0.0 for one in faults]
    return max([*waits, HELD_RETRY if held else 0.0])
