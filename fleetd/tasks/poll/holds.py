"""What of a source is held and why, kept over restarts; each change is an alert event."""

from __future__ import annotations

import structlog

from fleetd.event import millis
from fleetd.masking import MASK
from fleetd.store import Store
from fleetd.tasks.announce import announce

LONGEST = 500
FLAPS_MS = 3_600_000  # held again so soon after it went on: no news
STAYS_MS = 600_000  # unless it stays so for so long
logger = structlog.get_logger()


class Holds:
    """The holds of one source: of its whole polling (""), a feed, or a feed's part.

    `word` names what is held where that is not the feed itself (`removals`).
    """

    def __init__(self, source: str, store: Store) -> None:
        self._source = source
        self._store = store

    def fresh(self, about: str, part: str = "") -> bool:
        """Whether it would be news that it is held."""
        before = self._store.recall(self._name(about, part))
        now = millis(self._store.world.now())
        return not before.get("why") and now - before.get("freed", 0) >= FLAPS_MS

    async def hold(
        self, about: str, why: str, *, part: str = "", word: str = ""
    ) -> bool:
        """Note that it is held, and tell if that is news; whether it was.

        One that comes and goes is told once, and again only once it stays.
        """
        name = self._name(about, part, word)
        before, now = self._store.recall(name), millis(self._store.world.now())
        if before.get("why") and (before["told"] or now - before["ms"] < STAYS_MS):
            return False
        told = now - before.get("freed", -FLAPS_MS) >= FLAPS_MS or "why" in before
        kept = {"why": MASK.mask(why)[:LONGEST], "ms": now, "told": told}
        await self._store.remember(name, kept)
        if told:
            logger.warning("held", source=self._source, about=about, part=part, why=why)
            await self._tell(about, "held", why, part, word)
        return told

    async def free(self, about: str, *, part: str = "", word: str = "") -> bool:
        """Note that it goes on, and tell if that is news; whether it was."""
        name = self._name(about, part, word)
        before = self._store.recall(name)
        if not before.get("why"):
            return False
        now = millis(self._store.world.now())
        await self._store.remember(name, {"freed": now})
        if before["told"]:
            logger.info("resumed", source=self._source, about=about, part=part)
            await self._tell(about, "resumed", "goes on", part, word)
        return bool(before["told"])

    async def _tell(
        self, about: str, what: str, text: str, part: str, word: str
    ) -> None:
        word = word or ("feed" if about else "polling")
        title = ": ".join(one for one in (self._source, about, part, text) if one)
        await announce(
            self._store, self._source, f"{word}_{what}", title, about=about,
            vehicle=part or None,
        )  # fmt: skip

    def _name(self, about: str, part: str = "", word: str = "") -> str:
        place = (self._source, about, part, word and f"#{word}")
        return "held:" + "/".join(one for one in place if one)
