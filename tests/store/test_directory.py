"""Facts and directory records: known when they are on the disk, and told once a change."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from fleetd.directory import KEPT, Directory
from fleetd.errors import FullError
from fleetd.event import Driver, Position, millis, unpack
from tests.conftest import MORNING
from tests.store.deeds import appended, fix, opened, put, rows, stored, truck

NOON = MORNING + timedelta(hours=6)
VIN = "1FTFW1ET5DFC10312"


async def numbers(store):
    found = [
        unpack(body) for (body,) in rows(store, "SELECT body FROM events ORDER BY seq")
    ]
    return [one.number for one in found]


async def test_a_record_is_told_when_it_changes_returns_and_changes_again(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        for number in ("A", "A", "B", "B", "A", "A", "B", "A"):
            await put(store, truck(number))

        assert await numbers(store) == ["A", "B", "A", "B", "A"]


async def test_the_same_over_restarts(autojump_clock, tmp_path, world):
    for number in ("A", "B", "A", "A", "B"):
        async with opened(tmp_path, world) as store:
            await put(store, truck(number))
    async with opened(tmp_path, world) as store:
        assert await numbers(store) == ["A", "B", "A", "B"]


async def test_one_listing_twice_before_the_first_is_on_the_disk_is_one_change(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, truck("A"))
        both = [appended(store, truck("B")), appended(store, truck("B"))]
        for one in both:
            await store.append(one)

        assert await numbers(store) == ["A", "B"]


async def test_a_change_and_its_return_in_one_body_are_two_changes(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, truck("A"))
        await put(store, truck("B"), truck("A"))
        await put(store, truck("B", revision=7), truck("A", revision=8))

        assert await numbers(store) == ["A", "B", "A", "B", "A"]
        assert store.directory.known("north", "v1", "number", 1 << 60) == "A"


async def test_what_was_read_before_another_change_landed_is_judged_beside_it(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, truck("A"))
        read_while_a_stood = [appended(store, truck("B")), appended(store, truck("A"))]
        for one in read_while_a_stood:
            await store.append(one)

        assert await numbers(store) == ["A", "B", "A"]


async def test_an_older_copy_that_comes_late_does_not_stand(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, truck("new", revision=5))
        await put(store, truck("old", revision=3))
        before = store.directory.record("north", 16, "v1")
    async with opened(tmp_path, world) as store:
        after = store.directory.record("north", 16, "v1")

        assert before.revision == after.revision == 5
        assert before == after


async def test_later_facts_do_not_rewrite_history(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        await put(store, fix(1, at=NOON))
        await put(store, truck("T-1", at=MORNING, vin=VIN))
        await put(store, fix(2, at=NOON))
        await put(store, truck("T-2", at=NOON + timedelta(hours=1), vin=VIN))
        await put(store, fix(3, at=NOON))
        await put(store, fix(4, at=NOON + timedelta(hours=2)))
        found = [
            unpack(body)
            for (body,) in rows(store, "SELECT body FROM events ORDER BY seq")
        ]
        fixes = [
            (one.id, one.number, one.vin) for one in found if isinstance(one, Position)
        ]

        assert fixes == [
            ("p1", None, None), ("p2", "T-1", VIN), ("p3", "T-1", VIN), ("p4", "T-2", VIN),
        ]  # fmt: skip


async def test_a_first_listing_without_times_holds_for_what_was_driven_before_it(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        await put(store, truck("T-1", vin=VIN, driver="d1", driver_name="Ana"))
        await put(store, fix(1, at=MORNING - timedelta(days=6)))
        await put(store, truck("T-2", vin=VIN))
        await put(store, fix(2, at=MORNING - timedelta(days=6)))
        await put(store, fix(3, at=MORNING + timedelta(hours=1)))

        assert await fixes(store) == [
            ("p1", "T-1", VIN), ("p2", "T-1", VIN), ("p3", "T-2", VIN),
        ]  # fmt: skip
        assert (
            store.directory.known("north", "v1", "driver", millis(MORNING) - 1) is None
        )


async def test_a_new_number_holds_from_when_it_was_told_and_not_since_the_unit_is_known(
    autojump_clock, tmp_path, world
):
    known = MORNING - timedelta(days=300)
    async with opened(tmp_path, world) as store:
        await put(store, truck("T-1", at=MORNING, since=known))
        await put(store, truck("T-2", at=NOON, since=known))
        await put(store, fix(1, at=MORNING - timedelta(days=6)))
        await put(store, fix(2, at=MORNING - timedelta(days=301)))
        await put(store, fix(3, at=NOON))

        assert await fixes(store) == [
            ("p1", "T-1", None), ("p2", None, None), ("p3", "T-2", None),
        ]  # fmt: skip


async def fixes(store):
    found = [
        unpack(body) for (body,) in rows(store, "SELECT body FROM events ORDER BY seq")
    ]
    return [(one.id, one.number, one.vin) for one in found if isinstance(one, Position)]


async def test_facts_are_the_same_after_a_restart(autojump_clock, tmp_path, world):
    async with opened(tmp_path, world) as store:
        await put(store, truck("T-1", at=MORNING, vin=VIN))
    async with opened(tmp_path, world) as store:
        await put(store, fix(1, at=NOON))
        found = unpack(rows(store, "SELECT body FROM events ORDER BY seq DESC")[0][0])

        assert (found.number, found.vin) == ("T-1", VIN)


async def test_a_fact_that_did_not_reach_the_disk_is_not_known(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        store.log._filled_up("by a test")
        with pytest.raises(FullError):
            await put(store, truck("T-1", at=MORNING))

        assert store.directory.known("north", "v1", "number", millis(NOON)) is None
        assert stored(store) == []


@given(
    facts=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=40
    ),
    asked=st.integers(-1, 31),
)
def test_the_newest_fact_no_later_than_the_fix_is_the_one(facts, asked):
    directory, plain = Directory(), {}
    for at, value in facts:
        directory.put("north", "v1", "number", at, value)
        plain[at] = value
    fitting = [at for at in plain if at <= asked]
    wanted = plain[max(fitting)] if fitting else None

    assert directory.known("north", "v1", "number", asked) == wanted


def test_facts_of_one_name_are_bounded():
    directory = Directory()
    for at in range(KEPT * 3):
        directory.put("north", "v1", "number", at, str(at))

    assert directory.known("north", "v1", "number", 10**9) == str(KEPT * 3 - 1)
    assert directory.known("north", "v1", "number", KEPT) is None


async def test_a_page_teaches_each_fact_once(autojump_clock, tmp_path, world):
    def at(minute, state):
        return fix(minute, at=MORNING + timedelta(minutes=minute), engine_state=state)

    states = ["Off"] * 50 + ["On"] * 50 + ["Off"] * 20
    async with opened(tmp_path, world) as store:
        await put(store, *[at(minute, one) for minute, one in enumerate(states)])

        found = rows(store, "SELECT at_ms, value FROM facts WHERE name = 'engine'")
        morning = millis(MORNING)
        assert [((at_ms - morning) // 60_000, value) for at_ms, value in found] == [
            (0, "Off"), (50, "On"), (100, "Off"),
        ]  # fmt: skip


async def test_a_page_of_the_past_is_taught_between_what_is_known(
    autojump_clock, tmp_path, world
):
    def at(minute, state):
        return fix(minute, at=MORNING + timedelta(minutes=minute), engine_state=state)

    async with opened(tmp_path, world) as store:
        await put(store, at(10, "Off"))
        await put(store, at(5, "On"), at(7, "On"), at(20, "On"), at(30, "On"))
        states = [
            store.directory.known("north", "v1", "engine", millis(one))
            for one in (MORNING + timedelta(minutes=m) for m in (4, 6, 12, 25, 40))
        ]

        assert states == [None, "On", "Off", "On", "On"]


async def test_a_drivers_first_name_holds_for_what_was_driven_before_it_was_told(
    autojump_clock, tmp_path, world
):
    async with opened(tmp_path, world) as store:
        for name in ("Ana Ruiz", "Ana Ruiz", "Ana Castro"):
            await put(store, Driver(id="d1", driver="d1", driver_name=name))
            await trio.sleep(60)
        await put(store, fix(1, at=MORNING - timedelta(days=3), driver="d1"))
        await put(store, fix(2, at=MORNING + timedelta(hours=1), driver="d1"))
        found = [
            unpack(body)
            for (body,) in rows(store, "SELECT body FROM events ORDER BY seq")
        ]

        assert [one.driver_name for one in found if isinstance(one, Position)] == [
            "Ana Ruiz", "Ana Castro",
        ]  # fmt: skip


async def test_a_fix_without_a_driver_is_filled_and_one_that_says_nobody_is_not(
    autojump_clock, tmp_path, world
):
    def at(n, driver):
        return fix(n, at=MORNING + timedelta(minutes=n), driver=driver)

    async with opened(tmp_path, world) as store:
        for n, driver in enumerate(["d1", None, "", None, "", "d2", None]):
            await put(store, at(n, driver))
        found = [
            unpack(body)
            for (body,) in rows(store, "SELECT body FROM events ORDER BY seq")
        ]

        assert [one.driver for one in found] == [
            "d1", "d1", None, None, None, "d2", "d2",
        ]  # fmt: skip
        facts = rows(store, "SELECT value FROM facts WHERE name = 'driver'")
        assert [who for (who,) in facts] == ["d1\n", "", "d2\n"]
