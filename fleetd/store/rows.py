"""Multi-row statements: one per table and commit, in a few sizes that stay prepared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import apsw

SIZES = (512, 64, 8, 1)  # 512 rows of 12 columns still fit apsw's cache of statements


@cache
def _statement(head: str, width: int, rows: int, tail: str) -> str:
    row = "(" + ",".join("?" * width) + ")"
    return f"{head} VALUES {','.join([row] * rows)} {tail}"


def spread(
    db: apsw.Connection, head: str, rows: Sequence[tuple[Any, ...]], tail: str = ""
) -> None:
    """Run `head VALUES (…),(…) tail` over all rows, as many at a time as there are.

    Row by row the writer would need the interpreter's lock at each step, which a busy
    event loop gives up only now and then.
    """
    if rows:
        pour(db, head, len(rows[0]), [value for row in rows for value in row], tail)


def pour(
    db: apsw.Connection, head: str, width: int, flat: list[Any], tail: str = ""
) -> None:
    """The same over the values of all rows one after the other, `width` a row."""
    at, left = 0, len(flat) // width
    for size in SIZES:
        while left >= size:
            upto = at + size * width
            db.execute(_statement(head, width, size, tail), flat[at:upto])
            at, left = upto, left - size


def gather(
    db: apsw.Connection, head: str, keys: Sequence[Any], tail: str = ""
) -> Iterator[tuple[Any, ...]]:
    """Run `head (?,?,…) tail` over all keys and give the rows it finds."""
    for size, chunk in _chunks(keys):
        marks = ",".join("?" * size)
        yield from db.execute(f"{head} ({marks}) {tail}", list(chunk))


def _chunks(rows: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    at = 0
    for size in SIZES:
        while len(rows) - at >= size:
            yield size, rows[at : at + size]
            at += size
