"""How far each vehicle's past was read: by time, and again where late data may lie.

Reveal's calls by vehicle know device time only, so what a truck sends days late lies
behind the bookmark of any clock. A round reads from the end of the last one, less the
look-back. Where a vehicle that was silent says something, the round goes back to the
last that was heard of it; and once a day each is read again three days back.

What is older than the customer's data plan is refused, as a vehicle is that is not
served at all. So where an old window is refused the last day is asked: if it is served,
the earliest time that is lies in between, and halving finds it to the hour.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from fleetd.providers.contract import Page, Turn
from fleetd.providers.windows import EARLIEST, SLACK, Window, went_on, window

DAY = timedelta(days=1)
LATE = timedelta(days=3)
AWAY = timedelta(days=14)  # of silence: no data plan is shorter
REACH = timedelta(days=30)  # of a new source; further back, `fleetd backfill`
SECOND = timedelta(seconds=1)
GRAIN = timedelta(hours=1)  # how exactly the edge of a data plan is found
UNDER_WAY, SOUGHT = "on", "sought"


class Walk(Struct, frozen=True, array_like=True):
    """A `Window` that remembers: its newest record, and when it was last read far back.

    `page` says that the round goes on at `until`. Nothing is read from before `first`.
    While the edge of the data plan is sought `since` was refused, and `until` is asked
    next; `served` is the earliest that is known to be served, if the last day is.
    """

    since: datetime
    until: datetime
    page: str | None = None
    last: bool = False  # as a `Window` has it
    newest: datetime | None = None
    deep: datetime | None = None
    first: datetime = EARLIEST
    served: datetime | None = None


_read = msgspec.json.Decoder(Walk).decode


def span(turn: Turn, *, within: timedelta, begins: timedelta) -> Window | None:
    """What to ask of a vehicle now, in whole seconds and at most a day; None: nothing."""
    if turn.until is not None:
        asked = window(turn, longest=DAY, oldest=within, shortest=SECOND)
        return None if asked is None else Window(floor(asked.since), asked.until)
    stands = stand(turn)
    since = _from(stands, turn, begins)
    first = stands.first if stands else EARLIEST
    since = floor(max(since, turn.now - min(within, REACH), first))
    until = floor(min(since + DAY, turn.now))
    return Window(since, until) if until - since >= SECOND else None


def _from(stands: Walk | None, turn: Turn, begins: timedelta) -> datetime:
    now = turn.now
    if stands is None:
        return now - begins if turn.since is None else turn.since
    if stands.until > now + SLACK:  # a clock went wrong
        return now - LATE
    if stands.page == SOUGHT and stands.served is None:
        return now - DAY
    if stands.page is not None:
        return stands.until
    back = stands.until - turn.lookback
    if due(stands, now):
        far = max(min(stands.newest or stands.until, now - LATE), now - AWAY)
        return min(far, back)  # all of the time that we were away ourselves
    return back


def refused(asked: Window, turn: Turn) -> Page | None:
    """What stands for the answer where a window is refused; None: it is not for its age."""
    if turn.until is not None or turn.now - asked.since < DAY + SECOND:
        return None
    low, before = asked.since, stand(turn)
    kept = before or Walk(low, low, deep=turn.now, first=low)
    if due(kept, turn.now):
        kept = replace(kept, deep=turn.now)
    if kept.served is not None and kept.served > low:
        found = _closer(kept, low, kept.served)
    else:
        found = replace(kept, since=low, until=low, page=SOUGHT, served=None)
    return Page([], written(found), more=True)


def _served(sought: Walk, at: datetime) -> Walk:
    """Where the search goes on once a window is served.

    At first from what was refused: it may have been the vehicle, and all is served now.
    """
    if sought.served is None:
        return replace(sought, until=sought.since, page=UNDER_WAY, served=at)
    return _closer(sought, sought.since, at)


def _closer(sought: Walk, low: datetime, served: datetime) -> Walk:
    """The next time to ask between one that is refused and one that is served."""
    if served - low <= GRAIN:
        low, at, page = served, served, UNDER_WAY
    else:
        at, page = floor(low + (served - low) / 2), SOUGHT
    return replace(sought, since=low, until=at, page=page, served=served)


def step(
    asked: Window, newest: datetime | None, turn: Turn, again: datetime | None = None
) -> tuple[str, bool]:
    """The bookmark after a window, and whether more waits now.

    `again` is from where its end must be asked once more: something there is not over.
    """
    on = turn.now - asked.until >= SECOND
    upto, back = asked.until, again and again - SECOND
    if back is not None and (back > asked.since or not (on or turn.until)):
        upto = min(upto, back)
    if turn.until is not None:
        return went_on(Window(asked.since, upto), None, turn)
    before = stand(turn)
    known = before.newest if before else None
    latest = _later(known, newest, turn.now)
    if before is not None and before.page == SOUGHT:
        found = replace(_served(before, asked.since), newest=latest)
        return written(found), True
    first = before.first if before else asked.since
    deep = turn.now if before is None or due(before, turn.now) else before.deep
    if _came_back(before, asked, newest, turn):
        assert known is not None
        back = floor(max(known, turn.now - AWAY))
        return written(
            Walk(back, back, UNDER_WAY, newest=latest, deep=deep, first=first)
        ), True
    page = UNDER_WAY if on else None
    return written(
        Walk(asked.since, upto, page, newest=latest, deep=deep, first=first)
    ), on


def _came_back(
    before: Walk | None, asked: Window, newest: datetime | None, turn: Turn
) -> bool:
    """Whether a silent vehicle speaks again: what it kept meanwhile lies behind us."""
    if before is None or before.newest is None or newest is None:
        return False
    ordinary = before.page is None and not due(before, turn.now)
    return ordinary and before.newest < asked.since and newest > before.newest


def _later(
    one: datetime | None, other: datetime | None, now: datetime
) -> datetime | None:
    """The later of two, never ahead of our clock: a device's may be wrong."""
    found = max((at for at in (one, other) if at is not None), default=None)
    return None if found is None else min(found, floor(now))


def due(stands: Walk, now: datetime) -> bool:
    """Whether a new round reads far back: a day has passed since one did.

    One that lies ahead was dated by a clock gone wrong.
    """
    fresh = stands.deep is not None and timedelta(0) <= now - stands.deep < DAY
    return stands.page is None and not fresh


def stand(turn: Turn) -> Walk | None:
    """Where a vehicle stands; a bookmark that cannot be read is none."""
    if turn.bookmark is None:
        return None
    try:
        return _read(turn.bookmark)
    except msgspec.MsgspecError:
        return None


def written(walk: Walk) -> str:
    return msgspec.json.encode(walk).decode()


def floor(at: datetime) -> datetime:
    return at.replace(microsecond=0)
