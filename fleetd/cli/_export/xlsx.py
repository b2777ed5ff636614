"""A workbook, written row by row: text is text, numbers are numbers, times are times (UTC)."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any, Final
from xml.sax.saxutils import escape

from fleetd.cli._export.columns import Page, Picked

MOST_ROWS: Final = 1_048_576  # that a sheet may have
MOST_BYTES: Final = 3 << 29  # of a sheet: beyond 2 GiB it takes a zip few can read
MOST_TEXT: Final = 32_767  # characters that a cell may have, in UTF-16
BEGIN: Final = datetime(1899, 12, 30, tzinfo=UTC)
DAY_S: Final = 86_400
BAD: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
CODE: Final = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # read as the character it names
MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
SHEET_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
STYLES: Final = (
    f'{HEAD}<styleSheet xmlns="{MAIN}"><numFmts count="1"><numFmt numFmtId="164"'
    ' formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss.000"/></numFmts><fonts count="2"><font/>'
    '<font><b/></font></fonts><fills count="2"><fill><patternFill patternType="none"/>'
    '</fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1">'
    '<border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="3">'
    '<xf/><xf numFmtId="164" applyNumberFormat="1"/><xf fontId="1" applyFont="1"/>'
    '</cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/>'
    "</cellStyles></styleSheet>"
)
SHEET: Final = (
    f'{HEAD}<worksheet xmlns="{MAIN}"><sheetViews><sheetView workbookViewId="0"><pane'
    ' ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView>'
    "</sheetViews><sheetData>\n"
)
DEFAULTS: Final = (
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
    'relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>'
)
PLAIN, TIME, BOLD = 0, 1, 2


class Xlsx:
    """One sheet after the other, as many as the rows fill."""

    def __init__(
        self,
        file: IO[bytes],
        picked: Picked,
        most_rows: int = MOST_ROWS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3)
        self._picked, self._most, self._most_bytes = picked, most_rows, most_bytes
        self._times = [one == "time" for one in picked.columns.values()]
        self._sheets = self._rows = self._bytes = 0
        self._sheet: IO[bytes] | None = None
        self._begin()

    def take(self, pages: Iterable[Page]) -> None:
        try:
            for page in pages:
                self.add(page)
            self.end()
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Leave nothing that would be written when this is collected."""
        if self._sheet is not None:
            with suppress(OSError, ValueError):
                self._sheet.close()
        self._zip.fp = None

    def _begin(self) -> None:
        self._sheets += 1
        name = f"xl/worksheets/sheet{self._sheets}.xml"
        self._sheet = self._zip.open(name, "w")
        heads = "".join(text(name, BOLD) for name in self._picked.columns)
        self._rows = self._bytes = 0
        self._write(f"{SHEET}<row>{heads}</row>\n")

    def _write(self, row: str) -> None:
        assert self._sheet is not None
        self._bytes += self._sheet.write(row.encode())
        self._rows += 1

    def add(self, events: Page) -> None:
        for event in events:
            if self._rows >= self._most or self._bytes >= self._most_bytes:
                self._close()
                self._begin()
            row = zip(self._picked.row(event), self._times, strict=True)
            cells = "".join(cell(value, is_time=is_time) for value, is_time in row)
            self._write(f"<row>{cells}</row>\n")

    def _close(self) -> None:
        assert self._sheet is not None
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()

    def end(self) -> None:
        self._close()
        for name, body in parts_of(self._sheets):
            self._zip.writestr(name, body)
        self._zip.close()


def cell(value: Any, *, is_time: bool) -> str:
    """A value as a cell; text can never become a formula in here."""
    if value is None:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f"<c><v>{value!r}</v></c>" if abs(value) < 1e15 else text(str(value))
    if is_time:
        days = (datetime.fromisoformat(value) - BEGIN).total_seconds() / DAY_S
        return f'<c s="{TIME}"><v>{days:.9f}</v></c>' if days >= 61 else text(value)
    return text(str(value))


def text(value: str, style: int = PLAIN) -> str:
    kept = BAD.sub("\N{REPLACEMENT CHARACTER}", value[:MOST_TEXT])
    units = kept.encode("utf-16-le")[: MOST_TEXT * 2]
    clean = escape(CODE.sub("_x005F_", units.decode("utf-16-le", "ignore")))
    mark = f' s="{style}"' if style else ""
    return f'<c{mark} t="inlineStr"><is><t xml:space="preserve">{clean}</t></is></c>'


def parts_of(sheets: int) -> list[tuple[str, str]]:
    """All that makes sheets a workbook."""
    numbers = range(1, sheets + 1)
    named = "".join(
        f'<sheet name="events{f" {n}" if n > 1 else ""}" sheetId="{n}" r:id="rId{n}"/>'
        for n in numbers
    )
    links = "".join(link(n, "worksheet", f"worksheets/sheet{n}.xml") for n in numbers)
    links += link(sheets + 1, "styles", "styles.xml")
    typed = "".join(override(f"worksheets/sheet{n}", "worksheet") for n in numbers)
    typed += override("workbook", "sheet.main") + override("styles", "styles")
    book = f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{named}</sheets></workbook>'
    types = f'<Types xmlns="{PACKAGE}/content-types">{DEFAULTS}{typed}</Types>'
    return [
        ("xl/styles.xml", STYLES),
        ("xl/workbook.xml", HEAD + book),
        ("xl/_rels/workbook.xml.rels", related(links)),
        ("_rels/.rels", related(link(1, "officeDocument", "xl/workbook.xml"))),
        ("[Content_Types].xml", HEAD + types),
    ]


def link(number: int, kind: str, target: str) -> str:
    return f'<Relationship Id="rId{number}" Type="{OFFICE}/{kind}" Target="{target}"/>'


def related(links: str) -> str:
    return (
        f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{links}</Relationships>'
    )


def override(part: str, kind: str) -> str:
    return (
        f'<Override PartName="/xl/{part}.xml" ContentType="{SHEET_TYPE}.{kind}+xml"/>'
    )
