"""Which column holds what: by the config, or by what people usually call it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from msgspec import Struct

from fleetd.config.units import unknown
from fleetd.errors import HeldError
from fleetd.google import MARK, Kept
from fleetd.providers.sheets import words

Kind: TypeAlias = Literal["vehicle", "driver"]
LOOKED_AT = 20  # rows from the top, in search of the header
MOST = 50
LONGEST = 200
COMMON = {"state": ("status",), "groups": ("group", "tags", "tag")}
FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "vehicle": {
        "id": ("vehicle_id", "provider_vehicle_id", "vehicle"),
        "number": ("fleet_number", "vehicle_number", "unit_number", "unit", "truck"),
        "vin": ("chassis_number",),
        "plate": ("license_plate", "licence_plate", "registration"),
        "make": (),
        "model": (),
        "year": ("model_year",),
        "serial": ("serial_number",),
        "driver": ("driver_id",),
        "driver_name": (),
        **COMMON,
    },
    "driver": {
        "id": ("driver_id", "provider_driver_id", "driver"),
        "driver_name": ("name", "full_name"),
        "username": ("user_name", "login"),
        "employee_number": ("employee_id", "employee", "payroll_number"),
        "phone": ("phone_number", "mobile"),
        "email": ("e_mail", "mail"),
        "role": (),
        **COMMON,
    },
}
OTHERS = {name for one in FIELDS.values() for more in one.values() for name in more}
NAMES = tuple(dict.fromkeys(name for one in FIELDS.values() for name in one))


class Columns(dict[str, str]):
    """Headers and the fields below them; without any, by what headers are usually called."""

    word: ClassVar[str] = "list of fields, or a table of header = field"

    @classmethod
    def read(cls, value: object, _base: Path) -> Columns:
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = {one: one for one in value} if len(set(value)) == len(value) else 0
        if not isinstance(value, Mapping) or not 0 < len(value) <= MOST:
            raise ValueError('takes ["id", "number", "vin"] or { Truck = "number" }')
        for header, field in value.items():
            _judge(header, field)
        return cls({header.strip(): field for header, field in value.items()})

    def __str__(self) -> str:
        return ", ".join(self) or "by their headers"


def _judge(header: object, field: object) -> None:
    if not isinstance(header, str) or not isinstance(field, str):
        raise ValueError("a column is a header and the name of a field")  # noqa: TRY004
    if not 0 < len(header.strip()) <= LONGEST:
        raise ValueError(f"a header has 1 to {LONGEST} characters, not {header!r}")
    if plain(header) == MARK:
        raise ValueError(f"the header {MARK!r} is the one of fleetd's own column")
    if field not in NAMES and field not in OTHERS:
        raise ValueError(unknown("field", field, NAMES))


class Wanted(Struct, frozen=True):
    """What the config says of a tab's columns; `key` are headers, `left` to `right` where."""

    tab: str
    kind: Kind
    columns: Mapping[str, str] = {}
    key: tuple[str, ...] = ()
    left: int = 0
    right: int | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """The headers that have to be there."""
        return tuple(dict.fromkeys((*self.columns, *self.key)))


class Layout(Struct, frozen=True):
    """Where the header stands and what is below it, by column; `marks` are fleetd's own.

    `keys` tell rows apart, `kept` do so for the sink that keeps the tab as well.
    """

    row: int
    header: tuple[str, ...]
    fields: dict[int, str]
    keys: tuple[int, ...]
    marks: int | None = None
    kept: tuple[int, ...] = ()

    @property
    def columns(self) -> list[int]:
        """All that is to be read, from left to right."""
        mark = () if self.marks is None else (self.marks,)
        return sorted({*self.fields, *self.keys, *mark, *self.kept})

    @property
    def found(self) -> dict[str, str]:
        """The header of each field."""
        return {field: self.header[at] for at, field in self.fields.items()}


def plain(text: str) -> str:
    """`Fleet Number`, `fleet-number` and `FLEET_NUMBER` are one."""
    return re.sub(r"[\W_]+", "_", text.casefold()).strip("_")


def layout_of(
    rows: Mapping[int, Sequence[Any]], wanted: Wanted, kept: Kept | None,
    before: Mapping[str, str],
) -> Layout:  # fmt: skip
    """Find the header among the first rows, or raise `HeldError` with what is missing.

    `before` are the headers that the listing before this one found by itself: none of
    them may be gone, or what stood below it would seem to be.
    """
    tops = {
        at: tuple(_text(one) for one in rows[at]) for at in sorted(rows)[:LOOKED_AT]
    }
    best = max(tops, key=lambda at: (_fit(tops[at], wanted), -at), default=None)
    if best is None or not _fit(tops[best], wanted):
        raise HeldError(words.no_header(wanted.tab, wanted.needed))
    header = tops[best]
    places = dict(_places(header, wanted))
    fields = _fields(places, best, header, wanted)
    for field, name in before.items():
        if not wanted.columns and field not in fields.values():
            raise HeldError(words.header_gone(wanted.tab, best, name, field))
    keys = _keys(places, fields, header, wanted)
    marks, own = _marks(header, wanted, kept)
    return Layout(best, header, fields, keys, marks, own)


def _text(cell: Any) -> str:
    return cell.strip() if isinstance(cell, str) else ""


def _fit(header: Sequence[str], wanted: Wanted) -> int:
    """How many columns of such a header would be known."""
    there = {plain(text) for _, text in _within(header, wanted) if text}
    if wanted.columns:
        return sum(plain(one) in there for one in wanted.needed)
    names = {
        name for field, more in FIELDS[wanted.kind].items() for name in (field, *more)
    }
    names |= {plain(one) for one in wanted.key}
    return len(there & names)


def _within(header: Sequence[str], wanted: Wanted) -> Iterator[tuple[int, str]]:
    for at, text in enumerate(header):
        if wanted.left <= at and (wanted.right is None or at < wanted.right):
            yield at, text


def _places(header: Sequence[str], wanted: Wanted) -> Iterator[tuple[str, list[int]]]:
    """The columns of each header."""
    found: dict[str, list[int]] = {}
    for at, text in _within(header, wanted):
        if text:
            found.setdefault(plain(text), []).append(at)
    yield from found.items()


def _only(places: Mapping[str, list[int]], name: str, wanted: Wanted) -> int | None:
    """The one column of a header; two of them are one too many."""
    found = places.get(plain(name), [])
    if len(found) > 1:
        raise HeldError(words.header_twice(wanted.tab, name, found))
    return found[0] if found else None


def _fields(
    places: Mapping[str, list[int]], row: int, header: Sequence[str], wanted: Wanted
) -> dict[int, str]:
    found: dict[int, str] = {}
    for name, field in wanted.columns.items():
        at = _only(places, name, wanted)
        if at is None:
            raise HeldError(words.header_missing(wanted.tab, row, name, header))
        found[at] = field
    if not wanted.columns:
        for field, more in FIELDS[wanted.kind].items():
            name = next((one for one in (field, *more) if one in places), "")
            at = _only(places, name, wanted) if name else None
            if at is not None:
                found[at] = field
    return found


def _keys(
    places: Mapping[str, list[int]], fields: Mapping[int, str], header: Sequence[str],
    wanted: Wanted,
) -> tuple[int, ...]:  # fmt: skip
    found = []
    for name in wanted.key:
        at = _only(places, name, wanted)
        if at is None:
            raise HeldError(words.header_missing(wanted.tab, None, name, header))
        found.append(at)
    if not found:
        found = [at for at, field in fields.items() if field == "id"]
    if not found:
        raise HeldError(words.no_key(wanted.tab, header))
    return tuple(found)


def _marks(
    header: Sequence[str], wanted: Wanted, kept: Kept | None
) -> tuple[int | None, tuple[int, ...]]:
    """The columns by which a sink knows its rows again; where it keeps the tab, it must."""
    mark = header.index(MARK) if MARK in header else None
    if kept is None:
        return mark, ()
    if mark is None or any(one not in header for one in kept.keys):
        raise HeldError(words.no_marks(wanted.tab))
    return mark, tuple(header.index(one) for one in kept.keys)
