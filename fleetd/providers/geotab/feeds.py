"""What Geotab is asked: feeds by version, listings whole, and windows of the past.

Feeds: https://developers.geotab.com/myGeotab/guides/dataFeed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from fleetd.errors import PayloadError
from fleetd.event import Record, stamp
from fleetd.providers.contract import Ask, Feed, Page, Past, Turn
from fleetd.providers.geotab.rpc import call, params_of, problem_of
from fleetd.providers.reading import UNREADABLE, Wire, short
from fleetd.providers.windows import EARLIEST, Window, place, went_on, window, written

ROWS = 5_000  # a page at the edge; and where a plain `Get` ends without a word
CAUGHT_UP = 1_000  # as the vendor's own adapter: a page with fewer rows is the last
LONGEST_VERSION = 200
TOLD = 120  # characters of what an error says
SEEK = "seek:"  # how the bookmark of a listing too long for one answer begins
HALF = "half"  # a window that held more than one answer can
EDGE = timedelta(seconds=1)
SHORTEST = timedelta(seconds=2)
KEPT = timedelta(days=365)
Body = TypeVar("Body")


def read(body: bytes, decode: Callable[[bytes], Body]) -> Body:
    """The body of an answer that must be a result; never an error read as nothing."""
    problem = problem_of(body)
    if problem is not None:
        raise PayloadError(
            f"an error, no result ({problem.type}: {problem.text[:TOLD]})"
        )
    try:
        return decode(body)
    except UNREADABLE as bad:
        raise PayloadError(f"not an answer of Geotab's: {short(bad)}") from bad


def records(feed: str, rows: list[Raw]) -> list[Record]:
    return [Record(feed, bytes(one)) for one in rows]


# feeds that go on at a version


class FeedRows(Struct, frozen=True, rename="camel"):
    data: list[Raw]
    to_version: str | int


class FeedAnswer(Struct, frozen=True):
    result: FeedRows


_fed = msgspec.json.Decoder(FeedAnswer).decode


def ask_on(kind: str, begins: timedelta | None, turn: Turn) -> Ask:
    """Go on at the version; the first time at a date, else it would begin anywhere.

    `begins` None is for the type that takes no search: it tells each vehicle's state.
    """
    params: Wire = {"typeName": kind, "resultsLimit": ROWS}
    if turn.bookmark is not None:
        params["fromVersion"] = turn.bookmark
    elif begins is not None:
        since = max(turn.since or turn.now - begins, EARLIEST)
        params["search"] = {"fromDate": stamp(since)}
    return call("GetFeed", f"GetFeed {kind}", **params)


def unpack_on(feed: str, ask: Ask, body: bytes, _turn: Turn) -> Page:
    """The rows of a page, in the order they became known: that of versions, not of time."""
    found = read(body, _fed).result
    version = str(found.to_version)  # a number is kept as text, too
    if not version.strip() or len(version) > LONGEST_VERSION:
        raise PayloadError("toVersion is empty or absurdly long")
    moved = version != params_of(ask).get("fromVersion")
    more = moved and len(found.data) >= CAUGHT_UP
    return Page(records(feed, found.data), version, more=more)


# listings


class ListAnswer(Struct, frozen=True):
    result: list[Raw]


class Named(Struct, frozen=True):
    id: str


_listed = msgspec.json.Decoder(ListAnswer).decode
_named = msgspec.json.Decoder(Named).decode


def ask_all(kind: str, turn: Turn) -> Ask:
    """Everything at once; what one answer cannot hold is walked through by id.

    A plain `Get` ends at 5 000 rows and says nothing of it, so a full answer proves
    nothing; a shorter one is whole.
    """
    params: Wire = {"typeName": kind, "resultsLimit": ROWS}
    if turn.bookmark is not None:
        offset = turn.bookmark.removeprefix(SEEK) or None
        params["sort"] = {"sortBy": "id", "sortDirection": "asc", "offset": offset}
    return call("Get", f"Get {kind}", **params)


def unpack_all(feed: str, _ask: Ask, body: bytes, turn: Turn) -> Page:
    rows = read(body, _listed).result
    if turn.bookmark is None:
        if len(rows) < ROWS:
            return Page(records(feed, rows), complete=True)
        return Page((), SEEK, more=True)
    if not rows:
        return Page((), complete=True)
    try:
        ids = [_named(one).id for one in rows]
    except UNREADABLE as bad:
        raise PayloadError(f"a row without an id: {short(bad)}") from bad
    if turn.bookmark.removeprefix(SEEK) in ids or not ids[-1]:
        raise PayloadError("the listing does not go on behind the id it was asked for")
    return Page(records(feed, rows), SEEK + ids[-1], more=True)


# the past


class Span(Struct, frozen=True):
    """How a type's past is asked for.

    `longest` is a window that one answer likely holds. `edged` types get points made up
    at both edges of a window (https://developers.geotab.com/myGeotab/guides/concepts).
    """

    kind: str
    longest: timedelta
    edged: bool = False


def window_of(span: Span, turn: Turn) -> Window | None:
    """The next window; after one that was too full they grow again step by step."""
    stands, longest = place(turn.bookmark), span.longest
    if stands is not None and stands.page is None:
        longest = min(longest, max((stands.until - stands.since) * 2, SHORTEST))
    return window(turn, longest=longest, oldest=KEPT)


def ask_past(span: Span, turn: Turn) -> Ask | None:
    """A window of the past; where points are made up at its edges, a little more of it."""
    asked = window_of(span, turn)
    if asked is None:
        return None
    edge = EDGE if span.edged else timedelta(0)
    search: Wire = {
        "fromDate": stamp(asked.since - edge),
        "toDate": stamp(asked.until + edge),
    }
    if turn.part:
        search["deviceSearch"] = {"id": turn.part}
    params = {"typeName": span.kind, "resultsLimit": ROWS, "search": search}
    return call("Get", f"Get {span.kind}", **params)


def unpack_past(span: Span, feed: str, _ask: Ask, body: bytes, turn: Turn) -> Page:
    """The rows of a window, or half the window to ask for where one answer held too many."""
    asked = window_of(span, turn)
    assert asked is not None
    rows = read(body, _listed).result
    if len(rows) >= ROWS:
        return Page((), written(halved(asked)), more=True)
    kept = list(inside(asked, rows)) if span.edged else rows
    bookmark, more = went_on(asked, None, turn)
    return Page(records(feed, kept), bookmark, more=more)


def halved(asked: Window) -> Window:
    length = asked.until - asked.since
    if length < SHORTEST:
        raise PayloadError(f"{ROWS} rows or more within {length.total_seconds():g} s")
    middle = asked.since + timedelta(seconds=int(length.total_seconds() / 2) or 1)
    return Window(asked.since, middle, HALF)


class Timed(Struct, frozen=True, rename="camel"):
    date_time: datetime
    id: str


_timed = msgspec.json.Decoder(Timed).decode


def inside(asked: Window, rows: list[Raw]) -> Iterator[Raw]:
    """The rows within a window, and those whose normalizer has to complain of them.

    What was made up stands at the edges that were asked for, outside of the window, or
    has no id: it never becomes an event.
    """
    for row in rows:
        try:
            one = _timed(row)
        except msgspec.MsgspecError:
            if not made_up(row):
                yield row
            continue
        if one.date_time.tzinfo is None or asked.since <= one.date_time < asked.until:
            yield row


class Bare(Struct, frozen=True):
    id: str | None = None


_bare = msgspec.json.Decoder(Bare).decode


def made_up(row: Raw) -> bool:
    """Whether a row has no id."""
    try:
        return not _bare(row).id
    except msgspec.MsgspecError:
        return False


# feeds as they are declared


def on(
    name: str, every: float, span: Span, *kinds: str, begins: timedelta, scope: str
) -> Feed:
    """A feed by version, with its past by windows: vehicle by vehicle where it is edged."""
    past = Past(
        partial(ask_past, span),
        partial(unpack_past, span, name),
        within=KEPT,
        call=f"Get {span.kind}",
        parts=span.edged,
    )
    return Feed(
        name, every, partial(ask_on, span.kind, begins), partial(unpack_on, name),
        kinds=kinds, begins=begins, past=past, scope=scope,
    )  # fmt: skip


def states(name: str, every: float, kind: str, *kinds: str, scope: str) -> Feed:
    """A feed by version that takes no search and has no past, polled where asked for."""
    return Feed(
        name, every, partial(ask_on, kind, None), partial(unpack_on, name),
        kinds=kinds, scope=scope, standard=False, snapshot=True,
    )  # fmt: skip


def listing(name: str, kind: str, tells: str, *, scope: str) -> Feed:
    return Feed(
        name, 3600.0, partial(ask_all, kind), partial(unpack_all, name),
        kinds=(tells,), listing=tells, begins=None, scope=scope,
    )  # fmt: skip
