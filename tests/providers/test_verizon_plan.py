"""Reveal refuses what is older than the data plan: each feed finds what is served."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from fleetd.errors import AbsentError
from fleetd.event import stamp
from fleetd.providers.contract import Answer, Ask, Page, Turn
from fleetd.providers.verizon import PROVIDER, Settings, configured
from fleetd.providers.verizon.walk import GRAIN, Walk, written
from tests.conftest import MORNING
from tests.polling import Asked, Far, polled

NOW = datetime(2026, 11, 20, 14, 30, 7, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
ALL, SECOND = timedelta(days=400), timedelta(seconds=1)
BOTH = pytest.mark.parametrize("name", ["track", "trips"])


class Reveal:
    """One vehicle with a point and a trip an hour; it serves what its plan holds."""

    def __init__(self, name: str, plan: timedelta, bookmark: str | None = None) -> None:
        self.feed = FEEDS[name]
        self.plan, self.hidden = plan, False
        self.now, self.bookmark = NOW, bookmark
        self.asked: list[tuple[datetime, datetime, bool]] = []

    def round(self) -> None:
        """Page after page as the engine asks; `AbsentError` as it gets it."""
        more = True
        while more:
            assert len(self.asked) < 500
            self.now += SECOND
            since = NOW - timedelta(days=40)
            turn = Turn(self.now, self.bookmark, since, lookback=3 * HOUR, part="TX-1")
            ask = self.feed.ask(turn)
            if ask is None:
                return
            page = self.page(ask, turn)
            self.bookmark, more = page.bookmark, page.more

    def page(self, ask: Ask, turn: Turn) -> Page:
        status, body = self.answer(ask)
        assert PROVIDER.judge is not None
        try:
            PROVIDER.judge(ask, Answer(status, {}, body))
        except AbsentError:
            if ask.absent is None:
                raise
            return ask.absent
        return self.feed.unpack(ask, body, turn)

    def answer(self, ask: Ask) -> tuple[int, bytes]:
        first, *last = (datetime.fromisoformat(f"{x}Z") for x in ask.params.values())
        until = last[0] if last else first + DAY
        good = not self.hidden and first >= self.now - self.plan
        self.asked.append((first, until, good))
        return (200, self.told(first, until)) if good else (400, b"")

    def told(self, since: datetime, until: datetime) -> bytes:
        if self.feed.name == "trips":
            return b'{"Vehicle":{"Number":"TX-1"},"Segments":[]}'
        hours = range(int((min(until, self.now) - since) / HOUR))
        times = [(since + n * HOUR).isoformat()[:19] for n in hours]
        return json.dumps([{"UpdateUTC": one} for one in times]).encode()

    @property
    def unread(self) -> datetime:
        """The latest time before which something was not served, read back from now."""
        edge = self.now
        good = [(since, until) for since, until, good in self.asked if good]
        for since, until in sorted(good, key=lambda one: one[1], reverse=True):
            if until >= edge - timedelta(seconds=1):
                edge = min(edge, since)
        return edge


@BOTH
@pytest.mark.parametrize("days", [1.5, 2, 3.3, 13, 14, 29.9])
def test_a_past_beyond_the_plan_is_begun_at_the_first_hour_that_is_served(name, days):
    far = Reveal(name, days * DAY)
    far.round()

    assert far.now - far.plan <= far.unread <= NOW - far.plan + GRAIN + 60 * SECOND
    assert len(far.asked) < 2 + 11 + days + 2
    before = len(far.asked)
    far.now += 900 * SECOND
    far.round()
    assert len(far.asked) == before + 1


@BOTH
@pytest.mark.parametrize("plan", [5 * DAY, ALL])
def test_a_time_away_longer_than_the_plan_is_read_as_far_as_it_is_served(name, plan):
    left = NOW - 20 * DAY
    stood = Walk(left - HOUR, left, newest=left, deep=left, first=left - 9 * DAY)
    far = Reveal(name, plan, written(stood))
    far.round()

    assert far.unread <= max(left, NOW - plan + GRAIN + 60 * SECOND)
    assert len(far.asked) < 36


@BOTH
def test_a_vehicle_that_was_hidden_for_days_is_read_from_where_it_stood(name):
    far = Reveal(name, ALL, written(Walk(NOW - DAY, NOW, newest=NOW, deep=NOW)))
    far.hidden = True
    for _ in range(5 * 24):
        far.now += HOUR
        with pytest.raises(AbsentError):
            far.round()
    many = len(far.asked)
    far.hidden = False
    far.round()

    assert many < 2 * 5 * 24
    assert far.unread <= NOW
    assert len(far.asked) - many < 10


@BOTH
def test_a_clock_that_was_a_year_ahead_stops_no_reading_far_back(name):
    ahead = NOW + 365 * DAY
    far = Reveal(name, ALL, written(Walk(ahead - DAY, ahead, newest=NOW, deep=ahead)))
    far.round()
    first = far.unread
    far.asked.clear()
    far.now += DAY + HOUR
    far.round()

    assert first <= NOW - 3 * DAY + 60 * SECOND
    assert far.unread <= far.now - 3 * DAY + 60 * SECOND


@BOTH
def test_a_backfill_leaves_out_what_is_refused_and_looks_for_nothing(name):
    past = FEEDS[name].past
    assert past is not None
    since = NOW - 40 * DAY
    ask = past.ask(Turn(NOW, since=since, until=since + DAY, part="TX-1"))

    assert ask is not None
    assert ask.absent is None


async def test_the_engine_reads_a_track_that_begins_before_the_plan(
    autojump_clock, tmp_path
):
    plan = MORNING - 2 * DAY

    def answer(asked: Asked) -> Any:
        if asked.path == "/cmd/v1/vehicles":
            return [{"VehicleNumber": "TX-1"}, {"VehicleNumber": "TX-2"}]
        since = datetime.fromisoformat(asked.params["startdatetimeutc"] + "Z")
        point = {"UpdateUTC": stamp(since), "Latitude": 1.0, "Longitude": 2.0}
        return [point] if since >= plan else 400

    provider = replace(PROVIDER, session=None, whoami=None)
    track = replace(FEEDS["track"], ask=long_ago)
    async with polled(
        tmp_path, Far(answer), FEEDS["vehicles"], track, provider=provider
    ) as source:
        await source.until(lambda: source.store.recall("caught:north/track"), 600)
        first = min(one.event.at for one in source.entries("position"))

        assert source.healths["track"].why == ""
        assert plan <= first <= plan + GRAIN
        assert {one.event.vehicle for one in source.entries("position")} == {
            "TX-1", "TX-2",
        }  # fmt: skip


@pytest.mark.parametrize("said", [b"not authorized to see this vehicle", b"no TOKEN-3"])
async def test_a_vehicle_that_is_refused_in_the_words_of_an_ended_token_stops_no_other(
    said, autojump_clock, tmp_path
):
    def answer(asked: Asked) -> Any:
        if asked.path == "/token":
            return b"header.claims.signature"
        if asked.path == "/cmd/v1/vehicles":
            return [{"VehicleNumber": f"TX-{n}"} for n in range(1, 8)]
        if "TX-3" in asked.path:
            return httpx.Response(400, content=said)
        since = asked.params["startdatetimeutc"]
        return [{"UpdateUtc": since, "Latitude": 1.0, "Longitude": 2.0}]

    provider = configured(Settings(user="rest", app_id="fleetmatics-p-us-1"))
    feeds = [FEEDS["vehicles"], FEEDS["track"]]
    async with polled(tmp_path, Far(answer), *feeds, provider=provider) as source:
        await source.until(lambda: source.store.recall("caught:north/track"), 600)

        assert len({one.event.vehicle for one in source.entries("position")}) == 6
        assert source.states() == {"vehicles": "waiting", "track": "waiting"}
        assert source.alerts() == []


def long_ago(turn: Turn) -> Ask | None:
    return FEEDS["track"].ask(replace(turn, since=MORNING - 40 * DAY))
