"""Reveal's JSON: keys in any case, lists bare or wrapped, records that stand alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw

from fleetd.errors import PayloadError
from fleetd.providers import reading
from fleetd.providers.reading import Wire, inner, moment, words

SHORT = 60
UNNUMBERED = "unnumbered/"  # what Reveal knows, and does not serve: it has no number
BOM = b"\xef\xbb\xbf"
COUNTS = ("total", "totalcount", "totalitems", "totalrecords")
WHOSE = ("_vehicle", "vehiclenumber", "vehicleno", "number")
WHEN = ("updateutc", "updatedutc", "updatetimeutc", "updatedatetimeutc", "timestamputc")
LABELS = {
    "updateutc": "UpdateUtc", "startdateutc": "StartDateUtc", "latitude": "Latitude",
    "longitude": "Longitude", "speed": "Speed", "odometerinkm": "OdometerInKM",
    "lastupdateddatetime": "LastUpdatedDateTime", "contentresource": "ContentResource",
    "value": "Value",
}  # fmt: skip
_rows = msgspec.json.Decoder(list[Raw]).decode
_said = msgspec.json.Decoder(Any).decode
_table = msgspec.json.Decoder(dict[str, Raw]).decode


def plain(body: bytes) -> Wire:
    """The one object of a body, its keys in lower case at every depth.

    `UpdateUtc` and `UpdateUTC` both occur (Reveal's own samples and clients of it).
    """
    found: Wire = lowered(reading.loads(body))
    return found


def lowered(value: Any) -> Any:
    """The same with keys in lower case; of two that meet, the first that holds something."""
    if isinstance(value, dict):
        found: Wire = {}
        for key, one in value.items():
            name = key.lower()
            if found.get(name) is None:
                found[name] = lowered(one)
        return found
    return [lowered(one) for one in value] if isinstance(value, list) else value


def rows(body: bytes) -> list[bytes]:
    """The records of an answer: a list, or a list under `items`; else `PayloadError`.

    A wrapper that says there are more than it holds is no whole listing.
    """
    body = body.removeprefix(BOM)
    try:
        if body.lstrip()[:1] == b"[":
            return [bytes(one) for one in _rows(body)]
        table = {key.lower(): one for key, one in _table(body).items()}
        if "items" not in table:
            names = ", ".join(sorted(table))[:SHORT]
            raise PayloadError(f"neither a list nor `items` in it, but: {names}")
        found = [bytes(one) for one in _rows(table["items"])]
        told = [_said(table[name]) for name in COUNTS if name in table]
    except reading.UNREADABLE as bad:
        raise PayloadError(f"not the list it should be: {reading.short(bad)}") from bad
    most = max((reading.as_number(one) or 0 for one in told), default=0)
    if most > len(found):
        raise PayloadError(f"a part of a listing: {len(found)} of {most:.0f}")
    return found


def with_head(item: bytes, **said: str | None) -> bytes:
    """A record with what only its request or its page says, put in front of it."""
    head = msgspec.json.encode({key: one for key, one in said.items() if one})[:-1]
    joint = b"," if len(head) > 1 else b""
    if item[:2] == b'{"':
        return head + joint + item[1:]
    if item[:1] == b"{":
        rest = item[1:].lstrip()
        return head + (rest if rest[:1] == b"}" else joint + rest)
    return head + joint + b'"_item":' + item + b"}"


def served(number: str) -> bool:
    """Whether a vehicle can be asked about: Reveal knows it by a number."""
    return bool(number.strip()) and not number.startswith(UNNUMBERED)


def number_of(record: Wire) -> str:
    """The vehicle's number as our id of it, or `PayloadError`."""
    unit = inner(record, "vehicle")
    found = words(record, *WHOSE) or words(unit, "vehiclenumber", "number")
    if found is None:
        raise PayloadError("VehicleNumber is missing or empty")
    return found


def moment_in(record: Wire, number: str, *names: str) -> datetime:
    """When it was, to the second: the vendor's own resolution, and UTC without a letter."""
    found = moment(record, *(names or WHEN))
    if found is None:
        name = (names or WHEN)[0]
        why = f"{LABELS.get(name, name)} is missing or unreadable (vehicle {number[:SHORT]})"
        raise PayloadError(why)
    return found.replace(microsecond=0)


def named(number: str, at: datetime) -> str:
    """The id of what a vehicle was at a second, by whatever road it comes."""
    return f"{number}@{int(at.timestamp())}"


def person(record: Wire) -> tuple[str | None, str | None]:
    """The driver's number and name, flat or in an object."""
    who = inner(record, "driver")
    parts = (
        words(record, "firstname", "driverfirstname") or words(who, "firstname"),
        words(record, "lastname", "driverlastname") or words(who, "lastname"),
    )
    number = words(record, "_driver", "drivernumber", "driver")
    return (
        number or words(who, "number", "drivernumber"),
        " ".join(one for one in parts if one)
        or words(record, "drivername")
        or words(who, "name", "drivername"),
    )


def address(record: Wire) -> str | None:
    """A place in one line: street, town, state and code; the country says little."""
    place = record.get("address")
    if isinstance(place, str):
        return words(record, "address")
    return joined(place if isinstance(place, dict) else record)


def joined(place: Mapping[str, Any]) -> str | None:
    """The lines of an address that say something, in one."""
    found = dict(place)
    end = (words(found, "administrativearea"), words(found, "postalcode"))
    return line_of(
        words(found, "addressline1"),
        words(found, "addressline2"),
        words(found, "locality"),
        " ".join(one for one in end if one),
    )


def line_of(*parts: str | None) -> str | None:
    return ", ".join(one for one in parts if one) or None


def hidden(record: Wire, *names: str) -> bool:
    """Whether a place is private: anything but a clear no counts as yes."""
    return any(
        not (reading.silent(record.get(name)) or record.get(name) in (False, 0))
        and reading.flag(record, name) is not False
        for name in names
    )


def utc(found: datetime) -> datetime | None:
    """A decoded time as aware UTC to the second; None where that takes a closer look."""
    zone = found.tzinfo
    if (zone is not None and zone is not UTC) or found.year == 1:
        return None
    return found.replace(tzinfo=UTC, microsecond=0)
