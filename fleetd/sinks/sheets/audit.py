"""A tab that tells of each write, and of what people changed in fleetd's columns."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, tzinfo
from typing import Any

from fleetd.sinks.sheets.columns import cut, serial
from fleetd.sinks.sheets.config import Config
from fleetd.sinks.sheets.current import Changes, Wanted
from fleetd.sinks.sheets.grid import VALUE, Request, cell_of
from fleetd.sinks.sheets.tab import Tab

HEADERS = ("time", "tab", "what", "rows", "row", "column", "theirs", "ours", "seq")
MOST = 200  # rows a flush may tell


class Audit:
    """The rows of the audit tab, which go along with each flush."""

    def __init__(self, tab: Tab, config: Config, now: Callable[[], datetime]) -> None:
        self.tab = tab
        self._zone: tzinfo = config.zone.info
        self._now = now

    async def open(self) -> None:
        """Make sure that it is there."""
        if not self.tab.known:
            await self.tab.open()

    def appended(self, title: str, rows: int, first: int, last: int) -> list[Request]:
        """Rows were added to a log."""
        return self._rows(
            [[title, "added", rows, None, None, None, None, f"{first}-{last}"]]
        )

    def moved(self, title: str, rows: int) -> list[Request]:
        """Rows were written again, since people moved others over them."""
        return self._rows([[title, "moved_by_person", rows, *[None] * 5]])

    def flushed(
        self, title: str, changes: Changes, wanted: Collection[Wanted]
    ) -> list[Request]:
        """Rows were brought up to date."""
        told: list[list[Any]] = []
        seqs = [one.stamp[2] for one in wanted]
        span = f"{min(seqs)}-{max(seqs)}" if seqs else None
        if changes.added:
            told.append(
                [title, "added", len(changes.added), None, None, None, None, span]
            )
        if changes.updates:
            told.append(
                [title, "updated", len(changes.updates), None, None, None, None, span]
            )
        if changes.moved:
            told.append([title, "moved_by_person", changes.moved, *[None] * 5])
        told += [
            [title, "conflict", 1, one.row + 1, one.header, one.theirs, one.ours, None]
            for one in changes.conflicts
        ]
        return self._rows(told)

    def _rows(self, rows: list[list[Any]]) -> list[Request]:
        if not rows:
            return []
        time = serial(self._now(), self._zone)
        cells = [
            {
                "values": [
                    cell_of(time, dated=True),
                    *[cell_of(plain(one)) for one in row],
                ]
            }
            for row in rows[:MOST]
        ]
        fields = f"{VALUE},userEnteredFormat.numberFormat"
        sheet = self.tab.sheet.id
        return [{"appendCells": {"sheetId": sheet, "rows": cells, "fields": fields}}]


def plain(value: Any) -> Any:
    """A value that a person typed, as a cell that can hold nothing but it."""
    return cut(value) if isinstance(value, str) else value
