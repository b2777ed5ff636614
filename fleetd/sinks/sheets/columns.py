"""Which columns a tab has, and what of an entry stands in each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from fleetd.config.units import unknown
from fleetd.event import COLUMNS, LANES, OWN, Entry, moment_of
from fleetd.google import MARK
from fleetd.sinks.wording import local

MOST_COLUMNS = 200
LONGEST_HEADER = 200
MOST_CHARACTERS = 50_000  # that Google lets a cell hold
WIDEST = 2**53  # beyond it a number loses digits in a sheet
DAWN = datetime(1899, 12, 30)  # noqa: DTZ001  serials have no zone
DAY = timedelta(days=1)
CUT = "…"

TOLD: dict[str, Callable[[Entry], Any]] = {
    "seq": lambda one: one.seq,
    "source": lambda one: one.source,
    "provider": lambda one: one.provider,
    "kind": lambda one: one.kind,
    "id": lambda one: one.event.id,
    "revision": lambda one: one.revision,
    "at": lambda one: one.event.at,
    "timestamp": lambda one: one.event.at,
    "received_at": lambda one: one.received_at,
    "origin": lambda one: one.origin,
    "lane": lambda one: LANES[one.lane],
    "vehicle": lambda one: one.event.vehicle,
    "provider_vehicle_id": lambda one: one.event.vehicle,
    "number": lambda one: one.event.number,
    "fleet_number": lambda one: one.event.number,
    "vin": lambda one: one.event.vin,
    "driver": lambda one: one.event.driver,
    "driver_id": lambda one: one.event.driver,
    "driver_name": lambda one: one.event.driver_name,
    "flags": lambda one: one.event.flags,
}
FIELDS = (*TOLD, *sorted({name for names in OWN.values() for name in names} - {*TOLD}))
DETAIL = re.compile(r"detail\.[^.\s][^.]{0,99}")


class Moment(float):
    """A time as a sheet has it: days since 1899-12-30, without a zone."""

    __slots__ = ()


class Columns(dict[str, str]):
    """Headers and the fields below them, in their order."""

    word: ClassVar[str] = "list of fields, or a table of header = field"

    @classmethod
    def read(cls, value: object, _base: Path) -> Columns:
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = {one: one for one in value} if len(set(value)) == len(value) else 0
        if not isinstance(value, Mapping) or not 0 < len(value) <= MOST_COLUMNS:
            raise ValueError('takes ["timestamp", "speed_mph"] or { Truck = "number" }')
        for header, field in value.items():
            judge(header, field)
        return cls(value)

    def __str__(self) -> str:
        return "the 14 columns of a position" if self == POSITION else ", ".join(self)


def judge(header: object, field: object) -> None:
    """Refuse a column that could not be one."""
    if not isinstance(field, str) or not isinstance(header, str):
        raise ValueError("a column is a header and the name of a field")  # noqa: TRY004
    if header != header.strip() or not 0 < len(header) <= LONGEST_HEADER:
        raise ValueError(
            f"a header has 1 to {LONGEST_HEADER} characters, not {header!r}"
        )
    if header.lower() == MARK:
        raise ValueError(
            f"the header {MARK!r} is the one of fleetd's own hidden column"
        )
    if field not in FIELDS and not DETAIL.fullmatch(field):
        raise ValueError(unknown("field", field, FIELDS))


POSITION = Columns({name: name for name in COLUMNS})


def row_of(entry: Entry, fields: Sequence[str], zone: tzinfo) -> list[Any]:
    """What stands in these columns for an entry, as a sheet can hold it."""
    return [storable(pick(entry, field), zone) for field in fields]


def pick(entry: Entry, field: str) -> Any:
    """One field of an entry; None where its kind has no such thing."""
    if told := TOLD.get(field):
        return told(entry)
    name, dot, inner = field.partition(".")
    if dot:
        detail = getattr(entry.event, name, None)
        return detail.get(inner) if isinstance(detail, dict) else None
    return getattr(entry.event, name, None)


def storable(value: Any, zone: tzinfo) -> Any:
    """A value as a cell: None, a text, a number that keeps its digits, a time, yes or no."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, datetime):
        return serial(value, zone)
    if isinstance(value, int | float):
        if not math.isfinite(value):
            return None
        return value if abs(value) < WIDEST else cut(str(value))
    if isinstance(value, tuple | list) and all(isinstance(one, str) for one in value):
        value = ", ".join(value)
    if not isinstance(value, str):
        value = msgspec.json.encode(value).decode() if value else ""
    return cut(value) or None


def serial(moment: datetime, zone: tzinfo) -> Moment:
    """The time as the zone's clocks show it, to the millisecond."""
    plain = local(moment, zone).replace(tzinfo=None)
    return Moment(round((plain - DAWN) / timedelta(milliseconds=1)) / 86_400_000)


def moment_in(number: float, zone: tzinfo) -> datetime:
    """The way back: what time such a number means in a zone."""
    return (DAWN + timedelta(milliseconds=round(number * 86_400_000))).replace(
        tzinfo=zone
    )


def cut(text: str) -> str:
    """A text that a cell can hold, as Google counts: in UTF-16."""
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text
    if (
        len(text) * 2 <= MOST_CHARACTERS
        or len(text.encode("utf-16-le")) // 2 <= MOST_CHARACTERS
    ):
        return text
    kept = text.encode("utf-16-le")[: (MOST_CHARACTERS - 1) * 2]
    return kept.decode("utf-16-le", "ignore") + CUT


def month_of(entry: Entry, zone: tzinfo) -> str:
    """The month in which it was received, as `2026-11`."""
    return f"{moment_of(entry.received_ms).astimezone(zone):%Y-%m}"
