"""The sheets sink among people who move columns while it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from fleetd.event import Entry, Position
from tests.clouds.book import Book
from tests.clouds.sheets import Cloud
from tests.sinks.sheeted import BOOK, rows, sheets, sink, some
from tests.sinks.things import DAY, entry

FEW: dict[str, Any] = {"columns": {"seq": "seq", "truck": "vehicle", "at": "at"}}
CURRENT = {**FEW, "mode": "upsert", "key": ("vehicle",)}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sheets() as one:
        yield one


def seen(seq: int, truck: str) -> Entry:
    at = DAY + timedelta(minutes=seq)
    return entry(seq, Position(id=f"p{seq}", at=at, vehicle=truck))


def inserted(column: int) -> Callable[[Book], None]:
    def act(book: Book) -> None:
        place = {
            "sheetId": book.tab("fleetd").id, "dimension": "COLUMNS",
            "startIndex": column, "endIndex": column + 1,
        }  # fmt: skip
        book.batch_update([{"insertDimension": {"range": place}}])

    return act


def dragged(**to: int) -> Callable[[Book], None]:
    def act(book: Book) -> None:
        tab = book.tab("fleetd")
        shift = {int(column[1:]): there for column, there in to.items()}
        rest = {n: n for n in range(tab.columns) if n not in shift}
        book._move_columns(tab, {**rest, **shift})

    return act


ACTS = {
    "insert on the left": inserted(0),
    "insert between": inserted(1),
    "insert before the mark": inserted(3),
    "swap two": dragged(c0=1, c1=0),
    "drag the first to the end": dragged(c0=3, c1=0, c2=1, c3=2),
}
WHEN = ("before_write", "after_read")


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("act", ACTS)
async def test_rows_of_a_log_stand_below_their_headers_wherever_those_are_dragged(
    cloud, act, when
):
    async with sink(cloud, **FEW) as write:
        await write(some([seen(1, "a"), seen(2, "b"), seen(3, "c")]))
        pending = [ACTS[act]]
        setattr(cloud, when, lambda book: pending.pop()(book) if pending else None)
        await write(some([seen(4, "d"), seen(5, "e")]))
        await write(some([seen(6, "f")]))

    found = rows(cloud.book(BOOK))
    assert [(one["seq"], one["truck"]) for one in found] == [*enumerate("abcdef", 1)]
    assert all(len(one) == 4 for one in found)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("act", ACTS)
async def test_rows_kept_current_stand_below_their_headers_wherever_those_are_dragged(
    cloud, act, when
):
    async with sink(cloud, **CURRENT) as write:
        await write(some([seen(1, "a"), seen(2, "b"), seen(3, "c")]))
        pending = [ACTS[act]]
        setattr(cloud, when, lambda book: pending.pop()(book) if pending else None)
        await write(some([seen(4, "a"), seen(5, "d")]))
        await write(some([seen(6, "c"), seen(7, "a")]))

    found = rows(cloud.book(BOOK))
    assert {one["truck"]: one["seq"] for one in found} == {
        "a": 7, "b": 2, "c": 6, "d": 5,
    }  # fmt: skip
    assert len(found) == 4
    assert all(len(one) == 4 for one in found)


async def test_a_replay_in_place_finds_what_is_there_after_columns_were_moved(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some([seen(1, "a"), seen(2, "b")]))
        inserted(0)(cloud.book(BOOK))
        again = [seen(1, "a"), seen(2, "b"), seen(3, "c")]
        await write(some(again, generation=7, in_place=True))

    assert [one["seq"] for one in rows(cloud.book(BOOK))] == [1, 2, 3]
