"""One tab of ours: found or made, and changed one flush at a time.

A flush is one `batchUpdate`: rows, cursor and a metadatum of its own that can be made only
once. Whatever became of an answer, the cursor says whether its flush was applied; and one
that arrives late, after it was repeated, is refused whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from fleetd.errors import HeldError, TransientError
from fleetd.google import CURSOR, MARK
from fleetd.sinks.sheets import words
from fleetd.sinks.sheets.client import Google, UnappliedError
from fleetd.sinks.sheets.config import Config
from fleetd.sinks.sheets.grid import (
    Layout,
    Request,
    Written,
    asked,
    at,
    blocks,
    grow,
    header_cells,
    hide,
    layout_of,
    number_of,
    rows_in,
    span,
    warn,
)
from fleetd.sinks.sheets.wire import Note, Ranges, Structure

FLUSH = "fleetd.flush"
SEEN = 200  # flushes that are remembered: minutes more than a call may take
STRUCTURE = (
    "properties(title,timeZone),sheets(properties(sheetId,title,gridProperties),"
    "developerMetadata(metadataId,metadataKey,metadataValue))"
)
ROOM = 500  # rows that a tab grows by
logger = structlog.get_logger()


class Cursor(Struct, frozen=True):
    """What a tab says of itself, in its metadata: whose it is, and how far it is.

    `n` counts flushes. `next` is the row below the last one of ours, `last` the seq that
    stands there, `upto` the highest seq of each lane. `headers` are ours. `moved` rows
    were found elsewhere than where they were put, `conflicts` cells changed by people.
    `keys` are the headers that tell rows apart, for whoever reads them (`google.Kept`).
    """

    log: str
    box: str
    place: str
    tab: str
    sheet: int
    mode: str
    n: int = 0
    next: int = 1
    last: int = 0
    upto: tuple[int, int] = (0, 0)
    headers: tuple[str, ...] = ()
    moved: int = 0
    conflicts: int = 0
    keys: tuple[str, ...] = ()


class Owner(Struct, frozen=True):
    """Who writes: the log, the box it is on, and the sink's place there."""

    log: str
    box: str
    place: str


class Sheet(Struct):
    """What the API says of a tab."""

    id: int
    title: str
    rows: int
    columns: int
    cursor: Cursor | None
    cursor_id: int
    flushes: dict[int, int]  # which one → id of its metadatum


class Tab:
    """A tab by the name that the config gives it; people may call it otherwise."""

    def __init__(
        self, google: Google, config: Config, title: str, owner: Owner, *,
        headers: tuple[str, ...] = (), mode: str = "",
    ) -> None:  # fmt: skip
        self.title, self.owner = title, owner
        self.headers = headers or (*config.columns, MARK)  # ours, the hidden one last
        self.mode = mode or config.mode
        self.keys = config.keys if self.mode == "upsert" else ()
        self.known = False  # whether what we know is all that there is
        self.sheet: Sheet
        self.cursor: Cursor
        self.layout: dict[str, int] = {}
        self._google, self._config = google, config

    # finding and making it

    async def open(self) -> None:
        """Learn how it stands, making it or taking it over where that is allowed."""
        sheets = sheets_in(await self._google.get(Structure, fields=STRUCTURE))
        found = self._find(sheets)
        if found is None:
            await self._make(sheets)
        elif found.cursor is None:
            await self._take_over(found)
        else:
            self._judge(found, found.cursor)
            self.sheet, self.cursor = found, self._mine(found.cursor)
            await self._read_header()
        self.known = True

    def _find(self, sheets: Sequence[Sheet]) -> Sheet | None:
        """Ours by what it says of itself, else the one with the title."""
        for one in sheets:
            if one.cursor is not None and one.cursor.tab == self.title:
                return one
        title = self.title.lower()
        return next((one for one in sheets if one.title.lower() == title), None)

    def _judge(self, sheet: Sheet, cursor: Cursor) -> None:
        if cursor.mode != self.mode:
            raise HeldError(words.of_another_mode(sheet.title, cursor.mode))
        owner = self.owner
        ours = cursor.log == owner.log
        moved_aside = (cursor.box, cursor.place) == (owner.box, owner.place)
        if not (ours or moved_aside or self._config.adopt):
            raise HeldError(words.of_another(sheet.title, cursor.box))

    def _mine(self, cursor: Cursor) -> Cursor:
        """The cursor as we go on with it: seqs of another log say nothing of ours."""
        owner = self.owner
        if cursor.log == owner.log:
            return cursor
        upto = cursor.upto if cursor.place == owner.place else (0, 0)
        return replace(
            cursor, log=owner.log, box=owner.box, place=owner.place, upto=upto
        )

    async def _make(self, sheets: Sequence[Sheet]) -> None:
        taken = {one.id for one in sheets}
        ident = number_of("tab", self.owner.log, self.title)
        while ident in taken:
            ident = number_of(ident)
        wide = len(self.headers)
        sheet = Sheet(ident, self.title, ROOM, wide, None, 0, {})
        grid = {"rowCount": ROOM, "columnCount": wide, "frozenRowCount": 1}
        properties = {"sheetId": ident, "title": self.title, "gridProperties": grid}
        headers = dict(enumerate(self.headers))
        await self._begin(sheet, [{"addSheet": {"properties": properties}}], headers, 1)

    async def _take_over(self, sheet: Sheet) -> None:
        """An empty tab, or one that we are told to go on in: its headers are matched by name."""
        there = await self.rows([span(sheet.id, 0)])
        full = {at: row for at, row in there.items() if any(one != "" for one in row)}
        if full and not self._config.adopt:
            raise HeldError(words.not_ours(sheet.title, len(full)))
        header = full.get(0, [])
        layout = layout_of(header, self.headers)
        free = max((len(row) for row in full.values()), default=0)
        missing = [one for one in self.headers if one not in layout]
        added = {free + n: name for n, name in enumerate(missing)}
        self.layout = layout
        requests: list[Request] = []
        if (lacking := free + len(missing) - sheet.columns) > 0:
            requests.append(grow(sheet.id, "COLUMNS", lacking))
            sheet.columns += lacking
        await self._begin(sheet, requests, added, max(full, default=0) + 1)

    async def _begin(
        self, sheet: Sheet, requests: list[Request], added: dict[int, str], below: int
    ) -> None:
        """Write the headers that are missing, and from now on it is ours."""
        owner = self.owner
        layout = {**self.layout, **{name: at for at, name in added.items()}}
        cursor = Cursor(
            owner.log, owner.box, owner.place, self.title, sheet.id, self.mode,
            next=below, headers=self.headers, keys=self.keys,
        )  # fmt: skip
        sheet.cursor_id = number_of("cursor", sheet.id)  # whoever is first has it
        metadatum = noted(sheet.cursor_id, CURSOR, packed(cursor), sheet.id)
        requests = [*requests, *self._dress(sheet, added), metadatum]
        try:
            await self._google.update(requests)
        except UnappliedError as bad:
            raise HeldError(str(bad), status=400, answer=bad.answer) from bad
        self.sheet, self.cursor, self.layout = sheet, cursor, layout
        logger.info("tab_made", tab=self.title, rows=below)

    def _dress(self, sheet: Sheet, added: dict[int, str]) -> Iterator[Request]:
        note = words.note(self.mode, self._config.zone)
        yield from header_cells(sheet.id, added, note)
        yield from (hide(sheet.id, n) for n, name in added.items() if name == MARK)
        yield from warn(sheet.id, list(added), words.protection(self.title))

    # its header

    async def _read_header(self) -> None:
        rows = await self.rows([span(self.sheet.id, 0, 1)])
        if missing := self.find_headers(rows.get(0, [])):
            there = await self.rows([span(self.sheet.id, 0)])
            free = max(map(len, there.values()), default=0)  # people need no headers
            await self._add_columns({free + n: name for n, name in enumerate(missing)})

    def find_headers(self, header: Sequence[Any]) -> list[str]:
        """Where our columns stand now; those that the config has anew."""
        layout = layout_of(header, self.headers)
        missing = [one for one in self.headers if one not in layout]
        for name in missing:
            if name in self.cursor.headers:
                raise HeldError(words.header_changed(self.sheet.title, name))
        self.layout = layout
        return missing

    async def _add_columns(self, added: dict[int, str]) -> None:
        requests: list[Request] = []
        if (lacking := max(added) + 1 - self.sheet.columns) > 0:
            requests.append(grow(self.sheet.id, "COLUMNS", lacking))
        layout = {**self.layout, **{name: at for at, name in added.items()}}
        requests += self._dress(self.sheet, added)
        headers = tuple({*self.cursor.headers, *self.headers})
        await self.flush(requests, replace(self.cursor, headers=headers))
        self.layout = layout
        self.sheet.columns += max(lacking, 0)

    # reading and writing

    async def rows(self, ranges: Sequence[dict[str, Any]]) -> dict[int, list[Any]]:
        """What stands in these ranges, by row."""
        body = asked(ranges)
        return rows_in(
            await self._google.read(Ranges, "/values:batchGetByDataFilter", body)
        )

    async def flush(self, requests: Sequence[Request], cursor: Cursor) -> None:
        """Apply all of it and move the cursor, or nothing at all."""
        sheet = self.sheet
        cursor = replace(cursor, n=self.cursor.n + 1, keys=self.keys)
        ident = number_of("flush", cursor.log, sheet.id, cursor.n)
        once = noted(ident, FLUSH, str(cursor.n), sheet.id)
        lookup = {"developerMetadataLookup": {"metadataId": sheet.cursor_id}}
        move = {
            "dataFilters": [lookup],
            "developerMetadata": {"metadataValue": packed(cursor)},
            "fields": "metadataValue",
        }
        old = [n for n in sorted(sheet.flushes) if n <= cursor.n - SEEN][:20]
        drops = [dropped(sheet.flushes[n]) for n in old]
        self.known = False  # until we are told otherwise
        await self._google.update(
            [once, *requests, {"updateDeveloperMetadata": move}, *drops]
        )
        self.cursor, self.known = cursor, True
        sheet.flushes[cursor.n] = ident
        for n in old:
            del sheet.flushes[n]

    def judge_columns(self, used: Layout) -> None:
        """Raise where they stand no longer where we wrote: to be mended at the next try."""
        if self.layout != used:
            self.known = False
            why = words.columns_moved(self.sheet.title)
            raise TransientError(why, counts=False)

    async def mend(self, used: Layout, rows: Mapping[str, Written]) -> None:
        """Put right what we wrote below headers as they stood before people moved them.

        `rows` are by the marks written. A row that moved along with its headers is right.
        """
        now = self.layout
        if all(now.get(name, column) == column for name, column in used.items()):
            return
        there = await self.rows([span(self.sheet.id, 0)])
        cells = {
            n: {used[MARK]: None, **dict.fromkeys(one.columns(row, used))}
            | {now[name]: value for name, value in one.before.items() if name in now}
            for n, row in there.items()
            if (one := rows.get(text := at(row, used.get(MARK))))
            and not one.stands(text, row, now)
        }
        if cells:
            moved = replace(self.cursor, moved=self.cursor.moved + len(cells))
            await self.flush([*blocks(self.sheet.id, cells, fresh=False)], moved)

    def room(self, rows: int) -> list[Request]:
        """What makes the grid hold so many rows; `grown` once it was applied."""
        lacking = rows - self.sheet.rows
        if lacking <= 0:
            return []
        return [grow(self.sheet.id, "ROWS", max(lacking, ROOM))]

    def grown(self, requests: Sequence[Request]) -> None:
        """Note how many rows there are now."""
        for one in requests:
            if more := one.get("appendDimension"):
                self.sheet.rows += more["length"]


def packed(cursor: Cursor) -> str:
    return msgspec.json.encode(cursor).decode()


def noted(ident: int, key: str, value: str, sheet: int) -> Request:
    """A metadatum of a tab, seen by whoever may see the document: so that all know it is ours."""
    return {
        "createDeveloperMetadata": {
            "developerMetadata": {
                "metadataId": ident,
                "metadataKey": key,
                "metadataValue": value,
                "visibility": "DOCUMENT",
                "location": {"sheetId": sheet},
            }
        }
    }


def dropped(ident: int) -> Request:
    lookup = {"developerMetadataLookup": {"metadataId": ident}}
    return {"deleteDeveloperMetadata": {"dataFilter": lookup}}


def sheets_in(answer: Structure) -> list[Sheet]:
    """Every tab of grids, with what we noted there."""
    found = []
    for one in answer.sheets:
        told, grid = one.properties, one.properties.grid_properties
        if grid is None:  # a chart
            continue
        sheet = Sheet(
            told.sheet_id, told.title, grid.row_count, grid.column_count, None, 0, {}
        )
        for note in one.developer_metadata:
            _note(sheet, note)
        found.append(sheet)
    return found


_cursor = msgspec.json.Decoder(Cursor).decode


def _note(sheet: Sheet, note: Note) -> None:
    ident, value = note.metadata_id, note.metadata_value
    if note.metadata_key == CURSOR:
        try:
            found = _cursor(value)
        except msgspec.MsgspecError as bad:
            why = f"tab '{sheet.title}' is kept by a fleetd that this one does not know"
            raise HeldError(why) from bad
        if found.sheet == sheet.id:  # else this is a copy of the tab it speaks of
            sheet.cursor, sheet.cursor_id = found, ident
    elif note.metadata_key == FLUSH and value.isdecimal():
        sheet.flushes[int(value)] = ident
