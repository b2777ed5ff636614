"""A round over the vehicles of a feed that is asked vehicle by vehicle, several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import trio

from fleetd.errors import AbsentError, HeldError, TransientError, said
from fleetd.tasks.poll.credential import HELD_RETRY
from fleetd.tasks.poll.wire import UnreadableError

MOST_IN_A_ROW = 5  # vehicles that fail before one succeeds: then it is the feed
TOLD = 3


class Rounds:
    """The rounds of one feed; a vehicle that fails stops none of the others.

    `walk(part)` asks everything that waits for a vehicle, and says whether there was
    anything to ask; `failed(part, fault)` is told what went wrong with one alone.
    """

    def __init__(
        self,
        walk: Callable[[str], Awaitable[bool]],
        failed: Callable[[str, HeldError], Awaitable[None]],
        parallel: int,
    ) -> None:
        self._walk = walk
        self._failed = failed
        self._parallel = max(1, parallel)
        self._benched: dict[str, float] = {}  # until when a vehicle is left alone
        self._troubles: dict[str, str] = {}
        self._refused: set[str] = set()  # who come last: a refusal ends a round
        self._streak: list[HeldError | TransientError] = []
        self._served = False  # any vehicle of this round
        self._absent: list[AbsentError] = []

    async def go(self, parts: Sequence[str]) -> str:
        """One round; what is to be told of it. Raises where the feed itself fails."""
        now = trio.current_time()
        self._benched = {one: at for one, at in self._benched.items() if at > now}
        self._troubles = {
            one: why for one, why in self._troubles.items() if one in self._benched
        }
        self._streak, self._served, self._absent = [], False, []
        asked = (one for one in parts if one not in self._benched)
        left = deque(sorted(asked, key=self._refused.__contains__))
        async with trio.open_nursery() as nursery:
            for _ in range(min(self._parallel, len(left))):
                nursery.start_soon(self._work, left)
        if self._broken:
            raise self._streak[-1]
        return self._told(len(parts))

    @property
    def unserved(self) -> bool:
        """Whether the last round served nobody: some that are absent are no fault."""
        return bool(self._absent) and not self._served

    @property
    def failing(self) -> bool:
        """Whether any vehicle fails; those that are absent do not."""
        return bool(self._troubles)

    @property
    def _broken(self) -> bool:
        return len(self._streak) >= MOST_IN_A_ROW

    async def _work(self, left: deque[str]) -> None:
        while left and not self._broken:
            part = left.popleft()
            try:
                asked = await self._walk(part)
            except AbsentError as bad:
                if bad.known:
                    self._served = True
                else:
                    self._absent.append(bad)
            except HeldError as bad:
                if bad.status == 401:  # whatever is asked: not about this vehicle
                    self._streak += [bad] * MOST_IN_A_ROW
                    self._refused.add(part)
                    return
                passing = isinstance(bad, UnreadableError)  # asked again next round
                await self._note(part, bad, 0.0 if passing else HELD_RETRY)
                await self._failed(part, bad)
            except TransientError as bad:
                await self._note(part, bad, bad.after or 0.0)
            else:
                self._refused.discard(part)
                self._served = self._served or asked
                self._streak = [] if not self._broken else self._streak

    async def _note(
        self, part: str, bad: HeldError | TransientError, rest: float
    ) -> None:
        self._streak.append(bad)
        self._troubles[part] = said(bad)
        self._benched[part] = trio.current_time() + rest

    def _told(self, count: int) -> str:
        both = (self._none_served(), self._failing(count))
        return "; ".join(one for one in both if one)

    def _none_served(self) -> str:
        if not self.unserved:
            return ""
        count, why = len(self._absent), said(self._absent[0])
        return f"no vehicle is served, {count} asked and absent: {why}"

    def _failing(self, count: int) -> str:
        if not self._troubles:
            return ""
        some = [f"{one}: {why}" for one, why in list(self._troubles.items())[:TOLD]]
        more = len(self._troubles) - len(some)
        rest = f"; and {more} more" if more > 0 else ""
        return (
            f"{len(self._troubles)} of {count} vehicles fail: {'; '.join(some)}{rest}"
        )
