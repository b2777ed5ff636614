"""One listing, in three questions: which tab, where its columns stand, and all rows at once.

All rows come in one answer, which is whole or no answer at all: people may sort and
insert while pages are read, and a row that moved would be missing from every one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from fleetd.errors import HeldError, PayloadError
from fleetd.google import Kept, Spreadsheet, corner, kept_in
from fleetd.providers.contract import Ask, Page, Turn
from fleetd.providers.reading import UNREADABLE, short
from fleetd.providers.sheets import words
from fleetd.providers.sheets.headers import LOOKED_AT, Layout, Wanted, layout_of
from fleetd.providers.sheets.rows import records_of

MOST_ROWS = 50_000
MOST_MERGES = 2000
TRIES = 3
STRUCTURE = (
    "properties(title),sheets(properties(sheetId,title,gridProperties),merges,"
    "developerMetadata(metadataKey,metadataValue))"
)
VALUES = {
    "majorDimension": "ROWS",
    "valueRenderOption": "UNFORMATTED_VALUE",
    "dateTimeRenderOption": "SERIAL_NUMBER",
}
Area = tuple[int, int, int, int]  # top, left, bottom, right; half-open
Rows = dict[int, dict[int, Any]]  # by row and column


class Step(Struct, frozen=True, omit_defaults=True):
    """Where a walk is: the tab once it is found, its columns once they are.

    `before` are the headers that the last listing of `of` found. A walk that is over
    leaves just those.
    """

    of: str
    before: dict[str, str] = {}
    sheet: int | None = None
    rows: int = 0
    kept: Kept | None = None
    merges: list[Area] = []
    layout: Layout | None = None
    tries: int = 0

    def written(self) -> str:
        return msgspec.json.encode(self).decode()


_at = msgspec.json.Decoder(Step).decode


class Walk(Struct, frozen=True):
    """What is read of which spreadsheet: `top` to `bottom` are rows of it, half-open."""

    spreadsheet: Spreadsheet
    wanted: Wanted
    feed: str
    top: int = 0
    bottom: int | None = None

    @property
    def _path(self) -> str:
        return f"/v4/spreadsheets/{self.spreadsheet}"

    @property
    def _name(self) -> str:
        """What tells this listing from another one that the source was before."""
        wanted = self.wanted
        place = (self.spreadsheet, wanted.tab.casefold(), wanted.kind, wanted.left)
        return " ".join(str(one) for one in place)

    # questions

    def ask(self, turn: Turn) -> Ask:
        step = self._step(turn)
        if step.sheet is None:
            return Ask(self._path, params={"fields": STRUCTURE})
        layout = step.layout
        if layout is None:
            ranges = [span(step.sheet, self.top, min(self.top + LOOKED_AT, step.rows))]
        else:
            ranges = [span(step.sheet, layout.row, layout.row + 1)]
            ranges += self._columns(step, layout)
        body = {"dataFilters": [{"gridRange": one} for one in ranges], **VALUES}
        return Ask(
            f"{self._path}/values:batchGetByDataFilter", method="POST", json=body
        )

    def _columns(self, step: Step, layout: Layout) -> Iterator[dict[str, int]]:
        """Only what is needed, in as few blocks as there are."""
        top, bottom = layout.row + 1, self._end(step, layout)
        if step.sheet is None or top >= bottom:
            return
        for _, run in groupby(
            enumerate(layout.columns), lambda pair: pair[1] - pair[0]
        ):
            block = [at for _, at in run]
            yield span(step.sheet, top, bottom, block[0], block[-1] + 1)

    def _end(self, step: Step, layout: Layout) -> int:
        ends = (step.rows, self.bottom or step.rows, layout.row + MOST_ROWS + 2)
        return min(ends)

    def _step(self, turn: Turn) -> Step:
        """Where the walk is; a new one knows what the last one found."""
        if turn.bookmark is not None:
            return _at(turn.bookmark)
        try:
            last = _at(turn.last or "")
        except UNREADABLE:
            return Step(self._name)
        return Step(self._name, last.before if last.of == self._name else {})

    # answers

    def unpack(self, _ask: Ask, body: bytes, turn: Turn) -> Page:
        step = self._step(turn)
        try:
            told = msgspec.json.decode(body, type=dict[str, Any])
        except UNREADABLE as bad:
            raise PayloadError(f"not JSON: {short(bad)}") from bad
        if step.sheet is None:
            return self._onward(self._found(step, told))
        rows = rows_in(told)
        if step.layout is None:
            return self._onward(self._laid_out(step, rows))
        return self._listed(step, step.layout, rows)

    def _onward(self, step: Step) -> Page:
        return Page([], step.written(), more=True)

    def _found(self, step: Step, told: Mapping[str, Any]) -> Step:
        """The tab as it is now."""
        sheet, kept = self._tab(told["sheets"])
        properties = sheet["properties"]
        areas = [area_of(one) for one in sheet.get("merges", ())]
        merges = [one for one in areas if one[2] - one[0] > 1]
        if len(merges) > MOST_MERGES:
            raise HeldError(words.merged(properties["title"], MOST_MERGES))
        return replace(
            step, sheet=properties.get("sheetId", 0), kept=kept, merges=merges,
            rows=properties["gridProperties"].get("rowCount", 0),
        )  # fmt: skip

    def _tab(
        self, sheets: Sequence[Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any], Kept | None]:
        """The tab that a sink keeps under this name, else the one that people call so."""
        tab = self.wanted.tab
        grids = [one for one in sheets if "gridProperties" in one["properties"]]
        named: Mapping[str, Any] | None = None
        for one in grids:
            properties = one["properties"]
            kept = kept_in(
                one.get("developerMetadata", ()), properties.get("sheetId", 0)
            )
            if kept is not None and kept.tab == tab:
                return one, self._fit(kept)
            if properties["title"].casefold() == tab.casefold():
                named = one
                if kept is not None:
                    raise HeldError(words.renamed(tab, kept.tab))
        if named is None:
            titles = [one["properties"]["title"] for one in grids]
            raise HeldError(words.no_such_tab(tab, titles))
        return named, None

    def _fit(self, kept: Kept) -> Kept:
        if kept.mode != "upsert":
            raise HeldError(words.a_log(self.wanted.tab, kept.mode))
        return kept

    def _laid_out(self, step: Step, rows: Rows) -> Step:
        texts = {at: dense(row) for at, row in rows.items()}
        layout = layout_of(texts, self.wanted, step.kept, step.before)
        return replace(step, layout=layout)

    def _listed(self, step: Step, layout: Layout, rows: Rows) -> Page:
        header = dense(rows.pop(layout.row, {}))
        if tuple(text_of(one) for one in header) != layout.header:
            if step.tries + 1 >= TRIES:
                raise HeldError(words.restless(self.wanted.tab))
            again = Step(step.of, step.before, tries=step.tries + 1)
            return self._onward(again)
        if len(rows) > MOST_ROWS:
            raise HeldError(words.too_many(self.wanted.tab, MOST_ROWS))
        fill(rows, layout, step.merges)
        read = records_of(self.feed, rows, layout)
        done = Step(step.of, layout.found)
        return Page(
            read.records, done.written(), complete=read.settled, held=read.held
        )  # fmt: skip


def span(
    sheet: int, top: int, bottom: int, left: int = 0, right: int | None = None
) -> dict[str, int]:
    """A block of cells, half-open, counted from 0."""
    found = {"sheetId": sheet, "startRowIndex": top, "endRowIndex": bottom}
    found["startColumnIndex"] = left
    return found if right is None else {**found, "endColumnIndex": right}


def area_of(told: Mapping[str, int]) -> Area:
    return (
        told.get("startRowIndex", 0), told.get("startColumnIndex", 0),
        told.get("endRowIndex", 0), told.get("endColumnIndex", 0),
    )  # fmt: skip


def rows_in(told: Mapping[str, Any]) -> Rows:
    """Every cell that holds something, wherever it came in the answer."""
    found: Rows = {}
    for one in told["valueRanges"]:
        block = one["valueRange"]
        top, left = corner(block["range"])
        for row, cells in enumerate(block.get("values", ()), start=top):
            there = {at: one for at, one in enumerate(cells, start=left) if one != ""}
            if there:
                found.setdefault(row, {}).update(there)
    return found


def dense(row: Mapping[int, Any]) -> list[Any]:
    """A row with blanks where nothing stands."""
    return [row.get(at, "") for at in range(max(row, default=-1) + 1)]


def text_of(cell: Any) -> str:
    return cell.strip() if isinstance(cell, str) else ""


def fill(rows: Rows, layout: Layout, merges: Sequence[Area]) -> None:
    """What stands in merged cells holds for each row of them, but for whose row it is."""
    for top, left, bottom, _ in merges:
        if top <= layout.row or left in layout.keys or left not in layout.fields:
            continue
        value = rows.get(top, {}).get(left)
        for row in range(top + 1, bottom):
            if value is not None and row in rows:
                rows[row].setdefault(left, value)
