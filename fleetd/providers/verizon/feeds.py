"""What Reveal is asked, and what its answers hold.

No limit is published: the pace is two requests a second, last places in bulk by a
hundred vehicles a minute, and everything that is asked vehicle by vehicle more rarely
(plan of the fact sheet, section 6).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from fleetd.errors import HeldError, PayloadError, TransientError
from fleetd.event import Record
from fleetd.providers import reading
from fleetd.providers.contract import Ask, Feed, Page, Past, Turn
from fleetd.providers.verizon import walk
from fleetd.providers.verizon.trips import cut
from fleetd.providers.verizon.wire import rows, served, with_head
from fleetd.providers.windows import Window

BULK = 100  # vehicles in a bulk call; the true limit is not published
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
YEAR = timedelta(days=364)
BACK = timedelta(hours=23)  # of a new source's trips: one call
VEHICLES = "/cmd/v1/vehicles"
DRIVERS = "/cmd/v1/drivers"
PLACES = "/rad/v1/vehicles/locations"
STATUSES = "/rad/v1/vehicles/statuses"
ACTIVE = "/rad/v1/vehicles/getvehiclesactivedtcs"
WHOLE = frozenset({VEHICLES, DRIVERS, PLACES, STATUSES, ACTIVE})


def of_vehicle(number: str, rest: str) -> str:
    """A path of one vehicle: its number is free text, and all of it is encoded."""
    plain = quote(number, safe="").replace("-", "%2D").replace(".", "%2E")
    return f"/rad/v1/vehicles/{plain}/{rest}"


def stamp(at: datetime) -> str:
    """`2026-11-20T14:03:22`: UTC, without the letter."""
    return at.isoformat()[:19]


def ask_listing(path: str, _turn: Turn) -> Ask:
    return Ask(path)


def unpack_listing(feed: str, _ask: Ask, body: bytes, _turn: Turn) -> Page:
    """A listing that comes whole, in one answer."""
    records = [Record(feed, one) for one in rows(body)]
    return Page(records, complete=True)


def unpack_rows(feed: str, _ask: Ask, body: bytes, _turn: Turn) -> Page:
    return Page([Record(feed, one) for one in rows(body)])


# the bulk calls


def ask_bulk(path: str, turn: Turn) -> Ask | None:
    """The next hundred vehicles behind the bookmark, which is the last number asked."""
    numbers = sorted(one for one in turn.vehicles if served(one))
    after = turn.bookmark
    rest = [one for one in numbers if after is None or one > after] or numbers
    return Ask(path, method="POST", json=rest[:BULK]) if rest else None


def unpack_bulk(feed: str, ask: Ask, body: bytes, turn: Turn) -> Page:
    """Each vehicle's own answer; if none is one, the whole of it is none."""
    items = rows(body)
    _answers(ask, items)
    last = max(ask.json)
    more = any(one > last for one in turn.vehicles if served(one))
    records = [Record(feed, one) for one in items]
    return Page(records, last if more else None, more=more)


class Code(Struct, frozen=True):
    status: int | None = field(name="StatusCode", default=None)


_code = msgspec.json.Decoder(Code).decode


def _answers(ask: Ask, items: list[bytes]) -> None:
    """Raise where Reveal answers 200 and every single vehicle with a fault of its own."""
    if not items:
        why = f"no answer for any of {len(ask.json)} vehicles"
        raise PayloadError(why)
    try:
        codes = {_code(one).status or 0 for one in items}
    except msgspec.MsgspecError:
        return
    if codes <= {401, 403}:
        why = f"Reveal refuses every vehicle of {ask.path} ({max(codes)})"
        raise HeldError(why, status=max(codes))
    if min(codes) >= 500 or codes == {429}:
        raise TransientError(f"{ask.path}: every vehicle answered {max(codes)}")


# by vehicle


def ask_track(turn: Turn) -> Ask | None:
    """A stretch of a vehicle's track, a day at most."""
    asked = _stretch(turn, YEAR, HOUR)
    if asked is None:
        return None
    since, until = stamp(asked.since), stamp(asked.until)
    params = {"startdatetimeutc": since, "enddatetimeutc": until}
    path, absent = of_vehicle(turn.part, "status/history"), walk.refused(asked, turn)
    return Ask(path, params=params, absent=absent)


class When(Struct, frozen=True):
    """As much of a point as says when it was, in the two casings that occur."""

    one: str | None = field(name="UpdateUTC", default=None)
    other: str | None = field(name="UpdateUtc", default=None)


_when = msgspec.json.Decoder(When).decode


def unpack_track(ask: Ask, body: bytes, turn: Turn) -> Page:
    items = rows(body)
    asked = _window_of(ask, "startdatetimeutc", "enddatetimeutc")
    bookmark, more = walk.step(asked, newest(items), turn)
    records = [Record("track", with_head(one, _vehicle=turn.part)) for one in items]
    return Page(records, bookmark, more=more)


def newest(items: list[bytes]) -> datetime | None:
    """The latest time that any of them says; they are of one form."""
    try:
        found = [_when(one) for one in items]
    except msgspec.MsgspecError:
        return None
    said = max((one.one or one.other or "" for one in found), default="")
    return reading.as_moment(said)


def ask_trips(turn: Turn) -> Ask | None:
    """The 24 hours from a second before the window: a trip that starts with it is in."""
    asked = _stretch(turn, YEAR, BACK)
    if asked is None:
        return None
    start = stamp(asked.since - walk.SECOND)
    path, absent = of_vehicle(turn.part, "segments"), walk.refused(asked, turn)
    return Ask(path, params={"startdateutc": start}, absent=absent)


def unpack_trips(ask: Ask, body: bytes, turn: Turn) -> Page:
    start = _moment(ask, "startdateutc")
    found = cut(body, turn.part, start)
    end = start + DAY
    limit = walk.floor(turn.now if turn.until is None else min(turn.until, turn.now))
    asked = Window(start + walk.SECOND, min(end, limit))
    again = found.again
    if turn.until is not None and end > turn.now:
        again = (
            None  # it is open because it goes on right now: the live feed sees to it
        )
    elif again is not None and turn.until is None:
        again = max(again, turn.now - 2 * DAY)  # what never ends is not waited for
    bookmark, more = walk.step(asked, found.newest, turn, again)
    return Page(found.records, bookmark, more=more)


def ask_vehicle(rest: str, turn: Turn) -> Ask | None:
    return Ask(of_vehicle(turn.part, rest)) if served(turn.part) else None


def unpack_ecm(_ask: Ask, body: bytes, turn: Turn) -> Page:
    """One object; a vehicle without such a computer may say null."""
    body = body.strip()
    if body in (b"", b"null", b"{}"):
        return Page([])
    if body[:1] != b"{":
        raise PayloadError("not the ECM status it should be")
    reading.loads(body)
    return Page([Record("ecm", with_head(body, _vehicle=turn.part))])


def unpack_codes(_ask: Ask, body: bytes, turn: Turn) -> Page:
    """Each code of a vehicle is a record."""
    try:
        table = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        found = {key.lower(): one for key, one in table.items()}
        codes = msgspec.json.decode(found["dtcs"], type=list[msgspec.Raw] | None)
    except (*reading.UNREADABLE, KeyError) as bad:
        raise PayloadError(f"no `DTCs` in it: {reading.short(bad)}") from bad
    items = [with_head(bytes(one), _vehicle=turn.part) for one in codes or ()]
    return Page([Record("fault_history", one) for one in items])


def _stretch(turn: Turn, within: timedelta, begins: timedelta) -> Window | None:
    if not served(turn.part):
        return None
    return walk.span(turn, within=within, begins=begins)


def _window_of(ask: Ask, since: str, until: str) -> Window:
    return Window(_moment(ask, since), _moment(ask, until))


def _moment(ask: Ask, name: str) -> datetime:
    found = reading.as_moment(ask.params[name])
    assert found is not None
    return found


# declared

TRACK = Past(
    ask_track, unpack_track, within=YEAR, parts=True,
    call="GET /rad/v1/vehicles/{number}/status/history",
)  # fmt: skip
SEGMENTS = Past(
    ask_trips, unpack_trips, within=YEAR, parts=True,
    call="GET /rad/v1/vehicles/{number}/segments",
)  # fmt: skip


def _app(api: str) -> str:
    """What to ask for where a call is forbidden."""
    return f"access of the app to {api}, given in the developer portal"


def _listing(name: str, path: str, kind: str, every: float, api: str) -> Feed:
    return Feed(
        name, every, partial(ask_listing, path), partial(unpack_listing, name),
        kinds=(kind,), listing=kind, begins=None, scope=_app(api),
    )  # fmt: skip


def _bulk(
    name: str, path: str, kind: str, every: float, past: Past | None = None, *,
    standard: bool = True,
) -> Feed:  # fmt: skip
    return Feed(
        name, every, partial(ask_bulk, path), partial(unpack_bulk, name),
        kinds=(kind,), past=past, snapshot=True, standard=standard,
        scope=_app("the Vehicle Update API"),
    )  # fmt: skip


def _each(
    name: str, rest: str, every: float, unpack: Callable[[Ask, bytes, Turn], Page],
    *kinds: str, standard: bool = True, snapshot: bool = False,
) -> Feed:  # fmt: skip
    return Feed(
        name, every, partial(ask_vehicle, rest), unpack, kinds=kinds, parts=True,
        parallel=2, standard=standard, snapshot=snapshot, scope=_app(ENGINES),
    )  # fmt: skip


ENGINES = "ECM status and trouble codes"
FEEDS = (
    _listing("vehicles", VEHICLES, "vehicle", 1800.0, "the Vehicle API"),
    _listing("drivers", DRIVERS, "driver", 3600.0, "the Driver API"),
    _bulk("positions", PLACES, "position", 60.0, TRACK),
    _bulk("statuses", STATUSES, "engine", 300.0, standard=False),
    Feed(
        "track", 900.0, ask_track, unpack_track, kinds=("position",), parts=True,
        parallel=2, lookback=3 * HOUR, begins=HOUR, past=TRACK,
        scope=_app("the GPS History API"),
    ),
    Feed(
        "trips", 3600.0, ask_trips, unpack_trips, kinds=("trip",), parts=True,
        parallel=2, lookback=3 * HOUR, begins=BACK, past=SEGMENTS,
        scope=_app("the Vehicle Segments API"),
    ),
    Feed(
        "faults", 600.0, partial(ask_listing, ACTIVE), partial(unpack_rows, "faults"),
        kinds=("fault",), snapshot=True, scope=_app(ENGINES),
    ),
    _each(
        "fault_history", "getdtchistorybyvehiclenumber", 21600.0, unpack_codes, "fault"
    ),
    _each(
        "ecm", "getecmstatusbyvehiclenumber", 3600.0, unpack_ecm,
        "engine", "fuel", "fault", standard=False, snapshot=True,
    ),
)  # fmt: skip
