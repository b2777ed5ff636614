"""The sheets sink among people who move columns while it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from fleetd.errors import TransientError
from fleetd.event import Entry, Position
from fleetd.sinks.contract import Batch, Write
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


async def taken(write: Write, batch: Batch) -> None:
    """What a sink asks to be given again, it is given again."""
    try:
        await write(batch)
    except TransientError:
        await write(batch)


ACTS = {
    "insert on the left": inserted(0),
    "insert between": inserted(1),
    "insert before the mark": inserted(3),
    "swap two": dragged(c0=1, c1=0),
    "drag the first to the end": dragged(c0=3, c1=0, c2=1, c3=2),
}
WHEN = ("before_write", "after_read")


def disturb(cloud, when, act):
    """Have somebody do so once, in that moment."""
    pending = [ACTS[act]]
    setattr(cloud, when, lambda book: pending.pop()(book) if pending else None)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("act", ACTS)
async def test_rows_of_a_log_stand_below_their_headers_wherever_those_are_dragged(
    cloud, act, when
):
    async with sink(cloud, **FEW) as write:
        await write(some([seen(1, "a"), seen(2, "b"), seen(3, "c")]))
        disturb(cloud, when, act)
        await taken(write, some([seen(4, "d"), seen(5, "e")]))
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
        disturb(cloud, when, act)
        await taken(write, some([seen(4, "a"), seen(5, "d")]))
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


@pytest.mark.parametrize("keys", [FEW, CURRENT], ids=["log", "current"])
@pytest.mark.parametrize("act", ACTS)
async def test_rows_are_mended_by_the_next_daemon_where_this_one_died(
    cloud, tmp_path, act, keys
):
    """Columns were moved, the rows written below them, and nobody looked."""
    book, place = cloud.book(BOOK), str(tmp_path)
    async with sink(cloud, place, **keys) as write:
        await write(some([seen(1, "a"), seen(2, "b")]))
        pending = [ACTS[act]]
        cloud.before_write = lambda book: pending.pop()(book) if pending else None
        cloud.fault = lambda call: "reset after" if call.write else ""
        with pytest.raises(TransientError):
            await write(some([seen(3, "a"), seen(4, "c")]))
    cloud.fault = lambda _: ""
    async with sink(cloud, place, **keys) as write:
        await write(some([seen(3, "a"), seen(4, "c")]))

    found = [(one["seq"], one["truck"], len(one)) for one in rows(book)]
    current = [(3, "a", 4), (2, "b", 4), (4, "c", 4)]
    whole = [(1, "a", 4), (2, "b", 4), (3, "a", 4), (4, "c", 4)]
    assert found == (whole if keys is FEW else current)


@pytest.mark.parametrize("keys", [FEW, CURRENT], ids=["log", "current"])
@pytest.mark.parametrize("act", [dragged(c0=1, c1=0), dragged(c1=3, c2=1, c3=2)])
async def test_what_people_wrote_stays_where_columns_are_dragged_after_a_write(
    cloud, tmp_path, act, keys
):
    """Nobody looked since: the rows are right, and the notes beside them are theirs."""
    book = cloud.book(BOOK)
    async with sink(cloud, str(tmp_path), **keys) as write:
        await write(some([seen(1, "a"), seen(2, "b")]))
        inserted(1)(book)
        for row, text in enumerate(["note", *"abcde"]):
            book.tab("fleetd").type(row, 1, text)
        cloud.fault = lambda call: "reset after" if call.write else ""
        with pytest.raises(TransientError):
            await write(some([seen(3, "a"), seen(4, "c")]))
        cloud.fault = lambda _: ""
        act(book)
        await write(some([seen(3, "a"), seen(4, "c")]))

    found = [(one["note"], one.get("seq")) for one in rows(book)]
    current = [("a", 3), ("b", 2), ("c", 4), ("d", None), ("e", None)]
    whole = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", None)]
    assert found == (whole if keys is FEW else current)
