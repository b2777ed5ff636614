"""What a sink keeps over a restart besides its cursor: until when it waits, and why."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio

from fleetd.errors import FullError
from fleetd.event import millis
from fleetd.pace import LONGEST_ASKED
from fleetd.store import Store
from fleetd.tasks.deliver.stream import Stream
from fleetd.world import World

WORTH = 5.0  # seconds: shorter waits are not worth a row


class Memory:
    """Reads it at the start, and writes it when it has changed."""

    def __init__(self, name: str, store: Store, world: World) -> None:
        self._name, self._store, self._world = f"sink:{name}", store, world
        self._kept: dict[str, Any] = store.recall(self._name)

    def load(self, now: float, streams: Sequence[Stream]) -> tuple[str, float]:
        """Why we are held, and until when the far side asked us to wait."""
        kept = self._kept
        until_ms = kept.get("not_before_ms", 0)
        left = (until_ms - millis(self._world.now())) / 1000
        for stream in streams:
            stream.last_upper = kept.get("again", {}).get(str(stream.lane), 0)
        return str(kept.get("held", "")), now + min(max(left, 0.0), LONGEST_ASKED)

    async def save(
        self, held: str, not_before: float, streams: Sequence[Stream]
    ) -> None:
        """Keep what a restart should know; most answers change nothing of it."""
        left = not_before - trio.current_time()
        value: dict[str, Any] = {}
        if held:
            value["held"] = held
        if left > WORTH:
            value["not_before_ms"] = millis(self._world.now()) + int(left * 1000)
        again = {str(one.lane): one.upper for one in streams if one.upper}
        if again:
            value["again"] = again
        if value != self._kept:
            with suppress(FullError):  # it will be kept when there is room
                await self._store.remember(self._name, value or None)
                self._kept = value
