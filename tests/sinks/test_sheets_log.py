"""The sheets sink as a log: each event a row, once, whatever becomes of an answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleetd.errors import TransientError
from tests.clouds.sheets import Cloud
from tests.sinks.sheeted import BOOK, rows, sheets, sink, some
from tests.sinks.things import entries

FEW = {"columns": {"seq": "seq", "truck": "vehicle"}}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sheets() as one:
        yield one


def seqs(cloud: Cloud, tab: str = "fleetd") -> list[int]:
    return [row["seq"] for row in rows(cloud.book(BOOK), tab)]


async def test_events_become_rows_below_a_header(cloud):
    async with sink(cloud) as write:
        await write(some(entries(1, 2)))
        await write(some(entries(3)))

    found = rows(cloud.book(BOOK))
    assert len(found) == 3
    assert found[0]["provider"] == "samsara"
    assert found[0]["latitude"] == 1
    assert found[0]["timestamp"] == 46347.5
    tab = cloud.book(BOOK).tab("fleetd")
    assert tab.frozen == 1
    assert tab.hidden_columns == {14}


async def test_a_batch_that_comes_again_is_there_once(cloud):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1, 2)))
        await write(some(entries(1, 2, 3)))
    async with sink(cloud, **FEW) as write:
        await write(some(entries(2, 3, 4)))

    assert seqs(cloud) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "fault", ["reset after", "503 after", "500 after", "reset", "503", "429", "late"]
)
async def test_after_an_answer_that_never_came_the_cursor_says_what_is_there(
    cloud, fault
):
    async with sink(cloud, **FEW) as write:
        await write(some(entries(1)))
        cloud.fault = lambda call: fault if call.write else ""
        with pytest.raises(TransientError):
            await write(some(entries(2, 3)))
        cloud.fault = lambda call: ""
        await write(some(entries(2, 3, 4)))

    assert seqs(cloud) == [1, 2, 3, 4]
