"""What makes two copies one event, and the rules every event is held to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from fleetd.event.kinds import AnyEvent, Duty, Event, Position, Safety, pack
from fleetd.event.words import DAY_MS, text, vin_of

NORMAL, SAFETY = 0, 1
NOBODY = ""  # a fix that says that nobody drives, rather than nothing of who does
URGENT = frozenset({"sos", "panic", "crash", "rollover"})
GONE = "-"
TEXTS = ("vehicle", "number", "vin", "driver", "driver_name")
_texts = attrgetter(*TEXTS)
LONGEST_ID = 400
FASTEST, FARTHEST = 400.0, 1e7  # of speeds and odometers, also where those are metric
MOST: Mapping[str, float] = {  # and none is below zero
    "speed_mph": FASTEST, "limit_mph": FASTEST, "odometer": FARTHEST, "hours": 1e6,
    "duration_s": 1e9, "distance_miles": 1e5, "radius_metres": 2.1e7,
}  # fmt: skip
PLACES = tuple(
    (f"{of}latitude", f"{of}longitude") for of in ("", "start_", "end_")
)  # fmt: skip
IMPLAUSIBLE = "implausible"


def has_fix(event: Position) -> bool:
    """Whether there is a place to speak of: not 0,0, not out of range, not missing."""
    return on_earth(event.latitude, event.longitude)


def on_earth(lat: float | None, lon: float | None) -> bool:
    """Whether two numbers are a place; 0,0 is how many write that they know none."""
    if lat is None or lon is None or (lat == 0 and lon == 0):
        return False
    return -90 <= lat <= 90 and -180 <= lon <= 180


def tidy(event: AnyEvent) -> AnyEvent:
    """The event by the house's own rules, whatever its vendor's file let through.

    Text is trimmed and never empty, a VIN is one or null, a heading is below 360. Only
    a fix may say with an empty driver that there is none. A number that no vehicle can
    have is null and flagged; a place that is none is null (a fix without one is kept
    apart as a whole). An id as long as a novel is its hash.
    """
    if _is_tidy(event):
        return event
    changes: dict[str, Any] = {name: text(getattr(event, name)) for name in TEXTS}
    changes["vin"] = vin_of(changes["vin"])
    if isinstance(event, Position):
        heading = event.heading_degrees
        changes["heading_degrees"] = None if heading is None else heading % 360
        changes["location_description"] = text(event.location_description)
        if event.driver == NOBODY:
            changes["driver"] = NOBODY
    if len(event.id) > LONGEST_ID:
        changes["id"] = hashlib.blake2b(event.id.encode(), digest_size=16).hexdigest()
    return msgspec.structs.replace(event, **changes, **_sober(event))


def _sober(event: AnyEvent) -> dict[str, Any]:
    """What changes where a number or a place cannot be one."""
    changes: dict[str, Any] = dict.fromkeys(_wild(event))
    odd = bool(changes)
    for lat, lon in _places(type(event)):
        where = getattr(event, lat), getattr(event, lon)
        if where != (None, None) and not on_earth(*where):
            odd = odd or (None not in where and where != (0, 0))
            changes |= {lat: None, lon: None}
    if odd and IMPLAUSIBLE not in event.flags:
        changes["flags"] = (*event.flags, IMPLAUSIBLE)
    return changes


def _wild(event: AnyEvent) -> list[str]:
    """The numbers that are below zero, without end, or beyond what can be."""
    found = []
    for name, most in _bounds(type(event)):
        value = getattr(event, name)
        if value is not None and not 0 <= value <= most:
            found.append(name)
    return found


@cache
def _bounds(kind: type[Event]) -> tuple[tuple[str, float], ...]:
    return tuple((n, MOST[n]) for n in kind.__struct_fields__ if n in MOST)


@cache
def _places(kind: type[Event]) -> tuple[tuple[str, str], ...]:
    if kind is Position:  # whole or kept apart: `has_fix`
        return ()
    return tuple(two for two in PLACES if two[0] in kind.__struct_fields__)


def _is_tidy(event: AnyEvent) -> bool:
    """Whether nothing needs a change: `strip` gives back the very text if it is trimmed."""
    for value in _texts(event):
        if value is not None and (not value or value.strip() is not value):
            return False
    vin, novel = event.vin, len(event.id) > LONGEST_ID
    if novel or (vin is not None and vin_of(vin) != vin):
        return False
    if type(event) is not Position:
        return not _sober(event)
    speed, odometer = event.speed_mph, event.odometer
    fast = speed is not None and not 0 <= speed <= FASTEST
    if fast or (odometer is not None and not 0 <= odometer <= FARTHEST):
        return False
    heading, place = event.heading_degrees, event.location_description
    if heading is not None and not 0 <= heading < 360:
        return False
    return place is None or (place != "" and place.strip() is place)


def content_of(event: Event) -> str:
    """A hash of what a directory record says, whenever it said so; `-` before a removal."""
    bare = msgspec.structs.replace(event, at=None, revision=None, flags=())
    mark = GONE if getattr(event, "removed", False) else ""
    return mark + hashlib.blake2b(pack(bare), digest_size=10).hexdigest()


def lane_of(event: Event) -> int:
    """Safety for what somebody must hear now, else normal."""
    if type(event) is Position:
        return NORMAL
    if isinstance(event, Safety):
        urgent = event.type in URGENT or event.severity == "severe"
        return SAFETY if urgent else NORMAL
    if isinstance(event, Duty) and event.type == "violation":
        return SAFETY
    return NORMAL


def filled(event: Event) -> int:
    """Which columns say something, as bits in the order of the struct."""
    mask, bit = 0, 1
    for value in msgspec.structs.astuple(event):
        if value is not None:
            mask |= bit
        bit <<= 1
    return mask


def bits_of(kind: type[Event], columns: Mapping[str, object]) -> int:
    """The same for columns that were filled afterwards."""
    bits = _bits(kind)
    return sum(bits[name] for name, one in columns.items() if one is not None)


@cache
def _bits(kind: type[Event]) -> dict[str, int]:
    fields = msgspec.structs.fields(kind)
    return {one.name: 1 << place for place, one in enumerate(fields)}


def merged(first: AnyEvent, later: AnyEvent) -> AnyEvent:
    """The first copy with its nulls filled from a later one."""
    fields = msgspec.structs.fields(first)
    missing = {
        one.name: getattr(later, one.name)
        for one in fields
        if getattr(first, one.name) is None and getattr(later, one.name) is not None
    }
    return msgspec.structs.replace(first, **missing)


def tag_of(event: Event) -> str:
    """What tells one copy of an id from another: updated-at, a hash of what it says, or 0."""
    if event.revision is not None:
        return str(event.revision)
    if not event.changes:
        return "0"
    return hashlib.blake2b(pack(event), digest_size=10).hexdigest()


def tag_of_record(
    event: Event, content: str, replaces: int, *, back: bool = False
) -> str:
    """The same for a directory record; `replaces` is the seq of the one that stands.

    A change, its return and the change again are three, while the same listing twice
    before the first is on the disk is one. One that comes `back` after we took it for
    removed is new, though its vendor never changed it.
    """
    if event.revision is not None and not back:
        return str(event.revision)
    return f"{replaces}>{content}"


def day_of(ms: int) -> int:
    """The UTC day since 1970 as a dedupe key bears it, in two bytes."""
    day = ms // DAY_MS
    return day if 0 <= day <= 0xFFFF else 0 if day < 0 else 0xFFFF


def dedupe_key(source: str, event: Event, tag: str, day: int) -> bytes:
    """Twelve bytes: the UTC day since 1970, then 10 of BLAKE2b over the identity.

    The day in front keeps inserts in warm pages and lets whole days be dropped. Of an id
    made of `vehicle@time` the first two bytes are the vehicle's: a page of one vehicle's
    history then touches a handful of the index's leaves and not one a record.
    """
    identity = f"{source}\0{event.kind}\0{event.id}\0{tag}".encode()
    whose = event.id.rpartition("@")[0]
    near = _near(source, whose) if whose else b""
    rest = hashlib.blake2b(identity, digest_size=10 - len(near)).digest()
    return day.to_bytes(2, "big") + near + rest


@lru_cache(maxsize=16384)  # as many as there are vehicles
def _near(source: str, whose: str) -> bytes:
    return hashlib.blake2b(f"{source}\0{whose}".encode(), digest_size=2).digest()
