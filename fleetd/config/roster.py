"""The fleet's own list of vehicles: a CSV file that supplies what a vendor lacks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from fleetd.config.report import Report
from fleetd.config.shape import House, Row
from fleetd.config.units import nearest
from fleetd.errors import ConfigError
from fleetd.event import vin_of

COLUMNS: Final = ("provider", "id", "fleet_number", "vin", "plate")
NEEDED: Final = COLUMNS[:2]
LARGEST: Final = 16 << 20
LONGEST: Final = 200  # of one cell
MOST_TOLD: Final = 20
Load = Callable[[str], Any]


def read_roster(house: House, vendor: Load, report: Report) -> tuple[Row, ...]:
    """Its rows, or all that is wrong with it, by line and column, into the report."""
    path = house.vehicles.file
    if path is None:
        return ()
    try:
        text = _text(path)
    except OSError as bad:
        report.add(("vehicles", "file"), f"{path}: {bad.strerror}")
        return ()
    except ValueError as bad:
        report.add(("vehicles", "file"), f"{path}: {bad}")
        return ()
    sheet = Sheet(path, vendor)
    rows = tuple(sheet.rows(text))
    report.bad += sheet.bad[:MOST_TOLD]
    if more := len(sheet.bad) - MOST_TOLD:
        report.bad += [f"{path}: and {more} more"] if more > 0 else []
    return rows


def _text(path: Path) -> str:
    with path.open("rb") as file:
        body = file.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise ValueError(f"over {LARGEST} bytes")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        line = body.count(b"\n", 0, bad.start) + 1
        raise ValueError(f"line {line} is not UTF-8 text") from bad


class Sheet:
    """One file of it; what is wrong is collected in `bad`."""

    def __init__(self, path: Path, vendor: Load) -> None:
        self.path = path
        self.bad: list[str] = []
        self._vendor = vendor
        self._vendors: dict[str, str] = {}  # name → what is wrong with it
        self._seen: dict[tuple[str, str], int] = {}

    def rows(self, text: str) -> Iterator[Row]:
        """Every row that can be meant."""
        first = text.partition("\n")[0]
        between = ";" if first.count(";") > first.count(",") else ","  # as Excel has it
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=between, strict=True
        )
        try:
            top = [one.strip().lower() for one in next(reader, [])]
            width = max((n for n, one in enumerate(top, 1) if one), default=0)
            head, blank = top[:width], len(top) - width  # columns without a header
            if not self._is_head(head):
                return
            for cells in reader:
                if any(one.strip() for one in cells):
                    yield from self._row(reader.line_num, head, cells, blank)
        except csv.Error as bad:
            self._add(reader.line_num, "", str(bad))

    def _add(self, line: int, column: str, why: str) -> None:
        self.bad.append(f"{self.path}:{line}: {column + ': ' if column else ''}{why}")

    def _is_head(self, head: Sequence[str]) -> bool:
        for name in head:
            if name not in COLUMNS:
                close = nearest(name, COLUMNS)
                meant = f"; did you mean `{close}`?" if close else ""
                self._add(1, name, f"no such column{meant}")
            elif head.count(name) > 1:
                self._add(1, name, "stands there twice")
        for name in NEEDED:
            if name not in head:
                self._add(1, name, f"is missing; the columns are {', '.join(COLUMNS)}")
        return not self.bad

    def _row(
        self, line: int, head: Sequence[str], cells: Sequence[str], blank: int
    ) -> Iterator[Row]:
        beyond = cells[len(head) :]
        if len(beyond) > blank or any(one.strip() for one in beyond):
            self._add(line, "", f"has {len(cells)} cells for {len(head)} columns")
            return
        said = {name: cell.strip() for name, cell in zip(head, cells, strict=False)}
        before = len(self.bad)
        for name in head:
            if why := self._wrong(name, said.get(name, "")):
                self._add(line, name, why)
        if len(self.bad) > before:
            return
        row = Row(**{**said, "vin": (said.get("vin") or "").upper()})
        first = self._seen.setdefault((row.provider, row.id), line)
        if first != line:
            self._add(
                line, "id", f"{row.provider} {row.id} stands in line {first} already"
            )
            return
        yield row

    def _wrong(self, name: str, cell: str) -> str:
        """What is wrong with a cell; empty where nothing is."""
        if len(cell) > LONGEST:
            return f"longer than {LONGEST} characters"
        if name in NEEDED and not cell:
            return "is missing"
        if name == "vin" and cell and vin_of(cell) is None:
            return f"{cell!r} is no VIN: 17 of A-H J-N P R-Z 0-9"
        return self._unknown(cell) if name == "provider" else ""

    def _unknown(self, provider: str) -> str:
        if provider not in self._vendors:
            try:
                self._vendor(provider)
                self._vendors[provider] = ""
            except ConfigError as bad:
                self._vendors[provider] = str(bad)
        return self._vendors[provider]
