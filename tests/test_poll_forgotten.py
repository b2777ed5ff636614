"""A vendor that no longer knows our bookmark: what was not read yet is asked for all the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from fleetd.event import stamp
from fleetd.providers.samsara import PROVIDER as SAMSARA
from fleetd.tasks.coverage import caught
from tests.conftest import MORNING
from tests.polling import FIXES, Asked, Far, feed, fix, page, polled

MONTH = timedelta(days=30)
EXPIRED = {"error": "expired"}
LATE = feed("fixes", begins=MONTH)


async def test_what_came_since_the_feed_was_caught_up_is_asked_for_again(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(fix(2), next="new"))
    far.script = [page(next="1"), page(fix(1), next="2", more=True), EXPIRED]
    async with polled(tmp_path, far, FIXES, every=600) as source:
        await source.until(lambda: source.store.bookmark("north", "fixes") == "new")

        assert [one.params["at"] for one in far.asked[:4]] == ["", "1", "2", ""]
        assert far.asked[3].at >= 600
        assert far.asked[3].params["since"].startswith("2026-11-21T05:55")
        assert [one.isoformat()[:16] for one in source.recovered] == [
            "2026-11-21T05:55"
        ]


async def test_a_first_reading_that_is_not_through_begins_again_also_after_a_restart(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(fix(2), next="new"))
    far.script = [page(fix(1), next="1", more=True), httpx.ConnectError("gone")]
    async with polled(tmp_path, far, LATE) as source:
        await source.until(lambda: len(far.asked) >= 2)
    before = len(far.asked)
    far.script = [EXPIRED]

    async with polled(tmp_path, far, LATE) as source:
        await source.until(lambda: source.store.bookmark("north", "fixes") == "new")

        begun = MORNING - MONTH
        told = datetime.fromisoformat(far.asked[before + 1].params["since"])
        assert begun - timedelta(minutes=6) < told <= begun - timedelta(minutes=4)
        assert source.recovered == [told]


async def test_a_first_reading_that_is_through_is_not_begun_again(
    autojump_clock, tmp_path
):
    far = Far(lambda _asked: page(fix(2), next="new"))
    far.script = [page(fix(1), next="1"), EXPIRED]
    async with polled(tmp_path, far, LATE, every=600) as source:
        await source.until(lambda: source.store.bookmark("north", "fixes") == "new")

        assert far.asked[2].params["since"].startswith("2026-11-21T05:55")


async def test_a_vendor_that_forgets_each_page_is_held_and_not_asked_for_ever(
    autojump_clock, tmp_path
):
    def answer(asked: Asked):
        return EXPIRED if asked.params["at"] else page(next="1", more=True)

    far = Far(answer)
    async with polled(tmp_path, far, FIXES) as source:
        await source.until(lambda: source.states() == {"fixes": "held"})

        assert "again and again" in source.healths["fixes"].why
        assert len(far.asked) < 50


# a vendor with windows


class Pages:
    """Samsara with four pages of nothing to everything; it refuses one cursor once."""

    def __init__(self, path: str, cursor: str) -> None:
        self.refused = (path, cursor)
        self.waits = True

    def __call__(self, asked: Asked) -> Any:
        after = asked.params.get("after")
        if self.waits and (asked.path, after) == self.refused:
            self.waits = False
            return httpx.Response(400, content=b'{"message":"invalid cursor"}')
        number = int((after or "c0")[1:]) + 1
        told = {"endCursor": f"c{number}", "hasNextPage": number % 4 != 0}
        return {"data": [], "pagination": told}


def samsara(name: str):
    one = next(one for one in SAMSARA.feeds if one.name == name)
    return replace(one, begins=MONTH)


def spans(asked: list[Asked], path: str) -> list[tuple[str, str | None]]:
    """(since, cursor) of each request for a path."""
    here = [one.params for one in asked if one.path == path]
    return [(one["startTime"], one.get("after")) for one in here]


def visits(step: timedelta, windows: int) -> list[tuple[str, str | None]]:
    """The same of a month's windows, each with all of its four pages."""
    begins = [stamp(MORNING - MONTH + n * step) for n in range(windows)]
    return [(since, cursor) for since in begins for cursor in (None, "c1", "c2", "c3")]


QUIET = replace(SAMSARA, whoami=None)


async def test_a_window_whose_cursor_is_refused_is_asked_for_again_at_once(
    autojump_clock, tmp_path
):
    path = "/fleet/hos/logs"
    far = Far(Pages(path, "c2"))
    async with polled(tmp_path, far, samsara("duty"), provider=QUIET) as source:
        await source.until(lambda: source.store.recall(caught("north", "duty")))

        whole = visits(timedelta(days=7), 5)
        assert spans(far.asked, path) == [*whole[:3], *whole]
        assert far.asked[-1].at < 100
        assert source.recovered == [], "nothing was lost"


async def test_the_past_of_a_feed_goes_on_where_its_cursor_was_refused(
    autojump_clock, tmp_path
):
    path = "/fleet/vehicles/stats/history"
    far = Far(Pages(path, "c2"))
    async with polled(tmp_path, far, samsara("positions"), provider=QUIET) as source:
        await source.until(lambda: source.store.recall(caught("north", "positions")))

        whole = visits(timedelta(days=1), 30)
        assert spans(far.asked, path) == [*whole[:3], *whole]
        live = [one for one in far.asked if one.path.endswith("/feed")]
        assert [one.params.get("after") for one in live].count(None) == 1


@pytest.mark.parametrize(
    ("name", "path"),
    [("trips", "/trips/stream"), ("positions", "/fleet/vehicles/stats/feed")],
)
async def test_a_first_reading_whose_live_cursor_is_refused_keeps_its_month(
    name, path, autojump_clock, tmp_path
):
    far = Far(Pages(path, "c2"))
    async with polled(tmp_path, far, samsara(name), provider=QUIET) as source:
        await source.until(lambda: source.store.recall(caught("north", name)))

        first = stamp(MORNING - MONTH - timedelta(minutes=5))
        starts = [one.params.get("startTime", "") for one in far.asked]
        assert first in starts
        assert [stamp(one) for one in source.recovered] == [first]
