"""What LocoNav's records share: times of every form, whose they are, where it was."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

from fleetd.errors import PayloadError
from fleetd.providers import reading
from fleetd.providers.reading import Wire, words

NUMBERS = ("vehicle_number", "vehiclenumber", "vehicleNumber")
NEVER: tuple[object, ...] = (0, "0")
LONGEST_ID = 200
LONGEST_SAID = 40  # of a value, in the reason of a dead letter
DAY_FIRST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})[ T]+(\S.*)", re.ASCII)


def moment_in(zone: tzinfo, value: object) -> datetime | None:
    """An aware UTC time from any of LocoNav's forms, or null.

    RFC 3339 with `Z` or an offset, ISO text without one, `DD-MM-YYYY HH:MM:SS`, and
    seconds or ms since 1970. What has no offset is local to `zone`; of an hour that
    comes twice in autumn it is the first.
    """
    if not isinstance(value, str):
        return reading.as_moment(value)
    if reading.as_number(value) is not None:  # which ISO could be mistaken for
        return reading.as_moment(value)
    said = value.strip().removesuffix(" UTC")
    first = DAY_FIRST.fullmatch(said)
    if first:
        day, month, year, time = first.groups()
        said = f"{year}-{month:0>2}-{day:0>2}T{time}"
    try:
        found = reading.iso(said)
        if found.tzinfo is None:
            utc = value.rstrip().endswith(" UTC")
            found = found.replace(tzinfo=UTC if utc else zone)
        return reading.aware(found)
    except (ValueError, OverflowError):
        return None


def twice(zone: tzinfo, at: datetime) -> bool:
    """Whether clocks in `zone` show that time twice: in the hour in which summer ends."""
    try:
        local = at.astimezone(zone)
    except OverflowError:  # of a device whose clock is at the end of the calendar
        return False
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def has_offset(value: object) -> bool:
    """Whether a time says its own offset, so that the zone was not needed."""
    if not isinstance(value, str):
        return True
    said = value.strip()
    if reading.as_number(said) is not None:
        return True
    return said.endswith(("Z", "z", " UTC")) or bool(OFFSET.search(said))


OFFSET = re.compile(r":\d\d(\.\d+)?[+-]\d\d:?(\d\d)?$", re.ASCII)


def needed(zone: tzinfo, record: Wire, key: str, whose: str | None) -> datetime | None:
    """The time under a key; null where it says nothing, a fault where it is unreadable."""
    value = record.get(key)
    if reading.silent(value) or value in NEVER or str(value).startswith("0001-"):
        return None
    found = moment_in(zone, value)
    if found is None:
        raise PayloadError(
            f"{key} is no time: {short(value)!r} (vehicle {short(whose)})"
        )
    return found


def vehicle_of(record: Wire) -> tuple[str | None, str | None]:
    """The unified vehicle id and the fleet number: both are LocoNav's vehicle number.

    Pushed alerts know nothing else, the live push adds an IMEI, polls add a UUID: the
    number is the one name that every road carries, so it is the id. What comes without
    a number goes under the id that it has, and joins nothing.
    """
    unit = reading.inner(record, "vehicle")
    number = words(record, *NUMBERS) or words(unit, "number", "vehicleNumber")
    if number is not None:
        return number, number
    other = words(record, "imei", "device_imei", "vehicleId", "vehicleUuid")
    return other or words(unit, "uuid", "id"), None


def point(latitude: object, longitude: object) -> tuple[float | None, float | None]:
    """A place, or twice null: 0,0 is how LocoNav writes that it does not know."""
    lat, lon = reading.as_number(latitude), reading.as_number(longitude)
    if lat is None or lon is None or (lat == 0 and lon == 0):
        return None, None
    inside = -90 <= lat <= 90 and -180 <= lon <= 180
    return (lat, lon) if inside else (None, None)


def short(value: object) -> str:
    """A value as a reason may quote it."""
    return str(value)[:LONGEST_SAID]


def short_id(ident: str, body: bytes) -> str:
    """The same id, or a hash where somebody wrote a novel into it."""
    return ident if len(ident) <= LONGEST_ID else reading.print_of(body)
