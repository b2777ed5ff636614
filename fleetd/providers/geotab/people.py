"""What Geotab's records share: references, time spans, versions, whose they are."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Literal

from fleetd.errors import PayloadError
from fleetd.event import MPH_PER_KPH, stamp
from fleetd.providers.reading import (
    Wire,
    as_number,
    ident,
    moment,
    number,
    silent,
    words,
)

Who = dict[str, Any]  # the keys of `Event` that say whose it is
NOBODY = re.compile(r"(Unknown|No)([A-Z]\w*)?Id")
SPAN = re.compile(r"(-?)(?:(\d{1,8})\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?")
OPEN_YEAR = 2050  # how Geotab writes an end that is not known
HEX = re.compile(r"[0-9a-fA-F]{1,16}")
WIDEST = 2**63
SECRETS = frozenset({"sessionId", "password"})


def reference(value: object) -> str | None:
    """The id of what is referred to: in an object, or a system entity's bare name.

    `UnknownDriverId` and `NoDeviceId` are nobody.
    """
    found = ident(value.get("id") if isinstance(value, dict) else value)
    return None if found is None or NOBODY.fullmatch(found) else found


def refers(record: Wire, name: str) -> str | None:
    """What a record refers to by that name."""
    return reference(record.get(name))


def person(record: Wire, *names: str) -> Who:
    """The first of these references that is somebody, with a name where it is told."""
    for name in names or ("driver",):
        found = refers(record, name)
        if found is not None:
            told = record[name] if isinstance(record[name], dict) else {}
            return {"driver": found, "driver_name": full_name(told)}
    return {"driver": None, "driver_name": None}


def full_name(told: Wire) -> str | None:
    """First and last name, or the name one logs in by."""
    parts = (words(told, "firstName"), words(told, "lastName"))
    return " ".join(one for one in parts if one) or words(told, "name")


def vehicle_of(record: Wire) -> str:
    """The device of a record, without which it says nothing of anybody."""
    found = refers(record, "device")
    if found is None:
        raise PayloadError("device is missing")
    return found


def moment_of(record: Wire, name: str, vehicle: str | None = None) -> datetime:
    """A time without which a record is none."""
    found = moment(record, name)
    if found is None:
        raise PayloadError(f"{name} is missing or unreadable ({of(vehicle)})")
    return found


def of(vehicle: str | None, at: datetime | None = None) -> str:
    """Which record is meant, in an error."""
    whose = f"vehicle {(vehicle or 'unknown')[:40]}"
    return whose if at is None else f"{whose}, {stamp(at)}"


def required(record: Wire, name: str, vehicle: str | None = None) -> str:
    found = words(record, name)
    if found is None:
        raise PayloadError(f"{name} is missing ({of(vehicle)})")
    return found


def numeral(record: Wire, name: str, vehicle: str, at: datetime) -> float | None:
    """A number; null says nothing, anything unreadable is a fault."""
    found = as_number(record.get(name))
    if found is None and not silent(record.get(name)):
        raise PayloadError(f"{name} is no number ({of(vehicle, at)})")
    return found


def mph(kph: float | None) -> float | None:
    """A speed in miles an hour; below zero it is none."""
    return None if kph is None or kph < 0 else kph * MPH_PER_KPH


def span(value: object) -> float | None:
    """Seconds of a .NET TimeSpan: `1.02:03:04.5000000` is 26 h 3 min 4.5 s."""
    found = SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    sign, days, hours, minutes, seconds, ticks = found.groups()
    whole = timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
    ).total_seconds()
    whole += int((ticks or "").ljust(7, "0")) / 1e7
    return -whole if sign else whole


def lasting(record: Wire, name: str) -> datetime | None:
    """An end; none while it lies ahead, which Geotab writes as the year 2050."""
    found = moment(record, name)
    return None if found is None or found.year >= OPEN_YEAR else found


def standing(record: Wire) -> Literal["active", "inactive"]:
    """Whether a directory record still holds."""
    return "inactive" if lasting(record, "activeTo") else "active"


def version(record: Wire) -> int | None:
    """A record's version as a number: 16 hex digits that only ever grow."""
    said = words(record, "version")
    if said is None or not HEX.fullmatch(said):
        return None
    found = int(said, 16)
    return found if found < WIDEST else None


def spot(record: Wire, name: str) -> tuple[float | None, float | None]:
    """Latitude and longitude of a point, whose x is the longitude."""
    told = record.get(name)
    if not isinstance(told, dict):
        return None, None
    y, x = number(told, "y"), number(told, "x")
    return (None, None) if not y and not x else (y, x)
