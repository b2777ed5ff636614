"""What the sheets sink makes of being refused: what is not in a tab never counts as delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio
from msgspec import convert

from fleetd.errors import HeldError, RejectedError, TransientError
from fleetd.event import Position, Trip
from fleetd.google import origin_of
from fleetd.sinks.sheets import SINK
from fleetd.sinks.sheets.columns import row_of
from fleetd.sinks.sheets.grid import rows_in
from fleetd.sinks.sheets.wire import Ranges
from fleetd.tasks.deliver import Plan, deliver
from fleetd.when import Zone
from fleetd.world import World, inline
from tests.clouds.book import RefusedError
from tests.clouds.sheets import EMAIL, Call, Cloud
from tests.far_side import FarSide, House, fix, house_in, ids
from tests.providers.sheet_far import Google, google
from tests.sinks.sheeted import BOOK, config_of, rows, sheets, sink, some
from tests.sinks.test_sheets_current import KEEP, seen, speeds, tab
from tests.sinks.things import DAY, entries, entry

FEW: dict[str, Any] = {"columns": {"seq": "seq", "id": "id"}}
NO = "Invalid requests[1].updateCells: no"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sheets() as one:
        yield one


@pytest.fixture
def far() -> Iterator[Google]:
    with google() as one:
        yield one


def refusing(
    cloud: Cloud, title: str, why: str | RefusedError = NO
) -> Callable[[Call], str]:
    """A fault: the tab takes no rows, where it takes its header."""

    def fault(call: Call) -> str:
        asked = call.body.get("requests", ()) if call.write else ()
        starts = [one["updateCells"]["start"] for one in asked if "updateCells" in one]
        found = [one.id for one in cloud.book(BOOK).tabs if one.title == title]
        if any(one["rowIndex"] and one["sheetId"] in found for one in starts):
            raise why if isinstance(why, RefusedError) else RefusedError(why)
        return ""

    return fault


async def at_the_end_of_october(far: Google, house: House) -> None:
    """Three events of October and five of November wait, and then the sink runs."""
    start = datetime(2026, 10, 31, 23, 59, 50, tzinfo=UTC)
    house.world.now = lambda: start + timedelta(seconds=trio.current_time())
    far.cloud.now = lambda: house.world.now().timestamp()
    await house.append(*(fix(n, f"v{n}") for n in range(3)))
    await trio.sleep(20)
    await house.append(*(fix(n, f"v{n}") for n in range(3, 8)))
    world = World(
        now=house.world.now, chance=house.world.chance, in_thread=inline,
        transport=httpx.MockTransport(far), threads=False,
    )  # fmt: skip
    config = config_of(far.cloud, **FEW, monthly=True)
    with trio.move_on_after(3600):
        await deliver(
            "ops", SINK, Plan(batch=100, rate=1.0), config=config, store=house.store,
            world=world, health=house.health,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("refused", "counts", "left"),
    [
        ("2026-10", {"delivered": 5, "dead": 3}, 0),  # others are taken: that is proof
        ("2026-11", {"delivered": 3}, 5),
    ],
)
async def test_a_month_that_is_refused_says_nothing_of_the_other_one(
    autojump_clock, tmp_path, far, refused, counts, left
):
    far.cloud.fault = refusing(far.cloud, f"fleetd {refused}")
    async with house_in(tmp_path, FarSide()) as house:
        await at_the_end_of_october(far, house)

        assert house.counts() == counts
        assert house.waiting() == left
    months = {"2026-10": ids("p", range(3)), "2026-11": ids("p", range(3, 8))}
    for month, events in months.items():
        there = [row["id"] for row in rows(far.cloud.book(BOOK), f"fleetd {month}")]
        assert there == ([] if month == refused else events)


async def test_a_batch_that_is_refused_names_all_of_it_and_proves_nothing(cloud):
    here = origin_of(BOOK, "fleetd")
    echo = Position(
        id="p4", at=DAY, vehicle="v", latitude=1.0, longitude=2.0, flags=(here,)
    )
    async with sink(cloud, **FEW) as write:
        cloud.fault = refusing(cloud, "fleetd")
        with pytest.raises(RejectedError) as caught:
            await write(some([*entries(2, 3), entry(4, echo)]))

    assert list(caught.value.reasons) == [2, 3, 4]
    assert not caught.value.proven


@pytest.mark.parametrize("keys", [{}, {"mode": "upsert", "key": ("id",)}])
async def test_what_is_too_big_for_one_call_goes_in_halves_and_blames_nobody(
    cloud, keys
):
    async with sink(cloud, **FEW, **keys) as write:
        await write(some(entries(1)))
        why = RefusedError("Request payload size exceeds the limit", 413)
        cloud.fault = refusing(cloud, "fleetd", why)
        with pytest.raises(RejectedError) as caught:
            await write(some(entries(2, 3)))

    assert (caught.value.blameless, caught.value.status) == (True, 413)
    assert list(caught.value.reasons) == [2, 3]


def test_a_call_has_fewer_rows_where_there_are_more_columns(cloud):
    wide = {f"c{n}": "location_description" for n in range(120)}
    usual, few = SINK.shaped(config_of(cloud)), config_of(cloud, columns=wide)

    assert usual.batch == 1500
    assert SINK.shaped(few).batch == few.rows_a_call == 247


async def test_what_has_no_row_is_not_taken_beside_what_a_person_changed(cloud):
    async with sink(cloud, **KEEP, conflict="error") as write:
        await write(some([seen(1, "a", 1, 10), seen(2, "b", 1, 20)]))
        tab(cloud).type(1, 2, 55)
        echo = seen(3, "b", 2, 99, flags=(origin_of(BOOK, "fleetd"),))
        batch = [
            echo, seen(4, None, 2, 1), seen(5, "a", 2, 11), seen(6, "a", 3, 12),
            seen(7, "b", 3, 22),
        ]  # fmt: skip
        with pytest.raises(RejectedError) as caught:
            await write(some(batch))

    assert caught.value.proven
    assert list(caught.value.reasons) == [5, 6]  # both are of the row that was changed
    assert caught.value.skipped == {3: "echo", 4: "no_key"}
    assert speeds(cloud) == {"a": 55, "b": 22}


async def test_cells_that_are_protected_hold_the_sink_and_bury_nothing(cloud):
    why = f"{NO} You are trying to edit a protected cell or object."
    async with sink(cloud, **FEW) as write:
        cloud.fault = refusing(cloud, "fleetd", why)
        with pytest.raises(HeldError, match=f"protected: let {EMAIL} edit them"):
            await write(some(entries(1)))


async def test_an_office_file_holds_the_sink_and_says_what_to_make_of_it(cloud):
    def fault(call: Call) -> str:
        raise RefusedError(
            "This operation is not supported for this document", 400,
            "FAILED_PRECONDITION",
        )  # fmt: skip

    cloud.fault = fault
    async with sink(cloud, **FEW) as write:
        with pytest.raises(HeldError, match="save it as a Google Sheet"):
            await write(some(entries(1)))


# answers that are none


@pytest.mark.parametrize(
    "said",
    [{}, [], None, "ok", {"sheets": {}}, {"sheets": []}, {"sheets": [{"title": "x"}]}],
)
async def test_a_200_that_is_not_googles_is_asked_again(cloud, said):
    def answer(request: httpx.Request) -> httpx.Response:
        assert not request.url.path.endswith(":batchUpdate"), "nothing is known of it"
        token = {"access_token": "t", "expires_in": 3599}
        return httpx.Response(200, json=token if request.url.path == "/token" else said)

    world = World(
        transport=httpx.MockTransport(answer), in_thread=inline, threads=False
    )
    async with SINK.open(config_of(cloud, **FEW), world, "") as write:
        with pytest.raises(TransientError, match="not Google's"):
            await write(some(entries(1)))
    with pytest.raises(TransientError, match="not Google's"):
        await SINK.check(config_of(cloud, **FEW), world)


@pytest.mark.parametrize("call", [":batchUpdate", "/values:batchGetByDataFilter"])
async def test_rows_and_changes_that_google_does_not_speak_of_are_none(
    autojump_clock, far, call
):
    async def answer(request: httpx.Request) -> httpx.Response:
        if said and request.url.path.endswith(call):
            return httpx.Response(200, json={"ok": True})
        return await far(request)

    said: list[bool] = []
    world = World(
        now=lambda: datetime.fromtimestamp(far.cloud.now(), UTC),
        transport=httpx.MockTransport(answer), in_thread=inline, threads=False,
    )  # fmt: skip
    async with SINK.open(config_of(far.cloud, **FEW), world, "") as write:
        await write(some(entries(1)))
        said.append(True)
        with pytest.raises(TransientError, match="not Google's"):
            await write(some(entries(2)))
        said.clear()
        await write(some(entries(2)))

    assert [row["seq"] for row in rows(far.cloud.book(BOOK))] == [1, 2]


# names and times that are odd


@pytest.mark.parametrize("title", ["Fleet!2026", "Go!1", "A'B", "plain"])
async def test_a_tab_is_read_where_it_is_whatever_its_title(cloud, title):
    place = {"range": f"'{title}'!A7:B9", "values": [["a"]]}
    for seq in (1, 2, 3):  # each after a start
        async with sink(cloud, **FEW, tab=title) as write:
            await write(some(entries(seq)))

    found = rows_in(convert({"valueRanges": [{"valueRange": place}]}, Ranges))
    assert found == {6: ["a"]}
    assert [row["seq"] for row in rows(cloud.book(BOOK), title)] == [1, 2, 3]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/Chicago"])
@pytest.mark.parametrize("year", [1, 9999])
def test_a_time_at_the_edge_of_the_calendar_has_a_cell(zone, year):
    edge = datetime(year, *((1, 1) if year == 1 else (12, 31, 23, 59)), tzinfo=UTC)
    trip = Trip(id="t", at=DAY, ended_at=edge)
    name, days = row_of(entry(1, trip), ("id", "ended_at"), Zone(zone).info)

    assert name == "t"
    assert round(days / 365.2425) == year - 1900 + (year == 9999)
