"""How things look: tables and colour on a terminal, plain aligned lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

import msgspec

from fleetd.errors import UsageError

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
COLOURS: Final = {
    "healthy": "green", "ok": "green", "idle": "green", "sending": "cyan",
    "running": "cyan", "done": "green", "taken": "green", "degraded": "yellow",
    "waiting": "yellow", "paused": "yellow", "silent": "yellow", "later": "yellow",
    "suspect": "yellow", "unproven": "yellow", "failing": "red", "held": "red",
    "unhealthy": "red", "stopped": "red", "never": "red", "failed": "red", "off": "dim",
    "lost": "red", "unknown": "yellow", "complete": "green", "cancelled": "dim",
}  # fmt: skip
PROSE: Final = {
    "what": 40,
    "why": 40,
    "url": 40,
}  # what these columns want at the least


def on_terminal() -> bool:
    """Whether a person reads this."""
    return sys.stdout.isatty()


def console() -> Any:
    """A rich console on standard output."""
    from rich.console import Console  # 40 ms that only a terminal needs

    return Console(highlight=False, soft_wrap=False)


def state(word: str) -> str:
    """A state in its colour, as rich reads it."""
    colour = COLOURS.get(word)
    return f"[{colour}]{word}[/{colour}]" if colour else escaped(word)


def escaped(text: str) -> str:
    """Text whose brackets are no colours, and that moves no cursor."""
    return printable(text).replace("[", r"\[")


def printable(text: str) -> str:
    """Text without control characters: what came from outside commands no terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}"
                   for c in text)  # fmt: skip


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: str = "",
    spare: Sequence[str] = (), *, headed: bool = True,
) -> None:  # fmt: skip
    """Print rows under their heads; `right` has an `r` for each column of numbers.

    A terminal has the heads also where they are not asked for: it may lack columns.
    """
    sides = (right + "l" * len(heads))[: len(heads)]
    if on_terminal():
        console().print(rich_table(heads, rows, sides, spare))
    else:
        for line in islice(plain(heads, rows, sides), 0 if headed else 1, None):
            print(line)
    sys.stdout.flush()


def plain(
    heads: Sequence[str], rows: Sequence[Sequence[str]], sides: str
) -> Iterator[str]:
    """The same as aligned lines."""
    listed = [tuple(heads), *(tuple(printable(one) for one in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
    for row in listed:
        cells = [
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def narrowed(
    heads: Sequence[str], rows: Sequence[Sequence[str]], sides: str,
    spare: Sequence[str], width: int,
) -> tuple[list[str], list[list[str]], str]:  # fmt: skip
    """The same without as many of the spare columns as it takes to fit."""
    columns = list(zip(zip(sides, heads, strict=True), *rows, strict=True))
    for head in spare:
        needs = (
            min(PROSE.get(head, 1 << 16), max(len(head), *map(len, cells)))
            for (_, head), *cells in columns
        )
        if sum(needs) + 2 * (len(columns) - 1) <= width:
            break
        columns = [one for one in columns if one[0][1] != head]
    kept = [head for (_, head), *_ in columns]
    cells = [list(row) for row in zip(*(one[1:] for one in columns), strict=True)]
    return kept, cells, "".join(side for (side, _), *_ in columns)


def rich_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], sides: str,
    spare: Sequence[str] = (),
) -> Any:  # fmt: skip
    """A table for a terminal, states in colour; spare columns go where it is narrow.

    Nothing but prose is broken into lines: half a name or a time tells nobody anything.
    What is cut off all the same ends in dots: a number without its end is another one.
    """
    from rich.table import Table

    if spare:
        heads, rows, sides = narrowed(heads, rows, sides, spare, console().width)
    made = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim"
    )
    for head, side in zip(heads, sides, strict=True):
        made.add_column(
            head,
            justify="right" if side == "r" else "left",
            no_wrap=head not in PROSE,
            overflow="fold" if head in PROSE else "ellipsis",
        )
    for row in rows:
        made.add_row(*(state(one) if one in COLOURS else escaped(one) for one in row))
    return made


def many(n: int) -> str:
    """1 204 with a space that keeps the digits apart."""
    return f"{n:,}".replace(",", " ")


def size(n: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return ""


def span(seconds: float | None) -> str:
    """`4 s`, `12 min`, `3 h 10 min`, `2 d 4 h`."""
    if seconds is None:
        return "-"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < DAY:
        return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
    return f"{seconds // DAY:.0f} d {seconds % DAY // HOUR:.0f} h"


def ago(moment: str | None, now: str) -> str:
    """How long ago a printed time was."""
    if moment is None:
        return "never"
    return f"{span(max(0.0, apart(moment, now)))} ago"


def apart(earlier: str, later: str) -> float:
    """Seconds between two printed times."""
    first, second = (datetime.fromisoformat(one) for one in (earlier, later))
    return (second - first).total_seconds()


def document(found: Any) -> None:
    """One JSON document."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    sys.stdout.buffer.flush()


def lines(found: Iterable[Any]) -> None:
    """One JSON object a line."""
    for one in found:
        sys.stdout.buffer.write(msgspec.json.encode(one) + b"\n")
    sys.stdout.buffer.flush()


def agreed(question: str, *, yes: bool) -> bool:
    """Whether the person says so; a script has to say so before."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{question} Add --yes to do it")
    sys.stderr.write(f"{question} Do it? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def params(chosen: Any, names: Iterable[str]) -> Mapping[str, str]:
    """The options of a command as parameters of a question."""
    found = {}
    for name in names:
        value = getattr(chosen, name, None)
        if value not in (None, False, ""):
            found[name] = "1" if value is True else str(value)
    return found
