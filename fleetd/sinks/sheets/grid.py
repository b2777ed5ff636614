"""Cells, blocks and ranges, as the API takes and gives them; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from msgspec import Struct

from fleetd.google import MARK, Mark, corner
from fleetd.sinks.sheets.columns import Moment
from fleetd.sinks.sheets.wire import Ranges

Request: TypeAlias = dict[str, Any]
Layout: TypeAlias = Mapping[str, int]  # header → the column below it
VALUE = "userEnteredValue"
DATED = {"numberFormat": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm:ss"}}
BOLD = {"textFormat": {"bold": True}}
INT31 = (1 << 31) - 1


def number_of(*words: object) -> int:
    """An id of our choice, the same each time it is asked for: so that making is repeatable."""
    digest = hashlib.blake2b(
        "\0".join(map(str, words)).encode(), digest_size=8
    ).digest()
    return int.from_bytes(digest) % (INT31 - 1) + 1


def cell_of(value: Any, *, dated: bool = False) -> dict[str, Any]:
    """A cell that is just this value: a text is a text, whatever it begins with."""
    if value is None or value == "":
        return {}
    if isinstance(value, bool):
        return {VALUE: {"boolValue": value}}
    if isinstance(value, int | float):
        cell: dict[str, Any] = {VALUE: {"numberValue": float(value)}}
        return cell | {"userEnteredFormat": DATED} if dated else cell
    return {VALUE: {"stringValue": str(value)}}


def runs(columns: Iterable[int]) -> Iterator[list[int]]:
    """Neighbours together, in their order."""
    ordered = sorted(columns)
    for _, run in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0]):
        yield [column for _, column in run]


def block(
    sheet: int, top: int, rows: Sequence[Mapping[int, Any]], *, fresh: bool
) -> Iterator[Request]:
    """Rows under each other, each with the same columns; what lies between stays as it is.

    Only `fresh` rows get the format of a time: elsewhere people may have chosen theirs.
    """
    for run in runs(rows[0]):
        dated = fresh and any(isinstance(row[at], Moment) for row in rows for at in run)
        fields = f"{VALUE},userEnteredFormat.numberFormat" if dated else VALUE
        yield {
            "updateCells": {
                "start": {"sheetId": sheet, "rowIndex": top, "columnIndex": run[0]},
                "rows": [
                    {
                        "values": [
                            cell_of(
                                row[at], dated=dated and isinstance(row[at], Moment)
                            )
                            for at in run
                        ]
                    }
                    for row in rows
                ],
                "fields": fields,
            }
        }


def blocks(
    sheet: int, rows: Mapping[int, Mapping[int, Any]], *, fresh: bool
) -> Iterator[Request]:
    """Cells by row and column; rows that lie together and have the same columns go as one."""
    for run in runs(rows):
        for _, part in groupby(run, lambda at: tuple(sorted(rows[at]))):
            tops = list(part)
            if rows[tops[0]]:
                yield from block(sheet, tops[0], [rows[at] for at in tops], fresh=fresh)


def header_cells(
    sheet: int, headers: Mapping[int, str], note: str
) -> Iterator[Request]:
    """The first row: bold, and saying what is kept below."""
    for run in runs(headers):
        cells = [
            {
                VALUE: {"stringValue": headers[at]},
                "userEnteredFormat": BOLD,
                "note": note,
            }
            for at in run
        ]
        yield {
            "updateCells": {
                "start": {"sheetId": sheet, "rowIndex": 0, "columnIndex": run[0]},
                "rows": [{"values": cells}],
                "fields": f"{VALUE},userEnteredFormat.textFormat.bold,note",
            }
        }


def hide(sheet: int, column: int) -> Request:
    place = {
        "sheetId": sheet,
        "dimension": "COLUMNS",
        "startIndex": column,
        "endIndex": column + 1,
    }
    properties = {"hiddenByUser": True}
    return {
        "updateDimensionProperties": {
            "range": place,
            "properties": properties,
            "fields": "hiddenByUser",
        }
    }


def warn(sheet: int, columns: Sequence[int], what: str) -> Iterator[Request]:
    """Ask people who edit these columns whether they mean it; nobody is locked out."""
    for run in runs(columns):
        place = {
            "sheetId": sheet,
            "startColumnIndex": run[0],
            "endColumnIndex": run[-1] + 1,
        }
        protected = {"range": place, "description": what, "warningOnly": True}
        yield {"addProtectedRange": {"protectedRange": protected}}


def grow(sheet: int, dimension: str, length: int) -> Request:
    return {
        "appendDimension": {"sheetId": sheet, "dimension": dimension, "length": length}
    }


def span(
    sheet: int,
    top: int,
    bottom: int | None = None,
    left: int = 0,
    right: int | None = None,
) -> dict[str, Any]:
    """A range to be read, half-open, counted from 0."""
    found = {"sheetId": sheet, "startRowIndex": top, "startColumnIndex": left}
    if bottom is not None:
        found["endRowIndex"] = bottom
    if right is not None:
        found["endColumnIndex"] = right
    return {"gridRange": found}


def asked(ranges: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The question for the values of ranges as they are, not as they look."""
    return {
        "dataFilters": list(ranges),
        "majorDimension": "ROWS",
        "valueRenderOption": "UNFORMATTED_VALUE",
        "dateTimeRenderOption": "SERIAL_NUMBER",
    }


def rows_in(answer: Ranges) -> dict[int, list[Any]]:
    """Rows by their number, from 0, of all ranges in an answer; blank ones may be missing."""
    found: dict[int, list[Any]] = {}
    for one in answer.value_ranges:
        top, _ = corner(one.value_range.range)
        for at, row in enumerate(one.value_range.values):
            found[top + at] = row
    return found


def at(row: Sequence[Any], column: int | None) -> Any:
    """A cell of a ragged row; an empty one is None."""
    if column is None or column >= len(row) or row[column] == "":
        return None
    return row[column]


def layout_of(header: Sequence[Any], wanted: Iterable[str]) -> dict[str, int]:
    """Where each header stands, the leftmost where it stands twice; missing ones are left out."""
    places = {
        str(text).strip(): column
        for column, text in reversed(list(enumerate(header)))
        if text != ""
    }
    return {name: places[name] for name in wanted if name in places}


class Written(Struct, frozen=True):
    """A row that we wrote: prints of our values, and what stood there before, if anything."""

    mark: Mark
    before: Mapping[str, Any] = {}

    def stands(self, text: str, row: Sequence[Any], layout: Layout) -> bool:
        """Whether it and its mark are found below the headers as they stand here."""
        mark, found = self.mark, set(self._found(row, layout))
        told = {name for name in layout if mark.knows(name) and not mark.left(name)}
        return at(row, layout[MARK]) == text and told <= found

    def columns(self, row: Sequence[Any], layout: Layout) -> list[int]:
        """Where our values are; in the other columns stand those of people."""
        return [layout[name] for name in self._found(row, layout)]

    def _found(self, row: Sequence[Any], layout: Layout) -> Iterator[str]:
        for name, column in layout.items():
            if self.mark.holds(name, at(row, column)):
                yield name
