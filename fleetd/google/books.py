"""Which spreadsheet, which cells of it, and what a tab that fleetd keeps says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

SHEETS = "https://sheets.googleapis.com"
CURSOR = "fleetd.cursor"  # the key of a kept tab's metadatum
CORNER = re.compile(r"!?\$?([A-Z]{0,3})\$?(\d{0,8})(?::\$?[A-Z]*\$?\d*)?")


class Spreadsheet(str):
    """The id of a spreadsheet, also cut out of its address."""

    __slots__ = ()
    word: ClassVar[str] = "address or id of a spreadsheet"

    @classmethod
    def read(cls, value: object, _base: Path) -> Spreadsheet:
        text = value if isinstance(value, str) else ""
        if found := re.search(r"/spreadsheets/d/([A-Za-z0-9_-]+)", text):
            text = found[1]
        if not re.fullmatch(r"[A-Za-z0-9_-]{20,100}", text):
            raise ValueError(
                'takes the address of a sheet: "https://docs.google.com/spreadsheets/d/..."'
            )
        return cls(text)


class Kept(Struct, frozen=True):
    """What a tab that fleetd keeps says of itself, as far as its readers need it.

    `tab` is its name in the config of the sink, `sheet` its id, `headers` are those of
    the sink's columns and `keys` those that tell its rows apart.
    """

    tab: str
    sheet: int
    mode: str
    headers: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


_kept = msgspec.json.Decoder(Kept).decode


def kept_in(notes: Sequence[Mapping[str, Any]], sheet: int) -> Kept | None:
    """What the metadata of a tab say; None for a tab that nobody keeps, or a copy of one."""
    for note in notes:
        if note.get("metadataKey") == CURSOR:
            try:
                found = _kept(note.get("metadataValue", ""))
            except msgspec.MsgspecError:
                continue
            return found if found.sheet == sheet else None
    return None


def letters(column: int) -> str:
    """The name of a column, counted from 0."""
    text, column = "", column + 1
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def column_of(name: str) -> int:
    """The way back; 0 for no name at all."""
    number = 0
    for sign in name.upper():
        number = number * 26 + ord(sign) - 64
    return max(number - 1, 0)


def corner(place: str) -> tuple[int, int]:
    """The row and the column where a range begins, from 0: of `'Fleet'!B5:C900`."""
    _, _, cells = place.rpartition("!")
    found = CORNER.fullmatch(cells)
    if found is None:
        return 0, 0
    return int(found[2] or 1) - 1, column_of(found[1])
