"""Feeds that are asked vehicle by vehicle: one that fails stops none of the others."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from msgspec.structs import replace

from fleetd.providers.contract import Ask, Turn
from tests.polling import PEOPLE, TRACKS, UNITS, Asked, Far, feed, fix, page, polled


def fleet(count: int):
    return page(*({"id": f"u{n}"} for n in range(count)), whole=True)


class Vendor:
    """A fleet of ten with a fix an hour each; `sick` says what a vehicle answers instead."""

    def __init__(self, count: int = 10) -> None:
        self.count = count
        self.sick: dict[str, Any] = {}

    def __call__(self, asked: Asked) -> Any:
        if asked.path == "/units":
            return fleet(self.count)
        part = asked.params["part"]
        if part in self.sick:
            return self.sick[part]
        at = int(asked.params["at"] or 0)
        number = int(part[1:]) * 1000 + at
        return page(fix(number, part), next=str(at + 1), more=at % 3 != 2)


def tracks(far: Far) -> list[Asked]:
    return [one for one in far.asked if one.path == "/tracks"]


def bookmark(source, part: str) -> str | None:
    return source.store.bookmark("north", f"tracks/{part}")


async def test_each_vehicle_has_its_own_bookmark_and_several_are_asked_at_once(
    autojump_clock, tmp_path
):
    far = Far(Vendor())
    far.takes = 1.0
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(
            lambda: source.states()["tracks"] == "waiting" and source.ids()
        )
        await source.until(lambda: bookmark(source, "u9"))

        assert far.most_at_once == 4
        assert {bookmark(source, f"u{n}") for n in range(10)} == {"3"}
        assert len(source.ids()) == 30
        assert source.rows(
            "SELECT sum(n) FROM totals WHERE outcome = 'polled' AND why = 'tracks'"
        ) == [(30,)]
        assert source.balanced()


async def test_a_restart_goes_on_where_each_vehicle_stood(autojump_clock, tmp_path):
    vendor = Vendor()
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: len(tracks(far)) > 11)
    stood = {}
    before = len(far.asked)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        stood = {f"u{n}": bookmark(source, f"u{n}") for n in range(10)}
        await source.until(
            lambda: (
                {f"u{n}" for n in range(10)}
                <= {
                    one.params["part"]
                    for one in far.asked[before:]
                    if one.path == "/tracks"
                }
            )
        )

    first: dict[str, str] = {}
    for one in far.asked[before:]:
        if one.path == "/tracks":
            first.setdefault(one.params["part"], one.params["at"])
    assert first == {part: at or "" for part, at in stood.items()}
    assert len(set(source.far.paths())) == 2


@pytest.mark.parametrize(
    "sick", [404, 403, 400, 503, b"<html>", {"error": "not yours"}]
)
async def test_a_vehicle_that_fails_stops_none_of_the_others(
    sick, autojump_clock, tmp_path
):
    vendor = Vendor()
    vendor.sick = {"u3": sick}
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: source.healths["tracks"].why.startswith("1 of 10"))

        assert {n for n in range(10) if not bookmark(source, f"u{n}")} == {3}
        assert "u3: " in source.healths["tracks"].why
        assert source.states()["tracks"] == "waiting"

        vendor.sick = {}
        await source.until(lambda: bookmark(source, "u3"), 400)
        await source.until(lambda: source.healths["tracks"].why == "", 60)
        assert source.balanced()


async def test_a_page_of_one_vehicle_that_cannot_be_read_is_kept_once_and_told(
    autojump_clock, tmp_path
):
    vendor = Vendor()
    vendor.sick = {"u3": b"<html>"}
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: bookmark(source, "u9"))
        await trio.sleep(2000)

        assert [one[0] for one in source.dead()] == ["page:tracks"]
        told = [one.event for one in source.entries("alert")]
        assert [(one.type, one.vehicle) for one in told] == [("feed_held", "u3")]
        asked = [one for one in tracks(far) if one.params["part"] == "u3"]
        assert 5 <= len(asked) <= 2000 / 30 + 5

        vendor.sick = {}
        await source.until(lambda: len(source.entries("alert")) == 2)
        last = source.entries("alert")[-1].event
        assert (last.type, last.vehicle) == ("feed_resumed", "u3")


async def test_a_vehicle_that_is_absent_is_left_out_of_the_round(
    autojump_clock, tmp_path
):
    vendor = Vendor()
    vendor.sick = {f"u{n}": {"error": "absent"} for n in range(9)}
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: bookmark(source, "u9"))
        await trio.sleep(1)

        assert source.states()["tracks"] == "waiting"
        assert source.healths["tracks"].why == ""
        assert source.alerts() == source.dead() == []


async def test_a_round_in_which_nobody_has_anything_to_tell_is_none_that_fails(
    autojump_clock, tmp_path
):
    vendor = Vendor(3)
    vendor.sick = {f"u{n}": {"error": "absent", "why": "idle"} for n in range(3)}
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: len(tracks(far)) > 6)

        assert source.states()["tracks"] == "waiting"
        assert source.healths["tracks"].why == ""


@pytest.mark.parametrize("count", [1, 20])
async def test_when_every_vehicle_is_absent_status_says_so_and_nothing_is_caught_up(
    count, autojump_clock, tmp_path
):
    vendor = Vendor(count)
    vendor.sick = {f"u{n}": {"error": "absent"} for n in range(count)}
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: "no vehicle" in source.healths["tracks"].why)
        await source.until(lambda: len(tracks(far)) > 2 * count)

        why = source.healths["tracks"].why
        assert f"no vehicle is served, {count} asked" in why
        assert "switched off" in why
        assert source.states()["tracks"] == "failing"
        assert not source.store.recall("caught:north/tracks")

        vendor.sick.popitem()
        await source.until(lambda: source.healths["tracks"].why == "", 120)
        await source.until(lambda: source.states()["tracks"] == "waiting", 120)
        assert source.store.recall("caught:north/tracks")


async def test_absent_vehicles_beside_one_that_nothing_is_asked_about_are_told(
    autojump_clock, tmp_path
):
    vendor = Vendor(3)
    vendor.sick = {"u1": {"error": "absent"}, "u2": {"error": "absent"}}
    far = Far(vendor)

    def ask(turn: Turn) -> Ask | None:
        return None if turn.part == "u0" else TRACKS.ask(turn)

    async with polled(tmp_path, far, UNITS, replace(TRACKS, ask=ask)) as source:
        await source.until(lambda: len(tracks(far)) > 2)

        assert "no vehicle is served, 2 asked" in source.healths["tracks"].why


@pytest.mark.parametrize(("sick", "state"), [(404, "held"), (503, "failing")])
async def test_when_every_vehicle_fails_it_is_the_feed(
    sick, state, autojump_clock, tmp_path
):
    vendor = Vendor(200)
    vendor.sick = {f"u{n}": sick for n in range(200)}
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: source.states()["tracks"] == state)

        assert len(tracks(far)) <= 10
        if state == "held":
            assert ("feed_held", "tracks") in source.alerts()


async def test_a_refused_token_in_a_round_holds_all_polling(autojump_clock, tmp_path):
    vendor = Vendor()
    vendor.sick = {f"u{n}": 401 for n in range(10)}
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: source.states()["tracks"] == "held")
        assert len(tracks(far)) <= 4
        assert source.alerts() == [("polling_held", "")]

        vendor.sick = {}
        await source.until(lambda: bookmark(source, "u9"), 400)
        assert source.alerts()[-1] == ("polling_resumed", "")


async def test_a_token_refused_to_two_vehicles_alone_starves_no_other(
    autojump_clock, tmp_path
):
    vendor = Vendor()
    vendor.sick = {"u0": 401, "u3": 401}
    far = Far(vendor)
    async with polled(tmp_path, far, UNITS, replace(TRACKS, parallel=1)) as source:
        await trio.sleep(7200)

        assert {n for n in range(10) if not bookmark(source, f"u{n}")} == {0, 3}
        assert source.states()["tracks"] == "held"

        vendor.sick = {}
        await source.until(lambda: source.states()["tracks"] == "waiting", 400)


async def test_before_any_vehicle_is_known_nothing_is_asked_and_soon_after_it_is(
    autojump_clock, tmp_path
):
    vendor = Vendor()
    far = Far(lambda asked: 503 if asked.path == "/units" else vendor(asked))
    slow = feed("tracks", every=3600.0, parts=True, parallel=2)
    async with polled(tmp_path, far, UNITS, slow) as source:
        await trio.sleep(600)
        assert tracks(far) == []
        assert source.healths["tracks"].why == "no vehicle is known yet"

        far.answer = vendor
        await source.until(lambda: len(source.ids()) == 30, 400)


async def test_a_vehicle_begins_when_it_is_known_however_late_it_is_asked_and_answers(
    autojump_clock, tmp_path
):
    vendor = Vendor()
    far = Far(lambda asked: 503 if asked.path == "/tracks" else vendor(asked))
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: tracks(far))
        began = tracks(far)[0].params["since"]
        await trio.sleep(3 * 3600)
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await trio.sleep(3600)
        far.answer = vendor
        await source.until(lambda: bookmark(source, "u9"))

    first = [one for one in tracks(far) if not one.params["at"]]
    assert {one.params["part"] for one in first} == {f"u{n}" for n in range(10)}
    assert {one.params["since"][:19] for one in first} == {began[:19]}


async def test_what_one_vehicle_begins_with_outlives_a_restart_while_others_answer(
    autojump_clock, tmp_path
):
    vendor = Vendor(4)
    vendor.sick = {"u3": 503}
    far = Far(vendor)
    for minutes in (30, 15):
        async with polled(tmp_path, far, UNITS, TRACKS):
            await trio.sleep(minutes * 60)
    vendor.sick = {}
    async with polled(tmp_path, far, UNITS, TRACKS) as source:
        await source.until(lambda: bookmark(source, "u3"))

    first = [one for one in tracks(far) if not one.params["at"]]
    assert {one.params["since"][:19] for one in first} == {
        tracks(far)[0].params["since"][:19]
    }


async def test_a_vehicle_that_was_removed_is_asked_no_more(autojump_clock, tmp_path):
    vendor = Vendor()
    far = Far(vendor)
    quick = feed("units", 60.0, listing="vehicle")
    async with polled(tmp_path, far, quick, TRACKS) as source:
        await source.until(lambda: bookmark(source, "u9"))
        vendor.count = 9
        await source.until(
            lambda: len(source.store.directory.ids("north", "vehicle")) == 9
        )
        await trio.sleep(40)
        before = len(far.asked)
        await trio.sleep(200)

        parts = {
            one.params["part"] for one in far.asked[before:] if one.path == "/tracks"
        }
        assert parts == {f"u{n}" for n in range(9)}


class SlowPeople(Far):
    """It lists its drivers only after twenty seconds."""

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/people":
            await trio.sleep(20)
        return await super().__call__(request)


async def test_a_new_feed_waits_for_every_listing_and_one_that_goes_on_for_none(
    autojump_clock, tmp_path
):
    """What it brings of the past is filled with the names of drivers only then."""
    vendor = Vendor()
    people = page({"id": "d1"}, whole=True)
    far = SlowPeople(lambda one: people if one.path == "/people" else vendor(one))
    waited = []
    for _ in range(2):
        far.asked.clear()
        began = trio.current_time()
        async with polled(tmp_path, far, UNITS, PEOPLE, TRACKS) as source:
            await source.until(lambda: tracks(far))
            await source.until(lambda: bookmark(source, "u9"))
        waited.append(tracks(far)[0].at - began)

    assert waited[0] >= 20
    assert waited[1] < 20
