"""A spreadsheet as Google keeps it: grids, developer metadata, and `batchUpdate`, all or nothing."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

MOST_CELLS = 10_000_000
MOST_CHARACTERS = 50_000
VALUES = ("numberValue", "stringValue", "boolValue", "formulaValue")
CELL_FIELDS = {"userEnteredValue", "userEnteredFormat", "note", "dataValidation"}
Cell = dict[str, Any]


class RefusedError(Exception):
    """A request that Google would not take: 400 unless it says otherwise."""

    def __init__(
        self, why: str, code: int = 400, status: str = "INVALID_ARGUMENT"
    ) -> None:
        super().__init__(why)
        self.code, self.status = code, status


class Tab:
    """One sheet: as many rows as its grid has, each with the cells that hold something."""

    def __init__(self, sheet_id: int, title: str, rows: int, columns: int) -> None:
        self.id, self.title, self.columns = sheet_id, title, columns
        self.rows: list[dict[int, Cell]] = [{} for _ in range(rows)]
        self.frozen, self.hidden_columns = 0, set[int]()
        self.protected: dict[int, dict[str, Any]] = {}
        self.merges: list[tuple[int, int, int, int]] = []  # top, left, bottom, right

    @property
    def cells(self) -> int:
        return len(self.rows) * self.columns

    def copied(self) -> Tab:
        """A copy to work on; the rows themselves are copied when they are written to."""
        other = copy.copy(self)
        other.rows = list(self.rows)
        other.hidden_columns = set(self.hidden_columns)
        other.protected = dict(self.protected)
        other.merges = list(self.merges)
        return other

    def put(self, row: int, column: int, cell: Cell) -> None:
        """Replace a cell; an empty one is no cell."""
        new = dict(self.rows[row])
        if cell:
            new[column] = cell
        else:
            new.pop(column, None)
        self.rows[row] = new

    def value(self, row: int, column: int) -> Any:
        """What stands there, unformatted; None for nothing."""
        return value_of(self.rows[row].get(column, {}))

    def table(self) -> list[list[Any]]:
        """Every row up to the last that holds anything, ragged like the API's."""
        return trimmed(
            [
                [self.value(r, c) for c in range(self.columns)]
                for r in range(len(self.rows))
            ]
        )

    def last_used(self) -> int:
        used = [
            n
            for n, row in enumerate(self.rows)
            if any(value_of(c) is not None for c in row.values())
        ]
        return used[-1] if used else -1

    # what people do

    def type(self, row: int, column: int, value: Any) -> None:
        """A person types into a cell, and into the grid's edge if it must grow."""
        while len(self.rows) <= row:
            self.rows.append({})
        self.columns = max(self.columns, column + 1)
        cell = {**self.rows[row].get(column, {})}
        cell.pop("userEnteredValue", None)
        if value not in (None, ""):
            cell["userEnteredValue"] = entered(value)
        self.put(row, column, cell)

    def calculate(self, row: int, column: int, formula: str, shows: Any) -> None:
        """A person types a formula that comes to this; an error is its text: `#REF!`."""
        self.type(row, column, None)
        cell = {"userEnteredValue": {"formulaValue": formula}, "shows": shows}
        self.put(row, column, cell)

    def merge(self, top: int, left: int, bottom: int, right: int) -> None:
        """A person merges cells: the first one's value stays."""
        for row in range(top, bottom):
            for column in range(left, right):
                if (row, column) != (top, left):
                    self.type(row, column, None)
        self.merges.append((top, left, bottom, right))

    def sort(self, column: int, *, reverse: bool = False, first: int = 1) -> None:
        """A person sorts everything below the header by a column; blank rows go last."""

        def order(row: dict[int, Cell]) -> tuple[Any, ...]:
            value = value_of(row.get(column, {}))
            return (
                isinstance(value, str),
                value if isinstance(value, str) else float(value or 0),
            )

        full = [row for row in self.rows[first:] if row]
        full.sort(key=order, reverse=reverse)
        blank = len(self.rows) - first - len(full)
        self.rows[first:] = full + [{} for _ in range(blank)]


class Metadatum:
    def __init__(
        self,
        ident: int,
        key: str,
        value: str,
        visibility: str,
        location: dict[str, Any],
    ) -> None:
        self.id, self.key, self.value = ident, key, value
        self.visibility, self.location = visibility, location

    def told(self) -> dict[str, Any]:
        location = dict(self.location)
        if "sheetId" in location:
            location["locationType"] = "SHEET"
        elif "dimensionRange" in location:
            place = location["dimensionRange"]
            location["locationType"] = (
                "ROW" if place["dimension"] == "ROWS" else "COLUMN"
            )
        else:
            location["locationType"] = "SPREADSHEET"
        return {
            "metadataId": self.id,
            "metadataKey": self.key,
            "metadataValue": self.value,
            "visibility": self.visibility,
            "location": location,
        }


class Book:
    """One spreadsheet."""

    def __init__(self, ident: str, title: str = "Fleet") -> None:
        self.id, self.title, self.zone, self.locale = (
            ident,
            title,
            "America/Chicago",
            "en_US",
        )
        self.tabs: list[Tab] = [Tab(0, "Sheet1", 1000, 26)]
        self.metadata: dict[int, Metadatum] = {}
        self._next = 5000

    def tab(self, title: str) -> Tab:
        found = next((one for one in self.tabs if one.title == title), None)
        assert found is not None, (
            f"no tab {title!r}: {[one.title for one in self.tabs]}"
        )
        return found

    def titles(self) -> list[str]:
        return [one.title for one in self.tabs]

    def fresh(self) -> int:
        self._next += 1
        return self._next

    def by_id(self, sheet_id: Any) -> Tab:
        for one in self.tabs:
            if one.id == sheet_id:
                return one
        raise RefusedError(f"No grid with id: {sheet_id}")

    def batch_update(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Every request or none: the state is put back where one is refused."""
        if not requests:
            raise RefusedError("Must specify at least one request.")
        before = [one.copied() for one in self.tabs], copy.deepcopy(self.metadata)
        order = list(self.tabs)
        try:
            replies = []
            for number, one in enumerate(requests):
                replies.append(self._one(number, one))
            self._bounded()
        except RefusedError:
            for tab, old in zip(order, before[0], strict=True):
                tab.__dict__ = old.__dict__
            self.tabs, self.metadata = order, before[1]
            raise
        return replies

    def _bounded(self) -> None:
        if sum(one.cells for one in self.tabs) > MOST_CELLS:
            raise RefusedError(
                "Invalid requests: This action would increase the number of cells in the "
                f"workbook above the limit of {MOST_CELLS} cells."
            )

    def _one(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        if len(request) != 1:
            raise RefusedError(
                f"Invalid requests[{number}]: must have exactly one kind"
            )
        ((name, body),) = request.items()
        act: Callable[[dict[str, Any]], Any] | None = getattr(
            self, f"_{snake(name)}", None
        )
        if act is None:
            raise RefusedError(
                f"Invalid JSON payload received. Unknown name \"{name}\" at 'requests[{number}]': Cannot find field."
            )
        try:
            return act(body) or {}
        except RefusedError as bad:
            raise RefusedError(
                f"Invalid requests[{number}].{name}: {bad}", bad.code, bad.status
            ) from bad
        except (KeyError, TypeError) as bad:
            raise RefusedError(
                f"Invalid requests[{number}].{name}: missing {bad}"
            ) from bad

    # sheets

    def _add_sheet(self, body: dict[str, Any]) -> dict[str, Any]:
        given = body.get("properties", {})
        ident = given.get("sheetId", self.fresh())
        title = given.get("title", f"Sheet{len(self.tabs) + 1}")
        if any(one.id == ident for one in self.tabs):
            raise RefusedError(
                f"A sheet with the ID {ident} already exists. Please use another ID."
            )
        if any(one.title.lower() == title.lower() for one in self.tabs):
            raise RefusedError(
                f'A sheet with the name "{title}" already exists. Please enter another name.'
            )
        if not 0 <= ident < 2**31:
            raise RefusedError("sheetId must be a non-negative int32")
        grid = given.get("gridProperties", {})
        tab = Tab(ident, title, grid.get("rowCount", 1000), grid.get("columnCount", 26))
        tab.frozen = grid.get("frozenRowCount", 0)
        self.tabs.append(tab)
        return {"addSheet": {"properties": properties(tab, len(self.tabs) - 1)}}

    def _delete_sheet(self, body: dict[str, Any]) -> None:
        tab = self.by_id(body["sheetId"])
        if len(self.tabs) == 1:
            raise RefusedError("You can't remove all the sheets in a document.")
        self.tabs = [one for one in self.tabs if one is not tab]
        self.metadata = {
            n: m for n, m in self.metadata.items() if sheet_of(m) != tab.id
        }

    def _update_sheet_properties(self, body: dict[str, Any]) -> None:
        masked(body)
        given = body["properties"]
        tab = self.by_id(given["sheetId"])
        if "title" in given:
            tab.title = given["title"]
        grid = given.get("gridProperties", {})
        if "rowCount" in grid:
            rows = grid["rowCount"]
            tab.rows = tab.rows[:rows] + [{} for _ in range(rows - len(tab.rows))]
        tab.columns = grid.get("columnCount", tab.columns)
        tab.frozen = grid.get("frozenRowCount", tab.frozen)

    # rows and columns

    def _append_dimension(self, body: dict[str, Any]) -> None:
        tab = self.by_id(body["sheetId"])
        length = body["length"]
        if length < 1:
            raise RefusedError("length must be at least 1")
        if body["dimension"] == "ROWS":
            tab.rows.extend({} for _ in range(length))
        else:
            tab.columns += length

    def _insert_dimension(self, body: dict[str, Any]) -> None:
        tab, rows, low, high = self._span(body["range"])
        size = len(tab.rows) if rows else tab.columns
        if low > size or high <= low:
            raise RefusedError("range out of the grid")
        if rows:
            tab.rows[low:low] = [{} for _ in range(high - low)]
            tab.merges = [
                (t + high - low, le, b + high - low, r) if t >= low else (t, le, b, r)
                for t, le, b, r in tab.merges
            ]
        else:
            tab.columns += high - low
            shift = {n: n + high - low if n >= low else n for n in range(tab.columns)}
            self._move_columns(tab, shift)
        self._move_metadata(tab, rows, lambda at: at + high - low if at >= low else at)

    def _delete_dimension(self, body: dict[str, Any]) -> None:
        tab, rows, low, high = self._span(body["range"])
        if high <= low or high > (len(tab.rows) if rows else tab.columns):
            raise RefusedError("range out of the grid")
        if rows:
            del tab.rows[low:high]
        else:
            shift = {
                n: n if n < low else n - (high - low)
                for n in range(tab.columns)
                if not low <= n < high
            }
            self._move_columns(tab, shift)
            tab.columns -= high - low
        self._move_metadata(
            tab,
            rows,
            lambda at: (
                None if low <= at < high else at - (high - low) if at >= high else at
            ),
        )

    def _move_columns(self, tab: Tab, shift: dict[int, int]) -> None:
        tab.rows = [
            {shift[c]: cell for c, cell in row.items() if c in shift}
            for row in tab.rows
        ]
        tab.hidden_columns = {shift[c] for c in tab.hidden_columns if c in shift}

    def _move_metadata(
        self, tab: Tab, rows: bool, to: Callable[[int], int | None]
    ) -> None:
        kind = "ROWS" if rows else "COLUMNS"
        for number, one in list(self.metadata.items()):
            place = one.location.get("dimensionRange")
            if place and place["sheetId"] == tab.id and place["dimension"] == kind:
                at = to(place["startIndex"])
                if at is None:
                    del self.metadata[number]
                else:
                    moved = {**place, "startIndex": at, "endIndex": at + 1}
                    one.location = {"dimensionRange": moved}

    def _update_dimension_properties(self, body: dict[str, Any]) -> None:
        masked(body)
        tab, rows, low, high = self._span(body["range"])
        if not rows and "hiddenByUser" in body["properties"]:
            for column in range(low, high):
                (
                    tab.hidden_columns.add
                    if body["properties"]["hiddenByUser"]
                    else tab.hidden_columns.discard
                )(column)

    def _span(self, place: dict[str, Any]) -> tuple[Tab, bool, int, int]:
        return (
            self.by_id(place["sheetId"]),
            place["dimension"] == "ROWS",
            place["startIndex"],
            place["endIndex"],
        )

    # cells

    def _update_cells(self, body: dict[str, Any]) -> None:
        fields = masked(body)
        rows = body.get("rows", [])
        if "start" in body:
            start = body["start"]
            tab, top, left = (
                self.by_id(start["sheetId"]),
                start.get("rowIndex", 0),
                start.get("columnIndex", 0),
            )
            wide = max((len(row.get("values", [])) for row in rows), default=0)
            low, high, end = top, top + len(rows), left + wide
        else:
            place = body["range"]
            tab, low, left = (
                self.by_id(place["sheetId"]),
                place.get("startRowIndex", 0),
                place.get("startColumnIndex", 0),
            )
            high, end = (
                place.get("endRowIndex", len(tab.rows)),
                place.get("endColumnIndex", tab.columns),
            )
        if high > len(tab.rows) or end > tab.columns:
            raise RefusedError(
                f"Attempting to write column: {end - 1}, row: {high - 1}, beyond the last column or row of the grid"
            )
        for n in range(low, high):
            given = rows[n - low].get("values", []) if n - low < len(rows) else []
            ends = end if "range" in body else left + len(given)
            for m in range(left, ends):
                new = given[m - left] if m - left < len(given) else {}
                self._enter(tab, n, m, new, fields)

    def _append_cells(self, body: dict[str, Any]) -> None:
        fields = masked(body)
        tab = self.by_id(body["sheetId"])
        first = tab.last_used() + 1
        missing = first + len(body["rows"]) - len(tab.rows)
        tab.rows.extend({} for _ in range(missing))
        for n, row in enumerate(body["rows"], start=first):
            tab.columns = max(tab.columns, len(row.get("values", [])))
            for m, new in enumerate(row.get("values", [])):
                self._enter(tab, n, m, new, fields)

    def _repeat_cell(self, body: dict[str, Any]) -> None:
        fields, place = masked(body), body["range"]
        tab = self.by_id(place["sheetId"])
        for n in range(
            place.get("startRowIndex", 0), place.get("endRowIndex", len(tab.rows))
        ):
            for m in range(
                place.get("startColumnIndex", 0),
                place.get("endColumnIndex", tab.columns),
            ):
                self._enter(tab, n, m, body.get("cell", {}), fields)

    def _enter(
        self, tab: Tab, row: int, column: int, new: Cell, fields: set[str]
    ) -> None:
        cell = dict(tab.rows[row].get(column, {}))
        for field in CELL_FIELDS if "*" in fields else fields:
            if field not in CELL_FIELDS:
                raise RefusedError(f"Invalid field: {field}")
            if new.get(field):
                cell[field] = (
                    checked(new[field]) if field == "userEnteredValue" else new[field]
                )
            else:
                cell.pop(field, None)
        tab.put(row, column, cell)

    def _sort_range(self, body: dict[str, Any]) -> None:
        place, spec = body["range"], body["sortSpecs"][0]
        tab = self.by_id(place["sheetId"])
        tab.sort(
            spec["dimensionIndex"],
            reverse=spec.get("sortOrder") == "DESCENDING",
            first=place.get("startRowIndex", 0),
        )

    def _merge_cells(self, body: dict[str, Any]) -> None:
        place = body["range"]
        if body.get("mergeType") not in {"MERGE_ALL", "MERGE_COLUMNS", "MERGE_ROWS"}:
            raise RefusedError("mergeType must be given")
        edges = ("startRowIndex", "startColumnIndex", "endRowIndex", "endColumnIndex")
        top, left, bottom, right = (place[name] for name in edges)
        tab = self.by_id(place["sheetId"])
        if body["mergeType"] == "MERGE_ALL":
            tab.merge(top, left, bottom, right)
        elif body["mergeType"] == "MERGE_COLUMNS":
            for column in range(left, right):
                tab.merge(top, column, bottom, column + 1)
        else:
            for row in range(top, bottom):
                tab.merge(row, left, row + 1, right)

    # protection, metadata

    def _add_protected_range(self, body: dict[str, Any]) -> dict[str, Any]:
        given = dict(body["protectedRange"])
        given.setdefault("protectedRangeId", self.fresh())
        self.by_id(given["range"]["sheetId"]).protected[given["protectedRangeId"]] = (
            given
        )
        return {"addProtectedRange": {"protectedRange": given}}

    def _delete_protected_range(self, body: dict[str, Any]) -> None:
        for tab in self.tabs:
            if tab.protected.pop(body["protectedRangeId"], None):
                return
        raise RefusedError("No protected range with that id")

    def _create_developer_metadata(self, body: dict[str, Any]) -> dict[str, Any]:
        given = body["developerMetadata"]
        ident = given.get("metadataId") or self.fresh()
        if ident in self.metadata:
            raise RefusedError(f"The specified metadataId ({ident}) is already in use.")
        if not 0 < ident < 2**31:
            raise RefusedError("metadataId must be positive")
        location = given["location"]
        if "sheetId" in location:
            self.by_id(location["sheetId"])
        if "dimensionRange" in location:
            place = location["dimensionRange"]
            if place["endIndex"] - place["startIndex"] != 1:
                raise RefusedError("dimensionRange must be a single row or column")
        room = sum(
            len(one.key) + len(one.value)
            for one in self.metadata.values()
            if one.location == location
        )
        value = given.get("metadataValue", "")
        if room + len(given["metadataKey"]) + len(value) > 30_000:
            raise RefusedError("Developer metadata is over 30000 characters here")
        if given.get("visibility") not in {"DOCUMENT", "PROJECT"}:
            raise RefusedError("visibility must be given")
        made = Metadatum(
            ident, given["metadataKey"], value, given["visibility"], location
        )
        self.metadata[ident] = made
        return {"createDeveloperMetadata": {"developerMetadata": made.told()}}

    def _update_developer_metadata(self, body: dict[str, Any]) -> dict[str, Any]:
        fields = masked(body)
        found = self.found(body["dataFilters"])
        if not found:
            raise RefusedError("No developer metadata matched the filters")
        for one in found:
            if "metadataValue" in fields or "*" in fields:
                one.value = body["developerMetadata"].get("metadataValue", "")
        return {
            "updateDeveloperMetadata": {
                "developerMetadata": [one.told() for one in found]
            }
        }

    def _delete_developer_metadata(self, body: dict[str, Any]) -> dict[str, Any]:
        found = self.found([body["dataFilter"]])
        for one in found:
            del self.metadata[one.id]
        return {
            "deleteDeveloperMetadata": {
                "deletedDeveloperMetadata": [one.told() for one in found]
            }
        }

    def found(self, filters: list[dict[str, Any]]) -> list[Metadatum]:
        """The metadata that any of the filters matches."""
        wanted = [one["developerMetadataLookup"] for one in filters]
        return [
            one
            for one in self.metadata.values()
            if any(matches(one, lookup) for lookup in wanted)
        ]


def matches(one: Metadatum, lookup: dict[str, Any]) -> bool:
    told = one.told()
    for field in ("metadataId", "metadataKey", "metadataValue", "visibility"):
        if field in lookup and lookup[field] != told[field]:
            return False
    if (
        "locationType" in lookup
        and lookup["locationType"] != told["location"]["locationType"]
    ):
        return False
    if "metadataLocation" in lookup:
        wanted = {
            k: v for k, v in lookup["metadataLocation"].items() if k != "locationType"
        }
        if wanted != one.location:
            return (
                "sheetId" in wanted
                and lookup.get("locationMatchingStrategy") != "EXACT_LOCATION"
                and sheet_of(one) == wanted["sheetId"]
            )
    return True


def sheet_of(one: Metadatum) -> Any:
    return one.location.get(
        "sheetId", one.location.get("dimensionRange", {}).get("sheetId")
    )


def masked(body: dict[str, Any]) -> set[str]:
    """The top-level names of a field mask, which has to be there."""
    if not body.get("fields"):
        raise RefusedError(
            "At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)"
        )
    return {
        re.split(r"[.(/]", one, maxsplit=1)[0] for one in split_mask(body["fields"])
    }


def split_mask(mask: str) -> Iterator[str]:
    """`a,b(c,d),e` as its three parts."""
    depth, start = 0, 0
    for at, sign in enumerate(mask):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            yield mask[start:at].strip()
            start = at + 1
    yield mask[start:].strip()


def entered(value: Any) -> Cell:
    """A plain value as an ExtendedValue."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int | float):
        return {"numberValue": float(value)}
    return {"stringValue": str(value)}


def checked(value: Cell) -> Cell:
    if len(value) != 1 or next(iter(value)) not in VALUES:
        raise RefusedError(f"Unknown ExtendedValue {sorted(value)}")
    text = value.get("stringValue", "")
    if not isinstance(text, str):
        raise RefusedError("stringValue takes a text")
    if len(text) > MOST_CHARACTERS:
        raise RefusedError(
            f"Your input contains more than the maximum of {MOST_CHARACTERS} characters in a single cell."
        )
    number = value.get("numberValue", 0)
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not math.isfinite(number)
    ):
        raise RefusedError("numberValue takes a number")
    return {"stringValue": text} if "stringValue" in value else dict(value)


def value_of(cell: Cell) -> Any:
    """The effective value of a cell: a formula stays visible as an error, for tests to see."""
    value = cell.get("userEnteredValue") or {}
    if "shows" in cell:
        return cell["shows"]
    if "formulaValue" in value:
        return "#EVALUATED!"
    found = next(iter(value.values()), None)
    return None if found == "" else found


def trimmed(rows: list[list[Any]]) -> list[list[Any]]:
    """Trailing empty cells and rows are left out; a hole is an empty text."""
    found = []
    for row in rows:
        cells = list(row)
        while cells and cells[-1] is None:
            cells.pop()
        found.append(["" if one is None else one for one in cells])
    while found and not found[-1]:
        found.pop()
    return found


def properties(tab: Tab, index: int) -> dict[str, Any]:
    grid = {"rowCount": len(tab.rows), "columnCount": tab.columns}
    if tab.frozen:
        grid["frozenRowCount"] = tab.frozen
    return {
        "sheetId": tab.id,
        "title": tab.title,
        "index": index,
        "sheetType": "GRID",
        "gridProperties": grid,
    }


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
