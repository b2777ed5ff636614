"""Polling while the wall clock is not to be believed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import trio

from fleetd.providers.contract import Ask, Feed, Page, Turn
from fleetd.providers.windows import Window, went_on, window
from tests.conftest import MORNING
from tests.polling import Asked, Far, fix, page, polled, unpack


class Driving:
    """A vendor that tells what was in a window, as far as it has come; a fix a minute."""

    def __init__(self) -> None:
        self.spans: list[tuple[datetime, datetime]] = []

    def __call__(self, asked: Asked) -> Any:
        since, until = (
            datetime.fromisoformat(asked.params[one]) for one in ("since", "until")
        )
        self.spans.append((since, until))
        minutes = range(int(trio.current_time() // 60) + 1)
        driven = ((n, MORNING + timedelta(minutes=n)) for n in minutes)
        told = [(n, at) for n, at in driven if since <= at < until]
        return page(*({**fix(n), "at": at.isoformat()} for n, at in told))


def ask_window(turn: Turn) -> Ask | None:
    found = window(turn, longest=timedelta(hours=6), begins=timedelta(hours=1))
    if found is None:
        return None
    span = {"since": found.since.isoformat(), "until": found.until.isoformat()}
    return Ask("/fixes", params=span)


def unpack_window(asked: Ask, body: bytes, turn: Turn) -> Page:
    records = unpack("fixes", asked, body, turn).records
    span = (
        datetime.fromisoformat(str(asked.params[one])) for one in ("since", "until")
    )
    return Page(records, *went_on(Window(*span), None, turn))


WINDOWS = Feed("fixes", 30.0, ask_window, unpack_window)


@pytest.mark.parametrize(
    "jump", [timedelta(days=1), timedelta(days=-1), timedelta(hours=3)]
)
async def test_a_clock_that_jumps_while_it_polls_leaves_no_gap_and_asks_no_future(
    jump, autojump_clock, tmp_path
):
    vendor, off = Driving(), [timedelta(0)]

    def now() -> datetime:
        return MORNING + timedelta(seconds=trio.current_time()) + off[0]

    far = Far(vendor)
    async with polled(
        tmp_path, far, WINDOWS, now=now, synchronised=lambda: not off[0]
    ) as source:
        await trio.sleep(3600)
        off[0] = jump
        await trio.sleep(5 * 3600)
        wrong = source.healths["fixes"].state
        off[0] = timedelta(0)
        await trio.sleep(3600)

        assert wrong == "waiting"
        assert {f"p{n}" for n in range(7 * 60 - 1)} <= set(source.ids())
        assert source.balanced()
    assert max(until for _, until in vendor.spans) <= MORNING + timedelta(hours=7)


async def test_a_feed_that_begins_now_begins_though_nothing_is_to_be_asked_yet(
    autojump_clock, tmp_path
):
    vendor = Driving()
    async with polled(tmp_path, Far(vendor), WINDOWS) as source:
        await source.until(lambda: len(vendor.spans) >= 3)

    assert vendor.spans[0][0] == MORNING
    assert vendor.spans[1][0] == vendor.spans[0][1]
