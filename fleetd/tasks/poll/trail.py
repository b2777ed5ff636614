"""Whether the pages of one walk get anywhere: a far side that goes in circles is told so."""

from __future__ import annotations

from fleetd.errors import ExpiredError, HeldError
from fleetd.providers.contract import Page

REMEMBERED = 50_000
MOST_ANEW = 10  # forgotten bookmarks of one walk
EMPTY_FREE = 100  # empty pages in a row that nobody minds: windows of a quiet time
EMPTY_PAUSE = 1.0
STALE_MANY = 10_000  # pages without news: beyond it, no faster than the feed's own pace


class Trail:
    """The bookmarks of one walk from page to page."""

    def __init__(self, bookmark: str | None) -> None:
        self._seen = {bookmark}
        self._empty = self._stale = 0
        self._anew = 0

    def anew(self, bad: ExpiredError) -> None:
        """The walk begins again where it was; `HeldError` where that does not end."""
        self._seen.clear()
        self._anew += 1
        if self._anew > MOST_ANEW:
            raise HeldError(f"{bad}, again and again") from bad

    def step(self, page: Page, pace: float, news: int = 0) -> float:
        """How long to rest before the next page; `HeldError` where it is one we had.

        `news` is how much of it was new: the same records may come without end, under
        another place to go on each time.
        """
        if page.bookmark in self._seen:
            raise HeldError(
                "it says that more waits, and sends us round in a circle: a place to go "
                "on that we came from"
            )
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen.add(page.bookmark)
        self._empty = 0 if page.records else self._empty + 1
        self._stale = 0 if news else self._stale + 1
        if self._stale > STALE_MANY:
            return max(pace, EMPTY_PAUSE)
        return EMPTY_PAUSE if self._empty > EMPTY_FREE else 0.0
