"""Segments as trips: ignition on to ignition off, which a window of 24 h may cut.

A trip belongs to the window that holds its start, and is named by vehicle and start
(the page on segments, sheet source D7). A segment that began before the window is
included partly: the window before it has the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from fleetd.errors import PayloadError
from fleetd.event import MPH_PER_KPH, AnyEvent, Record, Trip
from fleetd.providers import reading
from fleetd.providers.reading import Wire, flag, inner, moment, number, words
from fleetd.providers.verizon.wire import (
    BOM,
    address,
    hidden,
    joined,
    moment_in,
    named,
    number_of,
    person,
    plain,
    with_head,
)

MILES_PER_KM = MPH_PER_KPH
DAY = timedelta(days=1)


class Edge(Struct, frozen=True):
    """As much of a segment as says where it lies; in other casing it says nothing."""

    start: str | None = field(name="StartDateUtc", default=None)
    end: str | None = field(name="EndDateUtc", default=None)
    complete: bool | None = field(name="IsComplete", default=None)


class Cut(Struct, frozen=True):
    """The segments of a window: those that began in it, and where to read again.

    `again` is the start of the first that is open or reaches over the end.
    """

    records: list[Record]
    newest: datetime | None
    again: datetime | None


_rows = msgspec.json.Decoder(list[Raw]).decode
_table = msgspec.json.Decoder(dict[str, Raw]).decode
_any = msgspec.json.Decoder().decode
_edge = msgspec.json.Decoder(Edge).decode


def cut(body: bytes, whose: str, asked: datetime) -> Cut:
    """A window's segments as records, each with its vehicle and driver in front."""
    records: list[Record] = []
    starts: list[datetime] = []
    unfinished: list[datetime] = []
    for head, item in _segments(body, whose):
        start, end, complete = edges(item)
        if start is not None and start <= asked:
            continue
        records.append(Record("trips", with_head(item, **head)))
        if start is not None:
            starts.append(start)
            if complete is False or end is None or end >= asked + DAY:
                unfinished.append(start)
    newest, again = max(starts, default=None), min(unfinished, default=None)
    return Cut(records, newest, again)


def _segments(body: bytes, whose: str) -> Iterator[tuple[dict[str, str | None], bytes]]:
    """Every segment with what its envelope says; one envelope, or a list of them."""
    body = body.removeprefix(BOM)
    try:
        listed = body.lstrip()[:1] == b"["
        envelopes = _rows(body) if listed else [Raw(body)]
        for envelope in envelopes:
            table = {key.lower(): one for key, one in _table(envelope).items()}
            if "segments" not in table:
                raise PayloadError("no `Segments` in it")
            head = {"_vehicle": whose, **_driver(table.get("driver"))}
            for one in _rows(table["segments"]):
                yield head, bytes(one)
    except reading.UNREADABLE as bad:
        raise PayloadError(f"no segments: {reading.short(bad)}") from bad


def _driver(told: Raw | None) -> dict[str, str | None]:
    found: Any = None if told is None else _any(told)
    who, name = person({"driver": _lower(found) if isinstance(found, dict) else found})
    return {"_driver": who, "driverName": name}


def _lower(found: dict[str, Any]) -> Wire:
    return {key.lower(): one for key, one in found.items()}


def edges(item: bytes) -> tuple[datetime | None, datetime | None, bool | None]:
    """Start, end and whether it is complete; null where it does not say."""
    try:
        edge = _edge(item)
    except msgspec.MsgspecError:
        edge = Edge()
    if edge.start is None:
        try:
            told = plain(item)
        except PayloadError:
            return None, None, None
        complete = flag(told, "iscomplete")
        return moment(told, "startdateutc"), moment(told, "enddateutc"), complete
    start, end = reading.as_moment(edge.start), reading.as_moment(edge.end)
    return start, end, edge.complete


def trip(body: bytes) -> Iterator[AnyEvent]:
    """One segment; while it is open it has no end, and comes again as a revision."""
    told = plain(body)
    whose = number_of(told)
    began = moment_in(told, whose, "startdateutc")
    open_ = flag(told, "iscomplete") is False
    ended = None if open_ else _whole(moment(told, "enddateutc"))
    kilometres = number(told, "distancekilometers")
    driver, name = person(told)
    yield Trip(
        id=named(whose, began),
        at=began,
        vehicle=whose,
        number=whose,
        driver=driver,
        driver_name=name,
        type="trip",
        started_at=began,
        ended_at=ended,
        distance_miles=None if kilometres is None else kilometres * MILES_PER_KM,
        duration_s=None if ended is None else (ended - began).total_seconds(),
        **_end_of(told, "start"),
        **({} if open_ else _end_of(told, "end")),
    )


def _whole(found: datetime | None) -> datetime | None:
    return None if found is None else found.replace(microsecond=0)


def _end_of(told: Wire, end: str) -> dict[str, Any]:
    """Where a trip began or ended; nothing of it where that is private."""
    if hidden(told, f"{end}locationisprivate", "isprivate"):
        return {}
    place = inner(told, f"{end}location")
    return {
        f"{end}_place": address(place) or joined(place) or words(place, "name"),
        f"{end}_latitude": number(place, "latitude"),
        f"{end}_longitude": number(place, "longitude"),
    }
