"""What makes two copies one event, and the rules every event is held to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
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


def has_fix(event: Position) -> bool:
    """Whether there is a place to speak of: not 0,0, not out of range, not missing."""
    lat, lon = event.latitude, event.longitude
    if lat is None or lon is None or (lat == 0 and lon == 0):
        return False
    return -90 <= lat <= 90 and -180 <= lon <= 180


def tidy(event: AnyEvent) -> AnyEvent:
    """The event by the house's own rules, whatever its vendor's file let through.

    Text is trimmed and never empty, a VIN is one or null, a heading is below 360. Only
    a fix may say with an empty driver that there is none.
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
    return msgspec.structs.replace(event, **changes)


def _is_tidy(event: AnyEvent) -> bool:
    """Whether nothing needs a change: `strip` gives back the very text if it is trimmed."""
    for value in _texts(event):
        if value is not None and (not value or value.strip() is not value):
            return False
    if event.vin is not None and vin_of(event.vin) != event.vin:
        return False
    if type(event) is not Position:
        return True
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

    The day in front keeps inserts in warm pages and lets whole days be dropped.
    """
    identity = f"{source}\0{event.kind}\0{event.id}\0{tag}".encode()
    return day.to_bytes(2, "big") + hashlib.blake2b(identity, digest_size=10).digest()
