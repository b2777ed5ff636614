"""Every point of a Motive vehicle: which days are asked for, and what comes back late."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import PayloadError
from fleetd.providers.contract import Page, Turn
from fleetd.providers.motive import PROVIDER
from fleetd.providers.motive.history import OLDEST, place_of
from tests.tries import tries

FEED = next(feed for feed in PROVIDER.feeds if feed.name == "positions")
NOW = datetime(2026, 5, 12, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Truck:
    """A vehicle's history as the vendor has it by now: whole UTC days, both inclusive."""

    def __init__(self) -> None:
        self.points: set[datetime] = set()
        self.asked: list[tuple[str, str]] = []
        self.bookmark: str | None = None
        self.got: set[datetime] = set()

    def round(self, now: datetime, since: datetime | None = None, **more: Any) -> int:
        """One round of the feed to its end; how many calls it took."""
        for calls in range(1, 60):
            said = {"lookback": FEED.lookback} | more
            first = since if self.bookmark is None else None
            turn = Turn(now, self.bookmark, since=first, part="7", **said)
            page = self.page(turn)
            self.bookmark = page.bookmark
            if not page.more:
                return calls
        raise AssertionError("it never ends")

    def page(self, turn: Turn) -> Page:
        ask = FEED.ask(turn)
        assert ask is not None
        assert ask.path == "/v3/vehicle_locations/7"
        first, last = str(ask.params["start_date"]), str(ask.params["end_date"])
        self.asked.append((first, last))
        days = [one for one in self.points if first <= one.date().isoformat() <= last]
        page = FEED.unpack(ask, answer(*days), turn)
        for record in page.records:
            (event,) = PROVIDER.normalize[record.feed](record.body)
            assert event.vehicle == "7"
            self.got.add(event.at)
        return page


def answer(*times: datetime) -> bytes:
    points = [
        {"id": f"{at:%s}", "located_at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "lat": 1, "lon": 2}
        for at in times
    ]
    return json.dumps(
        {"vehicle_locations": [{"vehicle_location": p} for p in points]}
    ).encode()


def hourly(first: datetime, last: datetime) -> set[datetime]:
    hours = int((last - first) / HOUR)
    return {first + n * HOUR for n in range(hours)}


def test_a_truck_that_reports_is_asked_for_yesterday_and_today():
    truck = Truck()
    truck.points = hourly(NOW - 5 * DAY, NOW)
    truck.round(NOW, since=NOW - HOUR)
    truck.points |= hourly(NOW, NOW + HOUR)
    truck.asked.clear()

    truck.round(NOW + HOUR)

    assert truck.asked == [("2026-05-12", "2026-05-12")]  # its source began today
    for hours in (28, 32, 34):
        truck.asked.clear()
        truck.points |= hourly(NOW, NOW + hours * HOUR)
        truck.round(NOW + hours * HOUR)
    assert truck.asked == [("2026-05-13", "2026-05-14")]


def test_nothing_from_before_its_source_began_is_taken():
    truck = Truck()
    truck.points = hourly(NOW - 5 * DAY, NOW)

    truck.round(NOW, since=NOW - 2 * HOUR)
    truck.round(NOW + HOUR)

    assert truck.got == hourly(NOW - 2 * HOUR, NOW)


def test_a_truck_that_comes_back_with_days_of_late_points_is_taken_in_whole():
    truck = Truck()
    truck.points = hourly(NOW - 20 * DAY, NOW - 10 * DAY)
    truck.round(NOW - 10 * DAY, since=NOW - 20 * DAY)
    for days in range(9, 0, -1):
        truck.round(NOW - days * DAY)
    truck.points |= hourly(NOW - 10 * DAY, NOW)

    truck.round(NOW)

    assert truck.got == hourly(NOW - 20 * DAY, NOW)


def test_a_truck_that_reports_live_first_and_its_backlog_later_is_taken_in_whole():
    truck = Truck()
    truck.points = hourly(NOW - 20 * DAY, NOW - 10 * DAY)
    truck.round(NOW - 10 * DAY, since=NOW - 20 * DAY)
    truck.round(NOW - DAY)
    truck.points |= {NOW}
    truck.round(NOW)
    truck.points |= hourly(NOW - 10 * DAY, NOW - 5 * DAY) | hourly(NOW, NOW + 3 * HOUR)
    truck.round(NOW + 3 * HOUR)
    truck.points |= hourly(NOW - 5 * DAY, NOW)

    truck.round(NOW + 20 * HOUR)

    assert truck.got == truck.points
    truck.points |= hourly(NOW, NOW + 2 * DAY)
    truck.asked.clear()
    truck.round(NOW + 2 * DAY)
    truck.round(NOW + 2 * DAY + HOUR)
    assert truck.asked[-1] == ("2026-05-13", "2026-05-14")  # the hole is let be


def test_a_truck_away_for_long_is_asked_for_three_months_and_no_more():
    truck = Truck()
    truck.points = {NOW - 200 * DAY}
    truck.round(NOW - 200 * DAY, since=NOW - 201 * DAY)
    truck.asked.clear()

    truck.round(NOW)

    first, last = truck.asked[0][0], truck.asked[-1][1]
    assert first == (NOW - OLDEST).date().isoformat()
    assert last == NOW.date().isoformat()


def test_a_truck_silent_for_a_month_is_asked_for_once_an_hour_and_loses_nothing():
    truck = Truck()
    truck.points = {NOW - 40 * DAY}
    truck.round(NOW - 41 * DAY, since=NOW - 41 * DAY)
    truck.round(NOW)
    asked = [
        FEED.ask(Turn(NOW + minutes * HOUR / 60, truck.bookmark, part="7")) is not None
        for minutes in (1, 30, 59, 60, 61)
    ]
    truck.points |= hourly(NOW - 20 * DAY, NOW)
    truck.round(NOW + HOUR)

    assert asked == [False, False, False, True, True]
    assert truck.got == truck.points
    assert FEED.ask(Turn(NOW + HOUR + HOUR / 60, truck.bookmark, part="7")) is not None


def test_days_are_asked_for_in_small_windows_without_a_gap():
    truck = Truck()

    truck.round(NOW, since=NOW - 40 * DAY)

    for (first, last), (following, _) in zip(
        truck.asked, truck.asked[1:], strict=False
    ):
        assert first <= last
        assert datetime.fromisoformat(following) - datetime.fromisoformat(last) == DAY
        assert datetime.fromisoformat(last) - datetime.fromisoformat(first) < 3 * DAY


def test_a_round_that_was_cut_off_goes_on_with_the_very_next_day():
    truck = Truck()
    truck.points = hourly(NOW - 10 * DAY, NOW)
    turn = Turn(NOW, since=NOW - 10 * DAY, part="7")
    truck.bookmark = truck.page(turn).bookmark

    truck.round(NOW + 9 * DAY)

    assert truck.got == truck.points
    assert truck.asked[1][0] > truck.asked[0][1]


def test_a_point_from_the_future_moves_no_bookmark():
    ahead = NOW + 300 * DAY
    turn = Turn(NOW, since=NOW - DAY, part="7")
    page = FEED.unpack(FEED.ask(turn), answer(ahead, NOW - HOUR), turn)

    assert place_of(Turn(NOW, page.bookmark)).newest == NOW - HOUR
    assert len(page.records) == 2  # kept: its clock is the daemon's to judge


def test_a_truck_without_a_single_point_loses_nothing_that_comes_later():
    truck = Truck()
    truck.round(NOW, since=NOW - HOUR)
    truck.points = hourly(NOW, NOW + 6 * HOUR)

    truck.round(NOW + 6 * HOUR)

    assert truck.got == truck.points


def test_a_past_window_is_half_open_and_walked_to_its_end():
    truck = Truck()
    truck.points = hourly(NOW - 20 * DAY, NOW)
    span = {"since": NOW - 12 * DAY - HOUR, "until": NOW - 2 * DAY}
    for _ in range(20):
        page = truck.page(Turn(NOW, truck.bookmark, part="7", **span))
        truck.bookmark = page.bookmark
        if not page.more:
            break

    assert truck.got == hourly(span["since"], span["until"])


def test_a_past_window_that_ends_at_midnight_asks_for_no_day_more():
    until = datetime(2026, 5, 10, tzinfo=UTC)
    turn = Turn(NOW, since=until - DAY, until=until, part="7")

    assert FEED.ask(turn).params == {
        "start_date": "2026-05-09",
        "end_date": "2026-05-09",
    }


def test_the_vehicle_of_the_request_stands_in_every_record():
    for named, told in (("7", 7), ("007", "007"), ('a"b', 'a"b')):
        turn = Turn(NOW, since=NOW - DAY, part=named)
        body = b'{"vehicle_locations":[{"vehicle_location":{"id":"x"}},{"vehicle_location":{ }},{"vehicle_location":{"vehicle_id":1}}]}'
        page = FEED.unpack(FEED.ask(turn), body, turn)

        assert [json.loads(one.body)["vehicle_id"] for one in page.records] == [
            told
        ] * 3


@pytest.mark.parametrize("bookmark", ["", "null", "[]", "[1]", "7", '["a","b"]', "\0"])
def test_a_bookmark_that_cannot_be_read_begins_anew(bookmark):
    ask = FEED.ask(Turn(NOW, bookmark, part="7"))

    assert ask.params["end_date"] == "2026-05-12"


@settings(max_examples=tries(150), deadline=None)
@given(data=st.data())
def test_whenever_points_arrive_within_a_day_each_one_is_taken(data):
    truck = Truck()
    start = NOW - 3 * DAY
    known: list[tuple[datetime, datetime]] = []
    for hours in data.draw(st.lists(st.integers(0, 71), max_size=30)):
        late = data.draw(st.integers(0, 23))
        at = start + hours * HOUR
        known.append((at + late * HOUR, at))
    now = start
    truck.round(now, since=start)
    while now < NOW + 26 * HOUR:
        now += timedelta(minutes=data.draw(st.integers(15, 300)))
        truck.points = {at for when, at in known if when <= now}
        truck.round(now)

    assert truck.got == {at for _, at in known}


def test_half_an_answer_is_an_error():
    turn = Turn(NOW, since=NOW - DAY, part="7")

    with pytest.raises(PayloadError):
        FEED.unpack(FEED.ask(turn), answer(NOW)[:-9], turn)
