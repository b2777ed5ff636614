"""`mode = "upsert"`: one row a key, brought up to date by the newest event of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.event import DAY_MS, Entry, millis
from fleetd.google import MARK, key_of
from fleetd.sinks.sheets import words
from fleetd.sinks.sheets.audit import Audit
from fleetd.sinks.sheets.columns import Moment, row_of
from fleetd.sinks.sheets.config import Config
from fleetd.sinks.sheets.current import (
    Before,
    Changes,
    Line,
    Wanted,
    lines_in,
    memory_of,
    plan,
    repairs,
)
from fleetd.sinks.sheets.grid import Request, block, blocks, span
from fleetd.sinks.sheets.journal import Journal
from fleetd.sinks.sheets.tab import Tab

MOST_ROWS = 50_000  # that are read whole at each flush
TRIES = 3  # to put right what people move while we write
logger = structlog.get_logger()
_noted = msgspec.msgpack.Decoder(Before).decode
_memory = msgspec.msgpack.Decoder(dict[str, Wanted]).decode


class Current:
    """One tab that is kept current."""

    def __init__(
        self, tab: Tab, config: Config, audit: Audit | None, journal: Journal
    ) -> None:
        self.tab, self._journal = tab, journal
        self._config, self._audit = config, audit
        self._headers = tuple(config.columns)
        self._fields = tuple(config.columns.values())
        self._zone: tzinfo = config.zone.info
        self._dated: set[str] = set()

    async def add(self, entries: Sequence[Entry]) -> dict[int, str]:
        """Bring their rows up to date; which entries have no row to go to, and why."""
        tab = self.tab
        if not tab.known:
            await tab.open()
        if self._audit is not None:
            await self._audit.open()
        wanted, key_by_seq, keyless = self._collapsed(entries)
        refused: dict[str, str] = {}
        pending, most = list(wanted.values()), self._config.rows_a_call
        while pending:
            part, pending = pending[:most], pending[most:]
            refused |= await self._flush({one.key: one for one in part})
        if refused:  # the older ones of such a key were not written either
            reasons = {
                seq: refused[key] for seq, key in key_by_seq.items() if key in refused
            }
            raise RejectedError(reasons, proven=True, skipped=keyless)
        return keyless

    def _collapsed(
        self, entries: Sequence[Entry]
    ) -> tuple[dict[str, Wanted], dict[int, str], dict[int, str]]:
        """The newest of each key in order of arrival, whose each entry is, who has none."""
        newest: dict[str, Wanted] = {}
        key_by_seq: dict[int, str] = {}
        keyless: dict[int, str] = {}
        for entry in entries:
            values = row_of(entry, self._fields, self._zone)
            cells = dict(zip(self._headers, values, strict=True))
            parts = [cells[name] for name in self._config.keys]
            if any(one is None for one in parts):
                keyless[entry.seq] = "no_key"
                continue
            one = Wanted(key_of(parts), cells, self._stamp(entry))
            key_by_seq[entry.seq] = one.key
            before = newest.get(one.key)
            if before is None or before.stamp < one.stamp:
                newest[one.key] = one
        return newest, key_by_seq, keyless

    def _stamp(self, entry: Entry) -> tuple[int, int, int]:
        """What makes one newer than another: its time, or its revision if it is keyed by id.

        A time far beyond its arrival is none: nothing would come after it. It bears no
        flag where it came while our own clock was suspect.
        """
        at = entry.event.at
        at_ms = entry.received_ms if at is None else millis(at)
        if at_ms > entry.received_ms + DAY_MS:
            at_ms = entry.received_ms
        if "id" in self._config.key:
            return entry.revision, at_ms, entry.seq
        return at_ms, entry.revision, entry.seq

    # one flush

    async def _flush(self, wanted: Mapping[str, Wanted]) -> dict[str, str]:
        """Look, write, look again; what conflicts say of keys that may not be written."""
        config = self._config
        self._dated |= {
            name
            for one in wanted.values()
            for name, value in one.cells.items()
            if isinstance(value, Moment)
        }
        if before := await self._journal.load(_before):
            before = before.below(self._headers)
            await self.tab.mend(before.columns, before.rows())
            await self._verify(before.memory)
        lines = await self._lines()
        changes = plan(lines, wanted, config.keys, config.conflict)
        if not changes.empty:
            memory = memory_of(lines, before.memory.values() if before else ())
            marks = marks_in(changes)
            await self._journal.keep(Before(memory, self.tab.layout, marks))
            await self._apply(changes, lines, wanted)
            refused = refused_in(changes, config)
            written = (one for one in wanted.values() if one.key not in refused)
            await self._verify(memory_of(lines, written))
        elif changes.conflicts:
            await self._apply(changes, lines, wanted)
        title = self.tab.sheet.title
        return {
            one.key: words.edited(title, one.header, one.theirs)
            for one in changes.conflicts
            if config.conflict == "error"
        }

    async def _lines(self) -> list[Line]:
        tab = self.tab
        rows = await tab.rows([span(tab.sheet.id, 0)])
        if len(rows) > MOST_ROWS:
            raise HeldError(words.crowded(tab.sheet.title, len(rows)))
        tab.find_headers(rows.get(0, []))
        return lines_in(rows, tab.layout, self._config.keys)

    async def _apply(
        self, changes: Changes, lines: Sequence[Line], wanted: Mapping[str, Wanted]
    ) -> None:
        tab, cursor = self.tab, self.tab.cursor
        if changes.moved:
            logger.warning("moved_by_person", tab=tab.sheet.title, rows=changes.moved)
        below = max((one.row for one in lines), default=0) + 1
        growth = tab.room(below + len(changes.added) + 1)
        requests: list[Request] = [*growth, *self._requests(changes, below)]
        if self._audit is not None:
            requests += self._audit.flushed(tab.sheet.title, changes, wanted.values())
        moved = replace(
            cursor, next=below + len(changes.added), moved=cursor.moved + changes.moved,
            conflicts=cursor.conflicts + len(changes.conflicts),
        )  # fmt: skip
        await tab.flush(requests, moved)
        tab.grown(growth)

    def _requests(self, changes: Changes, below: int) -> Iterable[Request]:
        tab = self.tab
        layout = tab.layout
        updates = {
            row: {
                layout[name]: self._timed(name, value) for name, value in cells.items()
            }
            for row, cells in changes.updates.items()
        }
        yield from blocks(tab.sheet.id, updates, fresh=False)
        if changes.added:
            rows = [
                {
                    layout[name]: self._timed(name, one[name])
                    for name in (*self._headers, MARK)
                }
                for one in changes.added
            ]
            yield from block(tab.sheet.id, below, rows, fresh=True)

    def _timed(self, name: str, value: Any) -> Any:
        """A time stays one when it was read back as a number."""
        if name in self._dated and type(value) in (int, float):
            return Moment(value)
        return value

    async def _verify(self, memory: dict[str, Wanted]) -> None:
        """Put right what people moved between our look and our write."""
        used = self.tab.layout
        for _ in range(TRIES):
            lines = await self._lines()
            self.tab.judge_columns(used)
            memory = memory_of(lines, memory.values())
            changes = repairs(lines, memory, self._config.keys)
            if changes.empty:
                await self._journal.drop()
                return
            await self._apply(changes, lines, {})
        why = (
            f"people move rows of '{self.tab.sheet.title}' as fast as they are written"
        )
        raise TransientError(why, counts=False)


def _before(body: bytes) -> Before:
    """What was noted: by the first builds the memory alone."""
    found = _noted(body)
    return found if found.columns else Before(_memory(body))


def marks_in(changes: Changes) -> list[str]:
    """The marks of the rows that are written."""
    rows = (*changes.updates.values(), *changes.added)
    return [one[MARK] for one in rows if one[MARK]]


def refused_in(changes: Changes, config: Config) -> set[str]:
    """The keys whose rows stay as people left them."""
    if config.conflict != "error":
        return set()
    return {one.key for one in changes.conflicts}
