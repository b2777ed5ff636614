"""What of a source is held and why, kept over restarts; each change is an alert event."""

from __future__ import annotations

import structlog

from fleetd.event import millis
from fleetd.masking import MASK
from fleetd.store import Store
from fleetd.tasks.announce import announce

LONGEST = 500
logger = structlog.get_logger()


class Holds:
    """The holds of one source: of its whole polling (""), a feed, or a feed's part.

    `word` names what is held where that is not the feed itself (`removals`).
    """

    def __init__(self, source: str, store: Store) -> None:
        self._source = source
        self._store = store

    def why(self, about: str, part: str = "") -> str:
        """Why it is held; empty where it is not."""
        return str(self._store.recall(self._name(about, part)).get("why", ""))

    async def hold(
        self, about: str, why: str, *, part: str = "", word: str = ""
    ) -> bool:
        """Note that it is held, and tell if that is news; whether it was."""
        name = self._name(about, part, word)
        if self._store.recall(name):
            return False
        logger.warning("held", source=self._source, about=about, part=part, why=why)
        now = millis(self._store.world.now())
        kept = {"why": MASK.mask(why)[:LONGEST], "ms": now}
        await self._store.remember(name, kept)
        await self._tell(about, "held", why, part, word)
        return True

    async def free(self, about: str, *, part: str = "", word: str = "") -> bool:
        """Note that it goes on, and tell if that is news; whether it was."""
        name = self._name(about, part, word)
        if not self._store.recall(name):
            return False
        logger.info("resumed", source=self._source, about=about, part=part)
        await self._store.remember(name, None)
        await self._tell(about, "resumed", "goes on", part, word)
        return True

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
