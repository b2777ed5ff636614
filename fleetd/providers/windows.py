"""Windows of time that a feed walks through: where it stands, as a bookmark's text.

A round reads from where the last one ended (less the look-back) to now, in windows no
longer than the vendor allows, each page by page; the bookmark says window and page, so
that a restart goes on with the very next page.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from fleetd.providers.contract import Turn

EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
SLACK = timedelta(minutes=1)  # a bookmark further ahead comes from a clock gone wrong


class Window(Struct, frozen=True, array_like=True):
    """Half-open [since, until); `page` is the vendor's own token for where it goes on.

    `last` says that it reached to the edge when it was begun: nothing waits after it,
    however long its pages take. What comes after it is another round.
    """

    since: datetime
    until: datetime
    page: str | None = None
    last: bool = False


_read = msgspec.json.Decoder(Window).decode


def window(
    turn: Turn,
    *,
    longest: timedelta,
    begins: timedelta = timedelta(0),
    shortest: timedelta = timedelta(0),
    oldest: timedelta | None = None,
) -> Window | None:
    """The window to ask for now, or None where nothing has happened since.

    `begins` is how far back a feed goes that was told nothing, `oldest` how far back
    the vendor can be asked at all, `shortest` what is not worth (or not allowed) asking.
    """
    end = edge(turn)
    stands = place(turn.bookmark)
    if stands is not None and stands.page is not None:
        return stands
    if stands is None or stands.until > turn.now + SLACK:
        since = turn.since or turn.now - begins
    elif turn.until is None and stands.last:
        since = stands.until - turn.lookback
    else:
        since = stands.until
    since = max(since, EARLIEST if oldest is None else turn.now - oldest)
    until = min(since + longest, end)
    if until - since <= shortest:
        return None
    return Window(since, until)


def went_on(asked: Window, page: str | None, turn: Turn) -> tuple[str, bool]:
    """The bookmark after a page, and whether more waits now.

    `page` is the vendor's token for the next page of this window, None at its end.
    """
    last = is_last(asked, turn)
    if page is not None:
        return written(Window(asked.since, asked.until, page, last)), True
    return written(Window(asked.since, asked.until, None, last)), not last


def is_last(asked: Window, turn: Turn) -> bool:
    """Whether a window reached to the edge when its first page was asked for."""
    stands = place(turn.bookmark)
    if stands is not None and stands.page is not None:
        return stands.last
    return asked.until >= edge(turn)


def edge(turn: Turn) -> datetime:
    """Where a round ends, in whole seconds: vendors know no finer ones, and what is cut
    off a request must not look like something that is left to ask for.
    """
    end = turn.now if turn.until is None else min(turn.until, turn.now)
    return end.replace(microsecond=0)


def place(bookmark: str | None) -> Window | None:
    """Where a bookmark stands; one that cannot be read is none."""
    if bookmark is None:
        return None
    try:
        return _read(bookmark)
    except msgspec.MsgspecError:
        return None


def written(window: Window) -> str:
    """A window as a bookmark."""
    return msgspec.json.encode(window).decode()
