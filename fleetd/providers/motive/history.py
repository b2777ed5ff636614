"""Every point of each vehicle: the only gap-free way Motive has, asked day by day.

`/v3/vehicle_locations/{id}` takes whole UTC days, both ends inclusive, three months at
most, and answers unpaged, without the vehicle's id
(https://developer-docs.gomotive.com/reference/fetch-a-vehicles-location-using-its-id-v3).
There is no cursor and no list of what changed. So each round reads from the vehicle's
newest point (less the look-back) to today again, and points join by their own id: a
vehicle that comes back with days of late points is taken in whole. One that reports
live first and its backlog later leaves a hole behind its newest point: that is read
again for a day. The answers say no units; the directory knows them, and no
`X-Metric-Units` is sent, so that one flag holds for what is polled and what is pushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from fleetd.errors import PayloadError
from fleetd.event import Record
from fleetd.providers.contract import Ask, Page, Turn
from fleetd.providers.motive.feeds import DAY, day
from fleetd.providers.motive.paging import complaint
from fleetd.providers.reading import UNREADABLE, loads, moment, short
from fleetd.providers.windows import EARLIEST, SLACK

PATH = "/v3/vehicle_locations/"
LONGEST = timedelta(days=3)  # wide windows take Motive up to 18 s
OLDEST = timedelta(days=89)  # three months
HOUR = timedelta(hours=1)
SILENT = timedelta(days=30)
BACKLOG = timedelta(days=1)  # how long a hole is read again
SHORTEST = 16  # bytes of an object that may be empty, spaces and all
FAR = datetime.max.replace(tzinfo=UTC)


class Place(Struct, frozen=True, array_like=True):
    """Where one vehicle's history stands; its text is the bookmark.

    `floor` is where its source began, `newest` its newest point, `after` the last day
    read in a round that is not over, `hole` where a hole begins that was seen at `seen`,
    `asked` when it was asked for last.
    """

    floor: datetime
    newest: datetime
    after: datetime | None = None
    hole: datetime | None = None
    seen: datetime | None = None
    asked: datetime | None = None


class Wrapped(Struct, frozen=True, gc=False):
    """A point in its wrapper."""

    vehicle_location: Raw


class Points(Struct, frozen=True):
    """A whole answer."""

    vehicle_locations: list[Wrapped]


class Loose(Struct, frozen=True):
    """The same where one of them is of another shape."""

    vehicle_locations: list[Raw]


class Dated(Struct, frozen=True, gc=False):
    """As much of a point as says when it was."""

    located_at: datetime


_place = msgspec.json.Decoder(Place).decode
_points = msgspec.json.Decoder(Points).decode
_loose = msgspec.json.Decoder(Loose).decode
_wrapped = msgspec.json.Decoder(Wrapped).decode
_dated = msgspec.json.Decoder(Dated).decode


def ask(turn: Turn) -> Ask | None:
    """The next days of one vehicle, up to today."""
    place = place_of(turn)
    since, until = days(place, turn)
    if since > until or asleep(place, turn):
        return None
    span = {"start_date": day(since), "end_date": day(until)}
    return Ask(PATH + quote(turn.part, safe=""), params=span, tier="history")


def unpack(_ask: Ask, body: bytes, turn: Turn) -> Page:
    """The points of those days, each with its vehicle's id."""
    place = place_of(turn)
    _since, until = days(place, turn)
    points = points_of(body)
    times = [dated(one) for one in points]
    named = told_as(turn.part)
    records = [
        Record("positions", with_vehicle(one, named))
        for one, at in zip(points, times, strict=True)
        if at is None or meant(at, place, turn)
    ]
    onward = moved(place, [at for at in times if at is not None], turn)
    more = until < last_day(turn)
    onward = replace(onward, after=until if more else None, asked=turn.now)
    return Page(records, msgspec.json.encode(onward).decode(), more)


def asleep(place: Place, turn: Turn) -> bool:
    """Whether a vehicle that said nothing for a month was asked for within the hour.

    Companies keep what they sold in their lists, often more than they drive.
    """
    if place.asked is None or place.after is not None or turn.until is not None:
        return False
    silent = turn.now - place.newest > SILENT
    return silent and timedelta(0) <= turn.now - place.asked < HOUR


def place_of(turn: Turn) -> Place:
    """Where the vehicle stands; a newcomer begins where its source does."""
    if turn.bookmark is not None:
        try:
            return _place(turn.bookmark)
        except msgspec.MsgspecError:
            pass
    began = max(turn.since or turn.now, turn.now - OLDEST)
    return Place(began, began)


def days(place: Place, turn: Turn) -> tuple[datetime, datetime]:
    """The first and the last day to ask for; a past window goes from end to end."""
    last = last_day(turn)
    if place.after is not None:
        since = place.after + DAY
    elif turn.until is not None:
        since = place.floor
    else:
        since = min(place.newest, turn.now) - turn.lookback
        if place.hole is not None and place.seen is not None:
            fresh = turn.now - place.seen < BACKLOG
            since = min(since, place.hole) if fresh else since
        since = max(since, place.floor)
    since = midnight(max(since, turn.now - OLDEST))
    return since, min(last, since + LONGEST - DAY)


def last_day(turn: Turn) -> datetime:
    """Today, or the last day of a past window."""
    if turn.until is None:
        return midnight(turn.now)
    return midnight(min(turn.until - timedelta(microseconds=1), turn.now))


def midnight(at: datetime) -> datetime:
    """The UTC day of a moment."""
    at = at.astimezone(UTC)
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def points_of(body: bytes) -> Sequence[bytes]:
    """The points of an answer as they came; one of another shape stays as it is."""
    try:
        return [bytes(one.vehicle_location) for one in _points(body).vehicle_locations]
    except msgspec.ValidationError:
        return _one_by_one(body)
    except UNREADABLE as bad:
        raise PayloadError(f"not JSON: {short(bad)}") from bad


def _one_by_one(body: bytes) -> Sequence[bytes]:
    try:
        found = _loose(body).vehicle_locations
    except UNREADABLE as bad:
        raise PayloadError(f"no list of vehicle_locations{complaint(body)}") from bad
    points = []
    for one in found:
        try:
            points.append(bytes(_wrapped(one).vehicle_location))
        except UNREADABLE:
            points.append(bytes(one))
    return points


def dated(point: bytes) -> datetime | None:
    """When a point was, if it can be read: its normalizer says what is wrong with it."""
    try:
        at = _dated(point).located_at
        if at.tzinfo is UTC:
            return at
    except UNREADABLE:
        pass
    try:
        return moment(loads(point), "located_at")
    except PayloadError:
        return None


def meant(at: datetime, place: Place, turn: Turn) -> bool:
    """Whether a point lies where its source, or a past window, begins and ends.

    A clock that was never set says nothing of that.
    """
    return at < EARLIEST or place.floor <= at < (turn.until or FAR)


def told_as(vehicle: str) -> bytes:
    """The end of a point that says its vehicle, as a number where it is one."""
    plain = len(vehicle) < 19 and vehicle.isascii() and vehicle.isdecimal()
    plain = plain and str(int(vehicle)) == vehicle
    said = vehicle.encode() if plain else msgspec.json.encode(vehicle)
    return b',"vehicle_id":%b}' % said


def with_vehicle(point: bytes, named: bytes) -> bytes:
    """A point that stands alone: its vehicle is named in the request only."""
    if point[-1:] != b"}":
        return point  # no object: its normalizer says so
    if len(point) < SHORTEST and not point[1:-1].strip():
        return b"{" + named[1:]
    return point[:-1] + named


def moved(place: Place, times: Sequence[datetime], turn: Turn) -> Place:
    """The place after these points; one from the future moves nothing.

    A hole of half the look-back behind the point that was the newest may be filled too
    late for the look-back, and is remembered.
    """
    later = sorted(at for at in times if place.newest < at <= turn.now + SLACK)
    if not later:
        return place
    hole, seen = place.hole, place.seen
    known = place.newest > place.floor
    if known and later[0] - place.newest > max(turn.lookback / 2, HOUR):
        alive = hole is not None and seen is not None and turn.now - seen < BACKLOG
        hole = min(hole, place.newest) if alive and hole else place.newest
        seen = turn.now
    return replace(place, newest=later[-1], hole=hole, seen=seen)
