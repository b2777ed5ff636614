"""What to change so that each key's row is current: pure, from the rows as they were read.

A row is whose its key cells say. Updates never write key cells, so that a sort between
our look and our write shows: then the mark, which goes with the values, names another
key than the cells, and the values are put where they belong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fleetd.google import MARK, Mark, key_of, print_of
from fleetd.google.marks import canonical, left_of
from fleetd.sinks.sheets.grid import Written

Cells = Mapping[str, Any]  # by header


class Line(Struct, frozen=True):
    """A row as it was read: our cells of it, whose it is, and the mark it bears."""

    row: int
    cells: Cells
    key: str  # of the key cells; empty where they are blank
    mark: Mark | None

    @property
    def astray(self) -> bool:
        """Whether the mark is another row's."""
        return self.mark is not None and self.mark.key != self.key


class Wanted(Struct, frozen=True):
    """What should stand in the row of a key; its prints are those of all its cells."""

    key: str
    cells: Cells
    stamp: tuple[int, int, int]

    def mark(self, without: Iterable[str] = ()) -> Mark:
        """The mark of a row that holds these, but for the columns left to people."""
        left = set(without)
        prints = (
            left_of(name) if name in left else print_of(name, one)
            for name, one in self.cells.items()
        )
        return Mark(self.key, *self.stamp, prints=frozenset(prints))


class Before(Struct, frozen=True):
    """What stood in a tab before a write, where that put what, and the marks it wrote."""

    memory: dict[str, Wanted] = {}
    columns: dict[str, int] = {}
    marks: list[str] = []

    def below(self, headers: Iterable[str]) -> Before:
        """The same for the headers of now: the config may have had others."""
        names = [*headers]
        memory = {
            key: replace(one, cells={name: one.cells.get(name) for name in names})
            for key, one in self.memory.items()
        }
        return replace(self, memory=memory)

    def rows(self) -> dict[str, Written]:
        """The rows that were written, by the marks written; nothing stood in new ones."""
        marks = {text: mark for text in self.marks if (mark := Mark.read(text))}
        known = {text: self.memory.get(mark.key) for text, mark in marks.items()}
        return {
            text: Written(
                marks[text], {**one.cells, MARK: one.mark().written()} if one else {}
            )
            for text, one in known.items()
        }


class Conflict(Struct, frozen=True):
    """A cell of ours that a person changed since."""

    key: str
    row: int
    header: str
    theirs: Any
    ours: Any


class Changes(Struct):
    """Cells to write by row, rows to add, and what is to be told about it."""

    updates: dict[int, dict[str, Any]]
    added: list[dict[str, Any]]
    conflicts: list[Conflict]
    moved: int = 0

    @property
    def empty(self) -> bool:
        return not (self.updates or self.added)


def lines_in(
    rows: Mapping[int, Sequence[Any]], layout: Mapping[str, int], keys: Sequence[str]
) -> list[Line]:
    """Every row below the header that holds anything of ours."""
    found = []
    for row in sorted(rows):
        cells = {name: _at(rows[row], column) for name, column in layout.items()}
        mark = Mark.read(cells.pop(MARK))
        if row and (mark or any(one is not None for one in cells.values())):
            parts = [cells[name] for name in keys]
            blank = all(one is None for one in parts)
            found.append(Line(row, cells, "" if blank else key_of(parts), mark))
    return found


def _at(row: Sequence[Any], column: int) -> Any:
    found = row[column] if column < len(row) else None
    return None if found == "" else found


def owners(
    lines: Sequence[Line], known: Collection[str] = frozenset()
) -> dict[str, Line]:
    """The row of each key, the upper of two copies; `known` are keys that rows may have.

    Where mark and key cells differ, a row is whose its cells say if values moved (their
    own row is another), and whose its mark says if a person typed over the cells.
    """
    held = {one.key for one in lines if one.key}
    found: dict[str, Line] = {}
    for line in lines:
        if line.mark and not line.astray:
            found.setdefault(line.key, line)
    astray = [one for one in lines if one.astray]
    for line in astray:
        moved = line.key in known or (line.mark and line.mark.key in held)
        if line.key and moved:
            found.setdefault(line.key, line)
    for line in astray:
        if line.mark and line.mark.key not in held and found.get(line.key) is not line:
            found.setdefault(line.mark.key, line)
    for line in lines:
        if line.key and line.mark is None:
            found.setdefault(line.key, line)
    return found


def memory_of(
    lines: Sequence[Line], wanted: Iterable[Wanted] = ()
) -> dict[str, Wanted]:
    """The values of every key as they are known: where its mark stands, or what is new."""
    found: dict[str, Wanted] = {}
    for line in lines:
        if line.mark:
            known = Wanted(line.mark.key, line.cells, line.mark.stamp)
            found[known.key] = _newer(found.get(known.key), known)
    for one in wanted:
        found[one.key] = _newer(found.get(one.key), one)
    return found


def _newer(one: Wanted | None, other: Wanted) -> Wanted:
    return other if one is None or other.stamp >= one.stamp else one


def plan(
    lines: Sequence[Line], wanted: Mapping[str, Wanted], keys: Sequence[str], rule: str
) -> Changes:
    """Bring the rows of these keys up to date; what is newer there stays."""
    there = owners(lines, wanted)
    changes = Changes({}, [], [])
    heal(lines, there, memory_of(lines), keys, changes)
    for key, one in wanted.items():
        line = there.get(key)
        if line is None:
            changes.added.append({**one.cells, MARK: one.mark().written()})
        elif (
            line.row in changes.updates
            or line.mark is None
            or line.mark.stamp < one.stamp
        ):
            _update(line, one, keys, rule, changes)
    return changes


def _update(
    line: Line, one: Wanted, keys: Sequence[str], rule: str, changes: Changes
) -> None:
    """The cells of a row that differ, but for those that a person is to keep."""
    healed = changes.updates.get(line.row)
    if healed is not None:  # its values were another's: nobody typed them
        if Mark.read(healed[MARK]).stamp < one.stamp:  # type: ignore[union-attr]
            cells = {
                name: value for name, value in one.cells.items() if name not in keys
            }
            changes.updates[line.row] = {**cells, MARK: one.mark().written()}
        return
    new, left = {}, []
    for name, value in one.cells.items():
        theirs = line.cells.get(name)
        if canonical(theirs) == canonical(value):
            continue
        if is_edited(line, name, theirs):
            conflict = Conflict(one.key, line.row, name, theirs, value)
            if rule != "skip" or not is_left(line, name):  # that is told once
                changes.conflicts.append(conflict)
            if rule == "error":
                return
            if rule == "skip":
                left.append(name)
                continue
        new[name] = value
    mark = one.mark(left)
    if new or line.mark is None or mark.stamp > line.mark.stamp:
        changes.updates[line.row] = {**new, MARK: mark.written()}


def is_edited(line: Line, name: str, theirs: Any) -> bool:
    """Whether what stands there is a person's: neither what we wrote nor never ours."""
    if line.mark is None or not line.mark.knows(name):
        return theirs is not None
    return not line.mark.holds(name, theirs)


def is_left(line: Line, name: str) -> bool:
    """Whether it was a person's before, and left; in a row taken over all of it is."""
    mark = line.mark
    return mark is None or mark.left(name) or not mark.knows(name)


def heal(
    lines: Sequence[Line], there: Mapping[str, Line], memory: Mapping[str, Wanted],
    keys: Sequence[str], changes: Changes,
) -> None:  # fmt: skip
    """Put values back into the row whose key cells they belong to."""
    for line in lines:
        if line.mark is None:
            continue
        if there.get(line.key) is line:
            known = memory.get(line.key, Wanted(line.key, {}, (0, 0, 0)))
            if line.astray or line.mark.stamp < known.stamp:
                changes.updates[line.row] = _restored(line, known, keys)
                changes.moved += 1
        elif (
            not line.key and line.mark.key in there and there[line.mark.key] is not line
        ):
            changes.updates[line.row] = dict.fromkeys((*line.cells, MARK))
            changes.moved += 1  # a row that was blank when we wrote into it


def _restored(line: Line, known: Wanted, keys: Sequence[str]) -> dict[str, Any]:
    """A row's own values; where nobody knows them any more, the next event brings new ones."""
    cells = {name: known.cells.get(name) for name in line.cells if name not in keys}
    own = Wanted(line.key, {**line.cells, **cells}, known.stamp)
    return {**cells, MARK: own.mark().written()}


def repairs(
    lines: Sequence[Line], memory: Mapping[str, Wanted], keys: Sequence[str]
) -> Changes:
    """After a write: values that went astray, and rows that lie under others of ours."""
    changes = Changes({}, [], [])
    there = owners(lines, memory)
    heal(lines, there, memory, keys, changes)
    for key, one in memory.items():
        line = there.get(key)
        if key_of(one.cells[name] for name in keys) != key:
            continue
        if line is None:
            changes.added.append({**one.cells, MARK: one.mark().written()})
            changes.moved += 1
        elif not line.key:  # a person blanked it before we wrote the rest
            changes.updates[line.row] = {**one.cells, MARK: one.mark().written()}
            changes.moved += 1
    return changes
