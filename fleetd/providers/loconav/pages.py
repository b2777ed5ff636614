"""How LocoNav's lists are asked for and read: pages that we count, windows of a day.

`page` is counted here and never read from an answer, which may say 0. A list goes on
until `pagination.more` is false; where there is no `more` (polygons document none) until
a page is empty, or the same as the one before it: then `page` is not heeded. Times in
questions are whole seconds since 1970.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from fleetd.errors import PayloadError
from fleetd.event import Record
from fleetd.providers import reading
from fleetd.providers.contract import Ask, Page, Turn
from fleetd.providers.windows import (
    EARLIEST,
    SLACK,
    Window,
    is_last,
    place,
    written,
)

LISTS = ("values", "vehicles", "alerts")  # the lists whose names are documented
JOINT = "~"  # between a page's number and what the page before it held
MOST_PAGES = 100_000  # a list that never ends is none
LONGEST = timedelta(hours=23, minutes=59)  # "less than a day"
SHORTEST = timedelta(seconds=90)  # "more than 1 min"
OLDEST = timedelta(days=179)  # "last 6 months"
MARGIN = timedelta(days=2)  # what was begun at the very edge may take its time


class Pagination(Struct, frozen=True):
    """As much of it as can be trusted."""

    more: Any = None


class Envelope(Struct, frozen=True):
    """What is around every answer."""

    success: Any = None
    data: dict[str, Raw] | None = None


_envelope = msgspec.json.Decoder(Envelope).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_pagination = msgspec.json.Decoder(Pagination | None).decode


class Found(Struct, frozen=True):
    """One page: its items, and whether more follow as the vendor says (null: it does not)."""

    items: Sequence[Raw]
    more: bool | None


def read(body: bytes) -> Found:
    """The items of an answer; whatever is not plainly a list is a fault."""
    try:
        answer = _envelope(body)
        data = answer.data or {}
        lists = {k: _list(one) for k, one in data.items() if bytes(one)[:1] == b"["}
        pagination = _pagination(data.get("pagination", b"null"))
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not LocoNav's JSON: {reading.short(bad)}") from bad
    if reading.flag({"success": answer.success}, "success") is False:
        raise PayloadError("success is false")
    found = [lists[name] for name in LISTS if name in lists] or [*lists.values()]
    if len(found) != 1:
        raise PayloadError(f"{len(found)} lists where one was asked for")
    more = reading.flag({"more": pagination.more}, "more") if pagination else None
    return Found(found[0], more)


def page_of(bookmark: str | None) -> int:
    """The page a bookmark stands at; the first page is 1."""
    said = (bookmark or "").partition(JOINT)[0]
    known = said.isascii() and said.isdigit() and len(said) <= len(str(MOST_PAGES))
    return max(int(said), 1) if known else 1


def params(page: int, size: int) -> dict[str, str]:
    return {"page": str(page), "perPage": str(size)}


def following(ask: Ask, found: Found, bookmark: str | None) -> str | None:
    """Where the list goes on, or null at the end: the page, and what this one held.

    An empty page is an end, whatever it says; a repeated one where nothing says more.
    """
    held = print_of(found)
    again = found.more is None and (bookmark or "").partition(JOINT)[2] == held
    if found.more is False or not found.items or again:
        return None
    page = page_of(str(ask.params["page"])) + 1
    if page > MOST_PAGES:
        raise PayloadError(f"the list has no end: {MOST_PAGES} pages")
    return str(page) if found.more else f"{page}{JOINT}{held}"


def print_of(found: Found) -> str:
    held = blake2b(b",".join(bytes(one) for one in found.items), digest_size=8)
    return held.hexdigest()


def ask_list(
    path: str, size: int, extra: Mapping[str, str], turn: Turn
) -> Ask:  # fmt: skip
    """The page of a list where the bookmark stands."""
    return Ask(path, params={**extra, **params(page_of(turn.bookmark), size)})


def ask_posted(path: str, size: int, json: Mapping[str, Any], turn: Turn) -> Ask:
    """The same of a list that is asked for by POST."""
    return Ask(
        path, params=params(page_of(turn.bookmark), size), method="POST", json=json
    )


def unpack_list(feed: str, ask: Ask, body: bytes, turn: Turn) -> Page:
    """A page of a list; only the vendor's own `more: false` makes it complete."""
    found = read(body)
    page = following(ask, found, turn.bookmark)
    return Page(
        [Record(feed, bytes(item)) for item in found.items],
        bookmark=page,
        more=page is not None,
        complete=found.more is False,
    )


def late(turn: Turn) -> Turn:
    """The same turn of a feed that only reads again what another has read before.

    It begins now, however far back the source was told to begin: nothing is late yet.
    """
    return turn if turn.bookmark else replace(turn, since=turn.now)


def ask_late(path: str, size: int, turn: Turn) -> Ask | None:
    return ask_window(path, size, late(turn))


def unpack_late(feed: str, ask: Ask, body: bytes, turn: Turn) -> Page:
    return unpack_window(feed, ask, body, late(turn))


def ask_window(path: str, size: int, turn: Turn) -> Ask | None:
    """The window to ask for now, and the page in it.

    The vendor refuses a minute or less and a day or more: what is left of a longer
    stretch is widened to the past, where a repeat does no harm.
    """
    asked = window(turn)
    if asked is None:
        return None
    since = math.floor(asked.since.timestamp())
    until = math.ceil(asked.until.timestamp())
    since = min(since, until - int(SHORTEST.total_seconds()))
    span = {"startTime": str(since), "endTime": str(until)}
    return Ask(path, params={**span, **params(page_of(asked.page), size)})


def unpack_window(feed: str, ask: Ask, body: bytes, turn: Turn) -> Page:
    """A page of a window. The bookmark says the next page, or the next window."""
    found = read(body)
    records = [Record(feed, bytes(item)) for item in found.items]
    asked = window(turn)
    if asked is None:  # then nothing was asked
        raise PayloadError("no window stands open")
    page = following(ask, found, asked.page)
    last = is_last(asked, turn)
    if page is not None:
        mark = Window(asked.since, asked.until, page, last)
        return Page(records, bookmark=written(mark), more=True)
    if not last:
        end = end_of(turn)
        until = min(asked.until + LONGEST, end)
        mark = Window(asked.until, until, "1", until >= end)
        return Page(records, bookmark=written(mark), more=True)
    return Page(records, bookmark=written(Window(asked.since, asked.until)))


def window(turn: Turn) -> Window | None:
    """Where a turn stands, or null where nothing has happened since.

    Unlike `windows.window` this looks back further than one window is long: an alert
    ends, and a trip goes on, days after it began, and is listed where it began. So a
    bookmark says each window of a round, and only the next round looks back.
    """
    end, stands = end_of(turn), place(turn.bookmark)
    if stands is not None and stands.until > turn.now + SLACK:
        stands = None  # a clock gone wrong
    oldest = turn.now - OLDEST
    if stands is not None and stands.page is not None:
        if stands.since >= oldest - MARGIN:
            return stands
        stands = Window(stands.since, stands.since)  # we were away for half a year
    if stands is None:
        since = turn.since or turn.now
    else:
        since = stands.until - (turn.lookback if turn.until is None else timedelta(0))
    since = max(since, EARLIEST, oldest)
    until = min(since + LONGEST, end)
    if until < since or (until == since and turn.until is not None):
        return None
    return Window(since, until)


def end_of(turn: Turn) -> datetime:
    end = turn.now if turn.until is None else min(turn.until, turn.now)
    return end.astimezone(UTC)
