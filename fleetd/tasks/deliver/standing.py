"""How the far side stands with us: whether it takes, or refuses us; until when to wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from math import ceil
from typing import Any, Protocol

import structlog
import trio

from fleetd.errors import FullError, TransientError
from fleetd.event import Entry, millis, stamp
from fleetd.masking import MASK
from fleetd.pace import LONGEST_ASKED, Meter
from fleetd.store import Store
from fleetd.tasks.deliver.digest import Digest
from fleetd.tasks.deliver.plan import HELD_EVERY, REFUSED_IN_A_ROW
from fleetd.tasks.deliver.stream import Stream
from fleetd.tasks.deliver.track import Takes
from fleetd.world import World

logger = structlog.get_logger()
WORTH = 5.0  # seconds: a shorter wait is not worth a row


class Watcher(Protocol):
    """Where the operator reads how a sink is."""

    rate_per_s: float | None

    def say(self, state: str, why: str = "") -> None:
        """What the sink is doing: idle, sending, waiting, held or paused, and why."""

    def beat(self) -> None:
        """The far side took something."""


class Standing:
    """Shared by all lanes of a sink; kept over restarts where a restart should know."""

    def __init__(
        self, name: str, store: Store, world: World, health: Watcher,
        streams: Sequence[Stream], digest: Digest,
    ) -> None:  # fmt: skip
        self.name = name
        self.takes = Takes()
        self.held = ""
        self.front = False  # whether the next try of a held sink is the first record
        self._store, self._world, self._health = store, world, health
        self._streams, self._digest = streams, digest
        self._refused: set[int] = set()  # alone, since anything was taken
        self._not_before = self._held_until = trio.current_time()
        self._meter = Meter(self._held_until)
        self._kept: dict[str, Any] = store.recall(f"sink:{name}")
        self._recall()

    def gate(self, now: float) -> float:
        """From when on anything may be tried at all."""
        return max(self._not_before, self._held_until if self.held else now)

    def believed(self, count: int, request: int, now: float) -> None:
        """It takes from us: whatever it refused before, it was not us."""
        self.takes.newest = max(self.takes.newest, request)
        self._refused.clear()
        if self.held:
            logger.info("sink_released", sink=self.name)
        self.held = ""
        self._digest.hurry(now)
        self._health.rate_per_s = self._meter.add(count, now)
        self._health.beat()
        self._health.say("sending")

    def refuses(
        self, why: str, seqs: Iterable[int], now: float, *, probe: bool
    ) -> None:
        """It wants none of these; twenty in a row, and it is us it does not want."""
        self._refused.update(seqs)
        if len(self._refused) < REFUSED_IN_A_ROW:
            self.held = ""  # it knows us: it is about the records now
            return
        self.front = bool(self.held) and probe
        self.hold(f"{why}; {len(self._refused)} records in a row, none taken", now)

    def hold(self, why: str, now: float) -> None:
        """Keep everything, say what to do, try now and then."""
        why = MASK.mask(why)
        if not self.held:
            logger.warning("sink_held", sink=self.name, why=why)
        self.held = why
        self._held_until = now + HELD_EVERY
        self._health.say("held", why)

    def try_now(self, now: float) -> None:
        """The operator mended something: the next try is due."""
        if self.held:
            self._held_until = now

    def later(self, error: TransientError, now: float) -> None:
        """It is unwell; a wait that it asks for is for all lanes.

        Held, it may be the records now that it stumbles over: they are to be told apart.
        """
        if error.after:
            self._not_before = max(self._not_before, now + error.after)
        if self.held and not (error.counts or error.slow):
            self._held_until = now + HELD_EVERY
            self._health.say("held", self.held)
            return
        self.held = ""
        self._health.say("waiting", MASK.mask(str(error)))

    # over a restart

    def _recall(self) -> None:
        kept = self._kept
        self.held = str(kept.get("held", ""))
        left = (kept.get("not_before_ms", 0) - millis(self._world.now())) / 1000
        left = min(max(left, 0.0), LONGEST_ASKED)
        self._not_before += left
        if self.held:
            self._health.say("held", self.held)
        elif left:
            until = stamp(self._world.now() + timedelta(seconds=left))
            self._health.say("waiting", f"it asked us not to come before {until}")
        for stream in self._streams:
            stream.last_upper = kept.get("again", {}).get(str(stream.lane), 0)
        if kept.get("digest") and self._streams[0].digest:  # it may be of another kind
            self._digest.restore(kept["digest"])

    async def remember(self) -> None:
        """Keep what a restart should know; most answers change nothing of it."""
        value = self._value(self._digest.kept())
        if value == self._kept:
            return
        with suppress(FullError):  # it will be kept when there is room
            await self._store.remember(f"sink:{self.name}", value or None)
            self._kept = value

    def with_old(self, entries: Sequence[Entry]) -> tuple[str, dict[str, Any]]:
        """What to keep in the step by which the cursor passes what is too old to tell."""
        return f"sink:{self.name}", self._value(self._digest.with_(entries))

    def passed_old(self, entries: Sequence[Entry]) -> None:
        """That step is on the disk."""
        self._digest.add(entries)
        self._kept = self._value(self._digest.kept())

    def _value(self, digest: dict[str, Any] | None) -> dict[str, Any]:
        value: dict[str, Any] = {}
        left = self._not_before - trio.current_time()
        if self.held:
            value["held"] = self.held
        if left > WORTH:
            value["not_before_ms"] = millis(self._world.now()) + ceil(left * 1000)
        if again := {str(one.lane): one.upper for one in self._streams if one.upper}:
            value["again"] = again
        if digest:
            value["digest"] = digest
        return value
