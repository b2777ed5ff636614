"""The sheets sink that keeps one row a key: newest wins, people's cells and columns stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import trio

from fleetd.errors import RejectedError, TransientError
from fleetd.event import Entry, Position, millis
from fleetd.google import print_of
from fleetd.google.marks import NAMED
from tests.clouds.book import Tab
from tests.clouds.sheets import Cloud
from tests.sinks.sheeted import BOOK, rows, sheets, sink, some
from tests.sinks.things import DAY

KEEP: dict[str, Any] = {
    "mode": "upsert",
    "columns": {
        "truck": "vehicle",
        "seen": "at",
        "mph": "speed_mph",
        "who": "driver_name",
    },
    "key": ("vehicle",),
}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sheets() as one:
        yield one


def seen(
    seq: int, truck: str, minute: int, mph: float | None = None, **more: Any
) -> Entry:
    at = DAY + timedelta(minutes=minute)
    fix = Position(
        id=f"p{seq}",
        at=at,
        vehicle=truck,
        latitude=1.0,
        longitude=2.0,
        speed_mph=mph,
        **more,
    )
    return Entry(seq, "north", "samsara", fix, 0, millis(DAY) + seq, "push", 0)


def speeds(cloud: Cloud) -> dict[str, Any]:
    found = rows(cloud.book(BOOK))
    assert len({row["truck"] for row in found}) == len(found), "a truck stands twice"
    return {row["truck"]: row.get("mph") for row in found}


def tab(cloud: Cloud) -> Tab:
    return cloud.book(BOOK).tab("fleetd")


async def test_each_truck_has_one_row_with_its_newest_event(cloud):
    async with sink(cloud, **KEEP) as write:
        await write(
            some([seen(1, "a", 1, 10), seen(2, "b", 1, 20), seen(3, "a", 2, 11)])
        )
        await write(some([seen(4, "b", 2, 21), seen(5, "c", 2, 30)]))

    assert speeds(cloud) == {"a": 11, "b": 21, "c": 30}
    assert rows(cloud.book(BOOK))[0]["seen"] == pytest.approx(46347.5 + 2 / 1440)


async def test_a_replay_or_a_late_backfill_never_moves_a_row_back(cloud):
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "a", 5, 10), seen(2, "b", 5, 20)]))
        await write(some([seen(1, "a", 1, 99)], generation=7))
        await write(some([seen(3, "a", 1, 77), seen(4, "b", 6, 21)]))

    assert speeds(cloud) == {"a": 10, "b": 21}


async def test_what_is_there_already_is_not_written_again(cloud):
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "a", 1, 10)]))
        before = len(cloud.writes())
        await write(some([seen(1, "a", 1, 10)]))

    assert len(cloud.writes()) == before


async def test_nothing_known_clears_a_cell_of_ours(cloud):
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "a", 1, 10, driver_name="Bo")]))
        await write(some([seen(2, "a", 2)]))

    assert rows(cloud.book(BOOK))[0].get("mph") in (None, "")
    assert rows(cloud.book(BOOK))[0].get("who") in (None, "")


async def test_peoples_own_columns_stay_with_their_row(cloud):
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "b", 1, 20), seen(2, "a", 1, 10)]))
        tab(cloud).type(0, 5, "note")
        tab(cloud).type(1, 5, "of b")
        tab(cloud).type(2, 5, "of a")
        tab(cloud).sort(0)
        await write(some([seen(3, "a", 2, 11), seen(4, "b", 2, 21)]))

    assert [(r["truck"], r["mph"], r["note"]) for r in rows(cloud.book(BOOK))] == [
        ("a", 11, "of a"), ("b", 21, "of b"),
    ]  # fmt: skip


async def test_columns_are_found_by_their_headers_wherever_people_move_them(cloud):
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "a", 1, 10)]))
        insert = {
            "range": {
                "sheetId": tab(cloud).id,
                "dimension": "COLUMNS",
                "startIndex": 1,
                "endIndex": 2,
            }
        }
        cloud.book(BOOK).batch_update([{"insertDimension": insert}])
        tab(cloud).type(0, 1, "mine")
        tab(cloud).type(1, 1, "kept")
        await write(some([seen(2, "a", 2, 11), seen(3, "b", 2, 20)]))

    assert speeds(cloud) == {"a": 11, "b": 20}
    assert rows(cloud.book(BOOK))[0]["mine"] == "kept"


@pytest.mark.parametrize(
    ("rule", "speed", "audited"), [("update", 12, 1), ("skip", 55, 1), ("error", 55, 2)]
)
async def test_a_cell_that_a_person_changed_goes_by_the_rule(
    cloud, rule, speed, audited
):
    async with sink(cloud, **KEEP, conflict=rule, audit="Audit") as write:
        await write(some([seen(1, "a", 1, 10, driver_name="Bo"), seen(2, "b", 1, 20)]))
        tab(cloud).type(1, 2, 55)
        for seq, minute, mph in ((3, 2, 11), (5, 3, 12)):
            batch = some(
                [
                    seen(seq, "a", minute, mph, driver_name="Al"),
                    seen(seq + 1, "b", minute, mph),
                ]
            )
            if rule != "error":
                await write(batch)
                continue
            with pytest.raises(
                RejectedError, match="a person changed 'mph' to '55'"
            ) as caught:
                await write(batch)
            assert list(caught.value.reasons) == [seq]

    assert speeds(cloud) == {"a": speed, "b": 12}
    who = {row["truck"]: row.get("who") for row in rows(cloud.book(BOOK))}
    assert who["a"] == ("Bo" if rule == "error" else "Al")
    told = [row for row in rows(cloud.book(BOOK), "Audit") if row["what"] == "conflict"]
    assert len(told) == audited
    assert (told[0]["column"], told[0]["theirs"], told[0]["ours"]) == ("mph", 55, 11)


@pytest.mark.parametrize("rule", ["update", "skip", "error"])
async def test_headers_whose_short_names_are_the_same_are_told_apart(cloud, rule):
    """Of two columns in four thousand; nobody typed into them."""
    columns = {"truck": "vehicle", "Start": "speed_mph", "State Region": "driver_name"}
    assert print_of("Start", 1)[:NAMED] == print_of("State Region", 1)[:NAMED]
    keys = {**KEEP, "columns": columns, "conflict": rule, "audit": "Audit"}
    async with sink(cloud, **keys) as write:
        for seq in range(1, 4):
            one = seen(seq, "a", seq, 10.0 * seq, driver_name=f"Bo {seq}")
            await write(some([one]))

    (row,) = rows(cloud.book(BOOK))
    assert (row["Start"], row["State Region"]) == (30, "Bo 3")
    assert "conflict" not in [one["what"] for one in rows(cloud.book(BOOK), "Audit")]


async def test_a_cell_that_a_person_emptied_stays_empty_with_skip(cloud):
    async with sink(cloud, **KEEP, conflict="skip") as write:
        await write(some([seen(1, "a", 1, 10)]))
        tab(cloud).type(1, 2, None)
        await write(some([seen(2, "a", 2, 11)]))
        await write(some([seen(3, "a", 3, 12)]))

    assert speeds(cloud) == {"a": None}


async def test_a_changed_key_is_written_back_or_left_and_no_second_row_is_made(cloud):
    for rule, name in (("update", "a"), ("skip", "my truck")):
        async with sink(cloud, **KEEP, tab=rule, conflict=rule) as write:
            await write(some([seen(1, "a", 1, 10)]))
            cloud.book(BOOK).tab(rule).type(1, 0, "my truck")
            await write(some([seen(2, "a", 2, 11)]))
            await write(some([seen(3, "a", 3, 12)]))

        assert [(r["truck"], r["mph"]) for r in rows(cloud.book(BOOK), rule)] == [
            (name, 12)
        ]


class Person:
    """Somebody who acts once, just before a write is applied."""

    def __init__(self, cloud: Cloud, *acts: Any) -> None:
        self._cloud, self._acts = cloud, list(acts)
        cloud.before_write = lambda book: (
            self._acts.pop(0)(book.tab("fleetd")) if self._acts else None
        )


async def filled(write: Any, cloud: Cloud, names: str = "dbca") -> None:
    await write(some([seen(n, name, 1, n) for n, name in enumerate(names, 1)]))
    tab(cloud).type(0, 5, "note")
    for row, name in enumerate(names, 1):
        tab(cloud).type(row, 5, f"of {name}")


def notes(cloud: Cloud) -> dict[str, str]:
    return {row["truck"]: row.get("note", "") for row in rows(cloud.book(BOOK))}


async def test_a_sort_in_the_middle_of_a_write_is_put_right_in_the_same_write(cloud):
    async with sink(cloud, **KEEP, audit="Audit") as write:
        await filled(write, cloud)
        Person(cloud, lambda one: one.sort(0))
        await write(
            some([seen(n + 10, name, 2, n + 10) for n, name in enumerate("dbc", 1)])
        )

    assert speeds(cloud) == {"a": 4, "b": 12, "c": 13, "d": 11}
    assert notes(cloud) == {name: f"of {name}" for name in "abcd"}
    told = [
        row
        for row in rows(cloud.book(BOOK), "Audit")
        if row["what"] == "moved_by_person"
    ]
    assert sum(row["rows"] for row in told) > 0


async def test_a_sort_that_nobody_could_put_right_is_by_the_next_start(cloud):
    """The daemon died between its write and its look."""
    async with sink(cloud, **KEEP) as write:
        await filled(write, cloud)
        Person(cloud, lambda one: one.sort(0))
        calls = len(cloud.calls)
        cloud.fault = lambda call: "reset" if call.number >= calls + 2 else ""
        with pytest.raises(TransientError):
            await write(
                some(
                    [seen(n + 10, name, 2, n + 10) for n, name in enumerate("dbca", 1)]
                )
            )
        cloud.fault = lambda call: ""
        assert speeds(cloud) != {"a": 14, "b": 12, "c": 13, "d": 11}
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(20, "e", 3, 50)]))

    assert speeds(cloud) == {"a": 14, "b": 12, "c": 13, "d": 11, "e": 50}
    assert notes(cloud) == {name: f"of {name}" for name in "abcd"} | {"e": ""}


async def test_what_a_write_covered_before_the_daemon_died_is_put_back(cloud, tmp_path):
    """`a` was sorted to where `d` had been read, and is in no later event."""
    async with sink(cloud, str(tmp_path), **KEEP) as write:
        await filled(write, cloud)
        Person(cloud, lambda one: one.sort(0))
        calls = len(cloud.calls)
        cloud.fault = lambda call: "reset" if call.number >= calls + 2 else ""
        with pytest.raises(TransientError):
            await write(some([seen(11, "d", 2, 11)]))
        cloud.fault = lambda call: ""
        assert speeds(cloud)["a"] == 11
    async with sink(cloud, str(tmp_path), **KEEP) as write:
        await write(some([seen(11, "d", 2, 11)]))

    assert speeds(cloud) == {"a": 4, "b": 2, "c": 3, "d": 11}
    assert notes(cloud) == {name: f"of {name}" for name in "abcd"}
    assert list(tmp_path.iterdir()) == []


async def test_rows_that_a_write_covered_before_the_daemon_died_are_put_back_in_a_log(
    cloud, tmp_path
):
    few: dict[str, Any] = {"columns": {"seq": "seq"}}
    async with sink(cloud, str(tmp_path), **few) as write:
        await write(some([seen(n, "a", n) for n in range(1, 6)]))
        Person(cloud, lambda one: one.rows.__setitem__(slice(1, 1), [{}, {}]))
        calls = len(cloud.calls)
        cloud.fault = lambda call: "reset" if call.number >= calls + 2 else ""
        with pytest.raises(TransientError):
            await write(some([seen(6, "a", 6)]))
        cloud.fault = lambda call: ""
        assert 4 not in [row["seq"] for row in rows(cloud.book(BOOK))]
    async with sink(cloud, str(tmp_path), **few) as write:
        await write(some([seen(6, "a", 6), seen(7, "a", 7)]))

    assert sorted(row["seq"] for row in rows(cloud.book(BOOK))) == list(range(1, 8))


async def test_rows_inserted_or_removed_in_the_middle_of_a_write_lose_nothing(cloud):
    def insert(one: Tab) -> None:
        one.rows[1:1] = [{}, {}]

    def remove(one: Tab) -> None:
        del one.rows[2]

    for act in (insert, remove):
        async with sink(cloud, **KEEP) as write:
            await filled(write, cloud, "dbca")
            Person(cloud, act)
            await write(
                some(
                    [seen(n + 10, name, 2, n + 10) for n, name in enumerate("dacef", 1)]
                )
            )

        want = {"a": 12, "c": 13, "d": 11, "e": 14, "f": 15}
        assert {name: mph for name, mph in speeds(cloud).items() if name != "b"} == want
        cloud.book(BOOK).tabs = [
            one for one in cloud.book(BOOK).tabs if one.title != "fleetd"
        ]
        cloud.book(BOOK).metadata.clear()


@pytest.mark.parametrize("fault", ["reset after", "503 after", "reset", "late"])
async def test_an_answer_that_never_came_leaves_one_row_a_key(cloud, fault):
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "a", 1, 10)]))
        cloud.fault = lambda call: fault if call.write else ""
        with pytest.raises(TransientError):
            await write(some([seen(2, "a", 2, 11), seen(3, "b", 2, 20)]))
        cloud.fault = lambda call: ""
        await write(some([seen(2, "a", 2, 11), seen(3, "b", 2, 20)]))
        await write(some([seen(4, "a", 3, 12)]))

    assert speeds(cloud) == {"a": 12, "b": 20}


async def test_what_arrives_after_it_was_repeated_is_refused_whole(cloud):
    cloud.late = 1.0
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "a", 1, 10)]))
        cloud.fault = lambda call: "late" if call.write else ""
        with pytest.raises(TransientError):
            await write(some([seen(2, "a", 2, 11)]))
        cloud.fault = lambda call: ""
        await write(some([seen(2, "a", 2, 11)]))
        await write(some([seen(3, "a", 3, 12)]))
        with trio.fail_after(10):
            while 400 not in cloud.refused:  # noqa: ASYNC110  a thread of the fake
                await trio.sleep(0.05)

    assert speeds(cloud) == {"a": 12}


async def test_an_event_without_its_key_has_no_row_to_go_to(cloud):
    async with sink(cloud, **KEEP) as write:
        receipt = await write(some([seen(1, None, 1, 10), seen(2, "a", 1, 10)]))  # type: ignore[arg-type]

    assert receipt.skipped == {1: "no_key"}
    assert speeds(cloud) == {"a": 10}


async def test_a_row_that_was_blanked_before_we_wrote_is_whole_again(cloud):
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "a", 1, 10), seen(2, "b", 1, 20)]))
        pending = [{}]
        cloud.before_write = lambda book: (
            tab(cloud).rows.__setitem__(1, pending.pop()) if pending else None
        )
        await write(some([seen(3, "a", 2, 11)]))

    assert speeds(cloud) == {"a": 11, "b": 20}


@pytest.mark.parametrize("flags", [("clock_suspect",), ()])
async def test_a_clock_that_is_ahead_does_not_hold_a_row_for_ever(cloud, flags):
    """Nothing is flagged while our own clock is suspect."""
    async with sink(cloud, **KEEP) as write:
        await write(some([seen(1, "a", 9_000_000, 10, flags=flags)]))
        await write(some([seen(2, "a", 1, 11)]))

    assert speeds(cloud) == {"a": 11}
