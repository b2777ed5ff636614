"""`mode = "append"`: a row for each event, once, below the last one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import tzinfo
from itertools import takewhile
from typing import Any, TypeAlias

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from fleetd.errors import TransientError
from fleetd.event import Entry
from fleetd.google import MARK, Mark, key_of, print_of
from fleetd.sinks.sheets.audit import Audit
from fleetd.sinks.sheets.columns import Moment, row_of
from fleetd.sinks.sheets.config import Config
from fleetd.sinks.sheets.grid import Request, Written, at, block, span
from fleetd.sinks.sheets.journal import Journal
from fleetd.sinks.sheets.tab import Tab

TRIES = 4  # to put right what people move while we write
LOOK = 20  # rows looked at above the next one: so many may be inserted unseen

logger = structlog.get_logger()
Row: TypeAlias = dict[Any, Any]  # by header; by column in notes of the first builds


class Above(Struct, frozen=True):
    """The last rows before a write, by their marks and in their order, and which it was.

    `columns` are where it put what, `mine` the marks it wrote, each with one that bears
    prints of its row.
    """

    n: int
    next: int
    rows: dict[str, Row]
    columns: dict[str, int] = {}
    mine: dict[str, str] = {}


_above = msgspec.msgpack.Decoder(Above).decode


class Log:
    """One tab that grows."""

    def __init__(
        self, tab: Tab, config: Config, audit: Audit | None, journal: Journal
    ) -> None:
        self.tab, self._journal = tab, journal
        self._audit = audit
        self._fields = tuple(config.columns.values())
        self._zone: tzinfo = config.zone.info
        self._doubtful: dict[str, Row] = {}  # above a write that may arrive yet
        self._dated: set[str] = set()  # columns that hold times

    async def add(self, entries: Sequence[Entry], *, in_place: bool) -> int:
        """Write those that are not there yet; how many that were."""
        tab = self.tab
        if not tab.known:
            await tab.open()
        if self._audit is not None:
            await self._audit.open()
        await self._recover()
        fresh = await self._missing(entries, in_place=in_place)
        rows = [self._row(entry) for entry in fresh]
        self._dated |= {
            name for row in rows for name, one in row.items() if isinstance(one, Moment)
        }
        if rows:
            await self._place({row[MARK]: row for row in rows}, fresh)
        return len(fresh)

    async def _recover(self) -> None:
        """Look again where we wrote last and could not; put back what that covered."""
        kept = await self._journal.load(_above)
        if kept is None:
            return
        rows_kept = {mark: self._below(row) for mark, row in kept.rows.items()}
        if kept.n == self.tab.cursor.n:  # that write did not arrive, or not yet
            self._doubtful = rows_kept
            return
        mine = {text: Mark.read(told) for text, told in kept.mine.items()}
        rows = {text: Written(mark) for text, mark in mine.items() if mark}
        await self.tab.mend(kept.columns, rows)
        found = await self._marks_below(1)
        if gone := {mark: rows_kept[mark] for mark in covered(found, kept, ())}:
            await self._place({}, (), gone, kept.n)
        await self._journal.drop()

    async def _place(
        self, new: dict[str, Row], entries: Collection[Entry],
        old: dict[str, Row] | None = None, since: int | None = None,
    ) -> None:  # fmt: skip
        """Write rows below the last one until all of them stand there, and all others too.

        `old` are rows of ours that were covered; they are kept on our disk until then.
        """
        old, moved = old or {}, len(old or {})
        for _ in range(TRIES):
            above = self._above(await self._look())
            since = above.n if since is None else since
            rows_kept = {**self._doubtful, **old, **above.rows}
            mine = {text: printed(row) for text, row in {**old, **new}.items()}
            await self._journal.keep(
                Above(since, above.next, rows_kept, self.tab.layout, mine)
            )
            rows = [*map(self._timed, old.values()), *new.values()]
            await self._write(rows, entries, moved)
            entries, self._doubtful = (), {}  # ours arrived: no other one will
            old, new = await self._lost(old, new, above)
            moved = len(old) + len(new)
            if not moved:
                await self._journal.drop()
                return
            logger.warning("moved_by_person", tab=self.tab.sheet.title, rows=moved)
        why = (
            f"people move rows of '{self.tab.sheet.title}' as fast as they are written"
        )
        raise TransientError(why, counts=False)

    async def _lost(
        self, old: dict[str, Row], new: dict[str, Row], above: Above
    ) -> tuple[dict[str, Row], dict[str, Row]]:
        """What does not stand there after a write: rows that others were pushed over."""
        mine, used = {**old, **new}, self.tab.layout
        found = await self._marks_below(max(1, above.next - LOOK))
        self.tab.judge_columns(used)
        if mine.keys() | above.rows.keys() <= set(found.values()):
            return {}, {}
        found = await self._marks_below(1)
        there = set(found.values())
        gone = covered(found, above, [*mine])
        old = {mark: row for mark, row in old.items() if mark not in there}
        old |= {mark: above.rows[mark] for mark in gone}
        return old, {mark: row for mark, row in new.items() if mark not in there}

    # what is there already

    async def _missing(
        self, entries: Sequence[Entry], *, in_place: bool
    ) -> list[Entry]:
        """The cursor knows most; of the others the marks in the rows are asked."""
        upto = self.tab.cursor.upto
        doubtful = {one.seq for one in entries if in_place or one.seq <= upto[one.lane]}
        if not doubtful:
            return list(entries)
        there = await self._marks()
        found: dict[str, Entry] = {}
        for one in entries:
            mark = mark_of(one)
            if one.seq in doubtful and in_place and mark.key in there:
                continue
            if (
                one.seq in doubtful
                and not in_place
                and one.seq in there.get(mark.key, ())
            ):
                continue
            found.setdefault(f"{mark.key}.{0 if in_place else one.seq}", one)
        return list(found.values())

    async def _marks(self) -> dict[str, set[int]]:
        """Every mark of the tab: which seqs bear a key."""
        found: dict[str, set[int]] = {}
        for text in (await self._marks_below(1)).values():
            if mark := Mark.read(text):
                found.setdefault(mark.key, set()).add(mark.seq)
        return found

    # where the next row goes

    async def _look(self) -> dict[int, list[Any]]:
        """Make sure of header and next row; the last rows as they stand before we write."""
        tab = self.tab
        sheet, cursor = tab.sheet, tab.cursor
        top = min(max(1, cursor.next - LOOK), sheet.rows - 1)
        rows = await tab.rows([span(sheet.id, 0, 1), span(sheet.id, top)])
        tab.find_headers(rows.get(0, []))
        if self._is_next(rows, cursor.next):
            return rows
        rows = await tab.rows([span(sheet.id, 0)])
        used = [n for n, row in rows.items() if self._is_used(row)]
        tab.cursor = replace(cursor, next=max(used, default=0) + 1)
        return {n: rows[n] for n in rows if n == 0 or n >= tab.cursor.next - LOOK}

    def _is_next(self, rows: Mapping[int, list[Any]], below: int) -> bool:
        """Nothing of ours below, and right above it the row that we wrote last."""
        if any(n >= below and self._is_used(row) for n, row in rows.items()):
            return False
        if below == 1 or not self.tab.cursor.last:
            return True
        mark = Mark.read(at(rows.get(below - 1, []), self.tab.layout[MARK]))
        return mark is not None and mark.seq == self.tab.cursor.last

    def _is_used(self, row: Sequence[Any]) -> bool:
        return any(at(row, column) is not None for column in self.tab.layout.values())

    # writing

    def _row(self, entry: Entry) -> Row:
        values = row_of(entry, self._fields, self._zone)
        told = [*values, mark_of(entry).written()]
        return dict(zip(self.tab.headers, told, strict=True))

    async def _write(
        self, rows: Sequence[Row], entries: Collection[Entry], moved: int = 0
    ) -> None:
        tab = self.tab
        cursor, top = tab.cursor, tab.cursor.next
        upto = [*cursor.upto]
        for one in entries:
            upto[one.lane] = max(upto[one.lane], one.seq)
        mark = Mark.read(rows[-1][MARK])
        below = replace(
            cursor, next=top + len(rows), last=mark.seq if mark else 0,
            upto=(upto[0], upto[1]), moved=cursor.moved + moved,
        )  # fmt: skip
        growth = tab.room(top + len(rows) + 1)
        placed = [{tab.layout[name]: one for name, one in row.items()} for row in rows]
        cells: list[Request] = list(block(tab.sheet.id, top, placed, fresh=True))
        if self._audit is not None and moved:
            cells += self._audit.moved(tab.sheet.title, moved)
        elif self._audit is not None:
            seqs = [one.seq for one in entries]
            cells += self._audit.appended(
                tab.sheet.title, len(rows), min(seqs), max(seqs)
            )
        await tab.flush([*growth, *cells], below)
        tab.grown(growth)

    async def _marks_below(self, top: int) -> dict[int, Any]:
        """The marks from a row on, below the header as it stands now."""
        tab, column = self.tab, self.tab.layout[MARK]
        marks = span(tab.sheet.id, top, None, column, column + 1)
        found = await tab.rows([span(tab.sheet.id, 0, 1), marks])
        tab.find_headers(found.pop(0, []))
        if tab.layout[MARK] != column:
            return await self._marks_below(top)
        return {n: at(row, 0) for n, row in found.items()}

    def _above(self, before: Mapping[int, list[Any]]) -> Above:
        """Our rows as they stand above the new ones."""
        found: dict[str, Row] = {}
        for _, line in sorted(before.items()):
            mark = at(line, self.tab.layout[MARK])
            if Mark.read(mark):
                layout = self.tab.layout.items()
                found[mark] = {name: at(line, column) for name, column in layout}
        return Above(self.tab.cursor.n, self.tab.cursor.next, found)

    def _below(self, row: Row) -> Row:
        """A row for the headers of now: the config may have had others."""
        layout = self.tab.layout.items()
        return {name: row.get(name, row.get(column)) for name, column in layout}

    def _timed(self, row: Row) -> Row:
        """A time stays one when it was read back as a number."""
        return {
            name: Moment(one)
            if name in self._dated and type(one) in (int, float)
            else one
            for name, one in row.items()
        }


def covered(found: Mapping[int, Any], above: Above, mine: Sequence[str]) -> list[str]:
    """Which of the rows above lie under ours now; those that people removed do not.

    Rows that were inserted push the last ones below where we wrote: then the one before
    those stands right above our first, where else the very last one does, or some of
    them stand below it. Where that is not to be seen any more, all that is missing
    counts, and the last ones do if ours can hide them: better twice than never.
    """
    there = set(found.values())
    order = list(above.rows)
    missing = [mark for mark in order if mark not in there]
    if not mine or found.get(above.next) != mine[0]:
        return missing
    before = found.get(above.next - 1)
    if before in above.rows:
        rest = order[order.index(before) + 1 :]
        return [*takewhile(lambda mark: mark not in there, rest)]
    pushed = [mark for n, mark in found.items() if n > above.next and mark in order]
    if pushed:  # from below the rows that were inserted
        rest = order[: min(map(order.index, pushed))]
        return [*takewhile(lambda mark: mark not in there, rest[::-1])][::-1]
    hidden = missing == order[-len(missing) :] and len(missing) <= len(mine)
    return missing if before or above.next == 1 or hidden else []


def printed(row: Row) -> str:
    """A mark that says what we wrote there."""
    prints = (print_of(name, one) for name, one in row.items() if name != MARK)
    mark = Mark.read(row[MARK]) or Mark("")
    return replace(mark, prints=frozenset(prints)).written()


def mark_of(entry: Entry) -> Mark:
    """Which event a row holds, and which copy of it."""
    event = entry.event
    key = key_of((entry.source, event.kind, event.id, entry.revision))
    return Mark(key, seq=entry.seq)
