"""The short steps that pruning is made of: a look in a thread, a small commit, a rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import apsw
import structlog
import trio

from fleetd.store import Store
from fleetd.store.log import DAMAGED
from fleetd.store.retention import Use, use_of
from fleetd.store.trimming import (
    EDGES,
    Trim,
    TrimSeen,
    TrimTotals,
    beyond_most,
    old_end,
)

REST = 1.0  # as long as a step took, its sync included: the loop belongs to intake
MOST_STEPS = 5000  # of one kind of work in one pass
T = TypeVar("T")
logger = structlog.get_logger()


class Steps:
    """Looks and deletes, a little at a time, and remembers where damage is in the way."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._floors: dict[str, int] = {}  # by table, behind rows that cannot go

    async def use(self) -> Use:
        space = self._store.space
        wal, most = space.wal_bytes(), space.max_disk
        return await self.read(lambda db: use_of(db, wal, most))

    async def trim(self, table: str, before_ms: int) -> None:
        """What is too old, and what is too much."""
        for _ in range(MOST_STEPS):
            if not await self.trim_once(table, before_ms):
                return

    async def trim_once(self, table: str, before_ms: int | None) -> bool:
        """A short piece; whether there was one."""
        floor = self._floors.get(table, 0)
        look = partial(old_end, table=table, after=floor, before_ms=before_ms)
        upto, n = await self.read(look)
        if n == DAMAGED:
            self._floors[table] = upto
            return True
        if not n and table in EDGES:
            upto = await self.read(partial(beyond_most, table=table, after=floor))
            n = upto
        if not n:
            return False
        if await self.step(Trim(table, floor, upto)) == DAMAGED:
            await self._trim_round(table, floor, upto)
        return True

    async def _trim_round(self, table: str, low: int, high: int) -> None:
        """Find the first row on a damaged page: it stays, and we go on behind it."""
        while high - low > 1:
            middle = (low + high) // 2
            if await self.step(Trim(table, low, middle)) == DAMAGED:
                high = middle
            else:
                low = middle
        self._floors[table] = high
        logger.warning("damaged_row_stays", table=table, id=high)

    async def repeat(self, write: TrimSeen | TrimTotals) -> None:
        for _ in range(MOST_STEPS):
            if await self.step(write) <= 0:
                return

    async def read(self, look: Callable[[apsw.Connection], T]) -> T:
        """Look in a reader's thread."""
        return await self._store.reading(lambda reader: look(reader.db))

    async def step(self, write: Any) -> Any:
        return await self.timed(partial(self._store.join, write))

    async def timed(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step, then rest as long as it took."""
        began = trio.current_time()
        answer = await step()
        await trio.sleep((trio.current_time() - began) * REST)
        return answer
