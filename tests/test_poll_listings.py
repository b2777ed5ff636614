"""Whole listings: what they lack goes, but never by a partial one and never all at once."""

from __future__ import annotations

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from fleetd.tasks.poll.listing import braked
from tests.polling import FIXES, PEOPLE, UNITS, Asked, Far, fix, page, polled


def unit(number: int, **more):
    return {"id": f"u{number}", "number": f"T-{number}", **more}


def listing(*numbers: int, **more):
    return page(*(unit(n, **more) for n in numbers), whole=True)


def known(source) -> set[str]:
    return set(source.store.directory.ids("north", "vehicle"))


def gone(source) -> list[str]:
    return [one.event.id for one in source.entries("vehicle") if one.event.removed]


async def rounds(source, count: int) -> None:
    """Wait until so many more listings were read."""
    done = source.far.paths().count("/units") + count
    await source.until(lambda: source.far.paths().count("/units") >= done)
    await trio.sleep(1)


async def test_a_vehicle_missing_from_three_whole_listings_in_a_row_is_removed(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: listing(1, 2))
    far.script = [listing(1, 2, 3)]
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 3)
        assert gone(source) == []
        assert known(source) == {"u1", "u2", "u3"}

        await rounds(source, 1)
        assert gone(source) == ["u3"]
        assert known(source) == {"u1", "u2"}
        tombstone = source.entries("vehicle")[-1].event
        assert (tombstone.vehicle, tombstone.number) == ("u3", "T-3")

        await rounds(source, 5)
        assert gone(source) == ["u3"]
        assert source.balanced()


async def test_how_many_listings_it_takes_is_the_operators_choice(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: listing(1))
    far.script = [listing(1, 2)]
    async with polled(tmp_path, far, UNITS, remove_after=1) as source:
        await rounds(source, 2)

        assert gone(source) == ["u2"]


async def test_one_listing_that_has_it_begins_the_count_anew(autojump_clock, tmp_path):
    without, with_it = listing(1), listing(1, 2)
    far = Far(lambda _asked: with_it)
    far.script = [with_it, without, without, with_it, without, without, with_it]
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 8)

        assert gone(source) == []


async def test_the_count_goes_on_after_a_restart(autojump_clock, tmp_path):
    far = Far(lambda _asked: listing(1))
    far.script = [listing(1, 2)]
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 3)
        assert gone(source) == []
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 1)
        assert gone(source) == ["u2"]


@pytest.mark.parametrize("revision", [None, 1_700_000_000_000])
async def test_what_comes_back_after_it_was_removed_stands_again(
    revision, autojump_clock, tmp_path
):
    with_it = listing(1, 2, revision=revision)
    far = Far(lambda _asked: with_it)
    far.script = [with_it, *[listing(1, revision=revision)] * 3]
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 4)
        assert gone(source) == ["u2"]

        await rounds(source, 3)
        assert known(source) == {"u1", "u2"}
        copies = [one for one in source.entries("vehicle") if one.event.id == "u2"]
        assert [one.event.removed for one in copies] == [False, True, False]
        assert copies[0].revision < copies[1].revision < copies[2].revision
        assert source.balanced()


async def test_what_comes_back_can_go_again(autojump_clock, tmp_path):
    there, away = listing(1, 2), listing(1)
    far = Far(lambda _asked: there)
    far.script = [there, *[away] * 3, there, *[away] * 3]
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 8)

        assert gone(source) == ["u2", "u2"]


async def test_an_empty_listing_removes_nobody_and_is_told(autojump_clock, tmp_path):
    far = Far(lambda _asked: listing())
    far.script = [listing(1, 2)]
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 6)

        assert gone(source) == []
        assert "no vehicle at all" in source.healths["units"].why
        assert source.alerts() == [("removals_held", "units")]


async def test_too_many_at_once_are_an_error_of_the_listing(autojump_clock, tmp_path):
    everybody = range(100)
    far = Far(lambda _asked: listing(*range(89)))
    far.script = [listing(*everybody)]
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 6)
        assert gone(source) == []
        assert "11 of 100" in source.healths["units"].why
        assert "remove_brake" in source.healths["units"].why
        assert source.alerts() == [("removals_held", "units")]

        far.script = [page(unit(1))]
        await rounds(source, 1)
        assert "11 of 100" in source.healths["units"].why, "a part proves nothing"
        assert source.alerts() == [("removals_held", "units")]

        far.answer = lambda _asked: listing(*range(90))
        await rounds(source, 1)
        assert len(gone(source)) == 10
        assert source.alerts()[-1] == ("removals_resumed", "units")
        assert source.healths["units"].why == ""


async def test_who_lost_its_tag_is_told_apart_from_who_is_gone(
    autojump_clock, tmp_path
):
    def told(group: str):
        return page(*(unit(n, groups=[group]) for n in range(20)), whole=True)

    far = Far(lambda _asked: told("West"))
    far.script = [told("East")]
    async with polled(tmp_path, far, UNITS, tags=("East",), wanted={"east"}) as source:
        await rounds(source, 5)

        assert gone(source) == []
        why = source.healths["units"].why
        assert "held no vehicle at all, or bear none of its `tags`" in why


async def test_the_brake_is_the_operators_choice(autojump_clock, tmp_path):
    far = Far(lambda _asked: listing(*range(50)))
    far.script = [listing(*range(100))]
    async with polled(tmp_path, far, UNITS, remove_brake=0.5) as source:
        await rounds(source, 4)

        assert len(gone(source)) == 50


@given(
    due=st.integers(0, 500), known_=st.integers(0, 500), held=st.integers(0, 500),
    brake=st.floats(0, 1),
)  # fmt: skip
def test_the_brake_never_lets_a_fleet_go(due, known_, held, brake):
    if not braked(due, known_, held, brake) and due:
        assert held
        assert due <= max(5, known_ * brake)


async def test_a_listing_of_several_pages_is_one(autojump_clock, tmp_path):
    def answer(asked: Asked):
        at = int(asked.params["at"] or 0)
        last = at == 2
        return page(
            unit(at), next=None if last else str(at + 1), more=not last, whole=last
        )

    far = Far(answer)
    far.script = [listing(0, 1, 2, 3)]
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 9)

        assert gone(source) == ["u3"]


async def test_a_listing_that_broke_off_goes_on_and_still_counts(
    autojump_clock, tmp_path
):
    def answer(asked: Asked):
        at = int(asked.params["at"] or 0)
        return page(unit(at), next=str(at + 1), more=at < 2, whole=at == 2)

    half = page(unit(0), next="1", more=True)
    far = Far(answer)
    far.script = [listing(0, 1, 2, 3), *[half, httpx.ConnectError("no")] * 3]
    async with polled(tmp_path, far, UNITS, remove_after=1) as source:
        await source.until(lambda: gone(source), 36_000)

        assert gone(source) == ["u3"]
        assert known(source) == {"u0", "u1", "u2"}


async def test_a_listing_in_which_a_record_cannot_be_read_proves_nothing(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(unit(1), unit(2, bad=True), whole=True))
    far.script = [listing(1, 2, 3)]
    async with polled(tmp_path, far, UNITS, remove_after=1) as source:
        await rounds(source, 5)

        assert gone(source) == []


async def test_a_listing_that_does_not_say_it_is_whole_proves_nothing(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(unit(1)))
    far.script = [listing(1, 2)]
    async with polled(tmp_path, far, UNITS, remove_after=1) as source:
        await rounds(source, 5)

        assert gone(source) == []


async def test_a_restart_in_the_middle_begins_the_listing_anew(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: 503)
    far.script = [page(unit(1), next="1", more=True)]
    async with polled(tmp_path, far, UNITS) as source:
        await source.until(lambda: len(far.asked) >= 3)
    before = len(far.asked)
    far.answer = lambda _asked: listing(1, 2)
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 1)

        assert far.asked[before - 1].params["at"] == "1"
        assert far.asked[before].params["at"] == ""


async def test_a_listing_held_in_the_middle_begins_anew_and_its_half_proves_nothing(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: listing(1, 2))
    rest = page(unit(2), whole=True)
    far.script = [
        listing(1, 2), page(unit(1), next="1", more=True), b"<html>", rest, listing(1, 2),
    ]  # fmt: skip
    async with polled(tmp_path, far, UNITS, remove_after=1) as source:
        await rounds(source, 6)

        assert far.asked[3].params["at"] == ""
        assert gone(source) == ["u1"]  # what a whole page says is what it says


async def test_people_and_places_go_in_the_same_way(autojump_clock, tmp_path):
    far = Far(lambda _asked: page({"id": "d1", "name": "Ann"}, whole=True))
    far.script = [
        page({"id": "d1", "name": "Ann"}, {"id": "d2", "name": "Bo"}, whole=True)
    ]
    async with polled(tmp_path, far, PEOPLE) as source:
        await source.until(lambda: len(far.asked) >= 5)

        removed = [one.event for one in source.entries("driver") if one.event.removed]
        assert [(one.id, one.driver, one.driver_name) for one in removed] == [
            ("d2", "d2", "Bo")
        ]


async def test_an_unchanged_listing_stores_nothing(autojump_clock, tmp_path):
    far = Far(lambda _asked: listing(1, 2, 3))
    async with polled(tmp_path, far, UNITS) as source:
        await rounds(source, 5)

        assert len(source.entries("vehicle")) == 3
        assert source.balanced()


async def test_what_is_asked_by_time_waits_for_the_first_listing(
    autojump_clock, tmp_path
):
    far = Far(
        lambda asked: listing(1) if asked.path == "/units" else page(fix(1, "u1"))
    )
    far.first = {"/units": [503]}
    async with polled(tmp_path, far, FIXES, UNITS) as source:
        await source.until(source.ids)

        assert far.paths()[0] == "/units"
