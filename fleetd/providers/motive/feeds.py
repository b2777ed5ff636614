"""How Motive's lists are walked: whole ones page by page, the others in windows of days.

Days are the vendor's own: UTC for driving periods, the company's for the rest, whole
and inclusive (https://github.com/andrewjordan3/fleetpull, its notes on live answers). So
a window is widened by a day on each side, and a past one is cut to size here: filters
are hints, some of which Motive does not heed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from fleetd.errors import PayloadError
from fleetd.event import Record
from fleetd.providers.contract import Ask, Page, Turn
from fleetd.providers.motive.paging import (
    FEW_SEEN,
    MOST_SEEN,
    paged,
    sheet,
    token_of,
    walk_of,
    went,
)
from fleetd.providers.reading import flag, inner, loads, moment, words
from fleetd.providers.windows import EARLIEST, Window, went_on, window

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)  # no fractions in the vendor's times: rather too much
UNMEASURED = "unmeasured"  # points whose units nobody knows yet
TRIES = 3  # walks through one list until its count is right
Split = Callable[[bytes], Sequence[bytes]]
Span = Callable[[Window, datetime], Mapping[str, str]]


def one(item: bytes) -> Sequence[bytes]:
    """An item that is one record."""
    return (item,)


class Listing(Struct, frozen=True):
    """A list that is read whole each time; the bookmark between pages is the walk.

    `evidence` lists prove by their end that what they did not name is gone. `tries` is
    how often one is read in a row until its count is right. One that needs `units`
    says none itself: of a vehicle that is not in the directory yet its numbers are left
    for the next time. Of a past window it keeps what lies in it by one of its `times`.
    """

    feed: str
    path: str
    plural: str
    singular: str
    evidence: bool = False
    tries: int = TRIES
    units: bool = False
    times: tuple[str, ...] = ()

    def ask(self, turn: Turn) -> Ask:
        return paged(self.path, walk_of(turn.bookmark), {})

    def unpack(self, _ask: Ask, body: bytes, turn: Turn) -> Page:
        """The records of one page; the last one is complete where every count agreed."""
        walk, page = walk_of(turn.bookmark), sheet(body, self.plural, self.singular)
        end = went(walk, page, self.tries, MOST_SEEN if self.evidence else FEW_SEEN)
        kept = [one for one in page.items if within(one, self.times, turn)]
        records = [Record(self._read_as(one, turn), one) for one in kept]
        if end.onward is not None:
            return Page(records, token_of(end.onward), more=True)
        return Page(records, complete=self.evidence and end.sound)

    def _read_as(self, item: bytes, turn: Turn) -> str:
        return UNMEASURED if self.units and not measured(item, turn) else self.feed


class Windowed(Struct, frozen=True):
    """A list that is asked for in windows, each read page by page.

    `span` says a window in the vendor's parameters, `times` are the keys that say when
    a record was, `split` makes several of one, `begins` is how far back a newcomer goes.
    """

    feed: str
    path: str
    plural: str
    singular: str
    span: Span
    times: tuple[str, ...] = ("start_time",)
    split: Split = one
    begins: timedelta = DAY
    longest: timedelta = 7 * DAY

    def ask(self, turn: Turn) -> Ask | None:
        asked = self._window(turn)
        if asked is None:
            return None
        params = dict(self.span(asked, turn.now))
        return paged(self.path, walk_of(asked.page), params)

    def unpack(self, _ask: Ask, body: bytes, turn: Turn) -> Page:
        """The records of one page of a window; out of a past one only what lies in it."""
        asked = self._window(turn)
        if asked is None:
            raise PayloadError("an answer that was not asked for")
        page = sheet(body, self.plural, self.singular)
        end = went(walk_of(asked.page), page, TRIES)
        token = None if end.onward is None else token_of(end.onward)
        bookmark, more = went_on(asked, token, turn)
        parts = (part for item in page.items for part in self.split(item))
        kept = [part for part in parts if within(part, self.times, turn)]
        return Page([Record(self.feed, part) for part in kept], bookmark, more)

    def _window(self, turn: Turn) -> Window | None:
        return window(turn, longest=self.longest, begins=self.begins)


def measured(item: bytes, turn: Turn) -> bool:
    """Whether it is known in which units a vehicle reports; its numbers come again."""
    try:
        told = loads(item)
    except PayloadError:
        return True
    known = words(told, "id") in turn.vehicles
    return known or not turn.vehicles or flag(told, "metric_units") is not None


def within(item: bytes, times: tuple[str, ...], turn: Turn) -> bool:
    """Whether a record lies in a past window, if one was asked for; unread ones do."""
    if turn.until is None:
        return True
    since, until = turn.since or EARLIEST, turn.until
    found = list(_moments(item, times))
    return not found or any(since <= at < until for at in found)


def _moments(item: bytes, times: tuple[str, ...]) -> Iterator[datetime]:
    try:
        told = loads(item)
    except PayloadError:
        return
    told = inner(told, "event") or told
    for name in times:
        if (at := moment(told, name)) is not None:
            yield at


def utc_days(asked: Window, _now: datetime) -> Mapping[str, str]:
    """A window as the vendor's inclusive days, where those are of UTC."""
    last = asked.until - timedelta(microseconds=1)
    return {"start_date": day(asked.since), "end_date": day(max(last, asked.since))}


def local_days(asked: Window, now: datetime) -> Mapping[str, str]:
    """The same where days are the company's own: a day wider, and none from the future."""
    return {
        "start_date": day(asked.since - DAY),
        "end_date": day(min(asked.until + DAY, now)),
    }


def start_times(asked: Window, _now: datetime) -> Mapping[str, str]:
    """A window as moments: Motive's own default is the last day."""
    until = second(asked.until + SECOND)
    return {"min_start_time": second(asked.since), "max_start_time": until}


def post_times(asked: Window, _now: datetime) -> Mapping[str, str]:
    """A window of the delivery log."""
    until = second(asked.until + SECOND)
    return {"posted_after": second(asked.since), "posted_before": until}


def day(at: datetime) -> str:
    """`2026-05-12`, of UTC."""
    return at.astimezone(UTC).date().isoformat()


def second(at: datetime) -> str:
    """A moment as Motive writes it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"
