"""How Samsara's lists, feeds, streams and windows are walked from page to page.

Only the flag `hasNextPage` ends a walk, since a page may be short or empty before the
end, and all other parameters must stay as they were
(https://developers.samsara.com/docs/pagination).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import astuple, replace

from fleetd.errors import PayloadError
from fleetd.event import Record, stamp
from fleetd.providers.contract import Ask, Page, Turn
from fleetd.providers.reading import UNREADABLE
from fleetd.providers.samsara.cutting import Cut, Pagination
from fleetd.providers.windows import Window, went_on, window

MS = timedelta(milliseconds=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
BETWEEN = MINUTE / 2  # of reading the past, until the feed is asked for news again
NEWS = MINUTE  # what the newest values of a feed may leave out
KEPT = timedelta(days=3 * 365)  # further back nothing is asked for; not documented
T = TypeVar("T")


def following(ask: Ask, pagination: Pagination) -> str | None:
    """The cursor of the next page, None at the end; a walk that cannot end is an error."""
    if not pagination.has_next_page:
        return None
    cursor = pagination.end_cursor
    if not cursor or cursor == ask.params.get("after"):
        raise PayloadError("pagination: more is promised, but not where")
    return cursor


class Listing(Struct, frozen=True):
    """A directory, read to its end each time; the bookmark is the page."""

    path: str
    cut: Cut
    tier: str = ""
    limit: str = ""

    def ask(self, turn: Turn) -> Ask:
        params = {"limit": self.limit} if self.limit else {}
        if turn.bookmark:
            params["after"] = turn.bookmark
        return Ask(self.path, params, tier=self.tier)

    def unpack(self, ask: Ask, body: bytes, _turn: Turn) -> Page:
        records, pagination = self.cut(body)
        after = following(ask, pagination)
        return Page(records, after, more=after is not None, complete=after is None)


class Sweep(Struct, frozen=True):
    """One directory that is listed once for each value of a parameter.

    Only the end of the last one completes it. The bookmark is `value:page`.
    """

    path: str
    cut: Cut
    name: str
    values: tuple[str, ...]
    limit: str = ""

    def ask(self, turn: Turn) -> Ask:
        value, _, after = (turn.bookmark or "").partition(":")
        if value not in self.values:
            value, after = self.values[0], ""
        params = {self.name: value} | ({"limit": self.limit} if self.limit else {})
        if after:
            params["after"] = after
        return Ask(self.path, params)

    def unpack(self, ask: Ask, body: bytes, _turn: Turn) -> Page:
        records, pagination = self.cut(body)
        value, after = str(ask.params[self.name]), following(ask, pagination)
        if after is None:
            rest = self.values[self.values.index(value) + 1 :]
            if not rest:
                return Page(records, complete=True)
            value, after = rest[0], ""
        return Page(records, f"{value}:{after}", more=True)


class Walk(Struct, frozen=True, array_like=True):
    """Where a stats feed stands: its cursor, and the past that is still to be read.

    `asked` is when the feed itself was read to its end last.
    """

    after: str
    since: datetime | None = None
    until: datetime | None = None
    past: str | None = None
    asked: datetime | None = None

    def reads_past(self, now: datetime) -> bool:
        """Whether it is the past's turn: what is new now and then goes before it."""
        if self.until is None or self.asked is None:
            return False
        return timedelta(0) <= now - self.asked < BETWEEN

    def behind(self, turn: Turn) -> Turn:
        """The turn of the past that is to be read first."""
        return Turn(turn.now, self.past, self.since, self.until)


class Stats(Struct, frozen=True):
    """A vehicle-stats feed: first the newest value of each vehicle, then every change.

    What is uploaded late comes when it arrives, so the cursor leaves no gap. An empty
    page gives the old cursor again, or none; then the old one stands. The feed itself
    cannot begin in the past: one that should takes a cursor first and then reads the
    history from there up to that moment, while the cursor goes on every half a minute.
    """

    types: str
    cut: Cut
    decorations: str = ""

    def ask(self, turn: Turn) -> Ask | None:
        stand = walked(turn)
        if stand is not None and stand.reads_past(turn.now):
            return self.history().ask(stand.behind(turn))
        params = dict(self.fixed())
        if stand is not None:
            params["after"] = stand.after
        return Ask("/fleet/vehicles/stats/feed", params)

    def unpack(self, ask: Ask, body: bytes, turn: Turn) -> Page:
        stand = walked(turn)
        if stand is not None and stand.reads_past(turn.now):
            page = self.history().unpack(ask, body, stand.behind(turn))
            on = Walk(stand.after)
            if page.more:
                on = replace(stand, past=page.bookmark)
            return Page(page.records, mark(on), more=True)
        records, pagination = self.cut(body)
        before = "" if stand is None else stand.after
        after = pagination.end_cursor or before
        if not after:
            raise PayloadError("pagination: the feed gives no cursor to go on with")
        if stand is None and turn.since and turn.since < turn.now - NEWS:
            stand = Walk(after, turn.since, turn.now)
        more = pagination.has_next_page and after != before
        if stand is None or stand.until is None:
            return Page(records, mark(Walk(after)), more=more)
        on = replace(stand, after=after, asked=None if more else turn.now)
        return Page(records, mark(on), more=True)

    def fixed(self) -> tuple[tuple[str, str], ...]:
        more = (("decorations", self.decorations),) if self.decorations else ()
        return (("types", self.types), *more)

    def history(self) -> Windows:
        """The same stats of any time, by the time of the reading; vehicle by vehicle."""
        path = "/fleet/vehicles/stats/history"
        return Windows(path, self.cut, DAY, fixed=self.fixed())


_walk = msgspec.json.Decoder(Walk).decode


def walked(turn: Turn) -> Walk | None:
    """Where a stats feed stands; a place in the past that was forgotten is asked anew.

    Only that: what was uploaded late meanwhile comes by the cursor of the feed alone.
    """
    stand = marked(turn.bookmark or turn.last, _walk)
    if stand is None or turn.bookmark is not None:
        return stand
    return replace(stand, since=turn.since, past=None)


class Stand(Struct, frozen=True, array_like=True):
    """Where a stream stands: what it was begun with must be said again each time."""

    start: str
    after: str = ""


_stand = msgspec.json.Decoder(Stand).decode


class Stream(Struct, frozen=True):
    """A stream of changes from a time on; without an end it never ends."""

    path: str
    cut: Cut
    begins: timedelta
    fixed: tuple[tuple[str, str], ...] = ()
    tier: str = ""

    def ask(self, turn: Turn) -> Ask:
        stand = marked(turn.bookmark, _stand)
        if stand is None or not begun(stand):
            since = max(turn.since or turn.now - self.begins, turn.now - KEPT)
            stand = Stand(stamp(since) or "")
        params = dict(self.fixed) | {"startTime": stand.start}
        if stand.after:
            params["after"] = stand.after
        return Ask(self.path, params, tier=self.tier)

    def unpack(self, ask: Ask, body: bytes, _turn: Turn) -> Page:
        records, pagination = self.cut(body)
        before = str(ask.params.get("after", ""))
        stand = Stand(str(ask.params["startTime"]), pagination.end_cursor or before)
        more = pagination.has_next_page and stand.after != before
        return Page(records, mark(stand), more=more)


def begun(stand: Stand) -> bool:
    """Whether what a stream was begun with is a time."""
    try:
        datetime.fromisoformat(stand.start)
    except ValueError:
        return False
    return True


def mark(stand: Struct) -> str:
    """Where a feed stands, as a bookmark; what a walk reads no past for, it leaves out."""
    told = astuple(stand)
    if isinstance(stand, Walk) and stand.asked is None:
        told = told[:-1]
    return msgspec.json.encode(told).decode()


def marked(bookmark: str | None, read: Callable[[str], T]) -> T | None:
    """Where a bookmark stands; one that cannot be read is none."""
    if bookmark is None:
        return None
    try:
        return read(bookmark)
    except UNREADABLE:
        return None


class Windows(Struct, frozen=True):
    """Windows of time, each read page by page, no longer than the call allows.

    `last` may mark records by when they were told, as `still_going` does.
    """

    path: str
    cut: Cut
    longest: timedelta
    begins: timedelta = timedelta(hours=1)
    shortest: timedelta = timedelta(0)
    fixed: tuple[tuple[str, str], ...] = ()
    tier: str = ""
    last: Callable[[Sequence[Record], datetime], Sequence[Record]] | None = None

    def ask(self, turn: Turn) -> Ask | None:
        shortest = timedelta(0) if turn.until else self.shortest
        asked = window(
            turn,
            longest=self.longest,
            begins=self.begins,
            shortest=shortest,
            oldest=KEPT,
        )
        if asked is None:
            return None
        start, end = stamp(asked.since), stamp(asked.until + MS - MS / 1000)
        params = dict(self.fixed) | {"startTime": start or "", "endTime": end or ""}
        if asked.page:
            params["after"] = asked.page
        return Ask(self.path, params, tier=self.tier)

    def unpack(self, ask: Ask, body: bytes, turn: Turn) -> Page:
        records, pagination = self.cut(body)
        if self.last is not None:
            records = self.last(records, turn.now)
        since, until = (moment_in(ask, one) for one in ("startTime", "endTime"))
        page = following(ask, pagination)
        bookmark, more = went_on(Window(since, until), page, turn)
        return Page(records, bookmark, more=more)


class Lasting(Struct, frozen=True):
    """As much of a record as says until when it goes."""

    endTime: datetime | None = None  # noqa: N815  as on the wire


_lasting = msgspec.json.Decoder(Lasting).decode


def still_going(records: Sequence[Record], now: datetime) -> Sequence[Record]:
    """The same, those that end about now or later with `ongoing` beside it.

    Whether an assignment that goes on has no end, the end of the window or one that is
    only planned, nobody says; an end that is not over yet is none.
    """
    return [Record(one.feed, _ongoing(one.body, now - MINUTE)) for one in records]


def _ongoing(body: bytes, now: datetime) -> bytes:
    try:
        end = _lasting(body).endTime
    except UNREADABLE:
        return body
    if end is None or not body.endswith(b"}"):
        return body
    end = end if end.tzinfo else end.replace(tzinfo=UTC)
    return body[:-1] + b',"ongoing":true}' if end >= now else body


def moment_in(ask: Ask, name: str) -> datetime:
    """A time that we asked for ourselves."""
    return datetime.fromisoformat(str(ask.params[name])).astimezone(UTC)
