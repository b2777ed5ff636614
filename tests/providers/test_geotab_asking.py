"""Geotab: what is asked, listings that prove they are whole, the past by windows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.errors import (
    PayloadError,
)
from fleetd.event import millis
from fleetd.providers.contract import Turn
from fleetd.providers.geotab.feeds import CAUGHT_UP, ROWS
from fleetd.providers.windows import Window, written
from tests.providers.geotab_client import (
    FEEDS,
    FIRST,
    GEOTAB,
    LIVE,
    NOW,
    asked,
    few,
    page,
    params,
)

# what is asked


def test_a_new_feed_begins_at_a_date_and_goes_on_at_the_version_alone():
    feed = FEEDS["positions"]

    first = params(feed.ask(FIRST))
    since = params(feed.ask(Turn(NOW, None, datetime(2026, 11, 1, tzinfo=UTC))))
    later = params(feed.ask(LIVE))

    assert first == {
        "typeName": "LogRecord",
        "resultsLimit": 5000,
        "search": {"fromDate": "2026-11-20T14:55:00.000Z"},
    }
    assert since["search"] == {"fromDate": "2026-11-01T00:00:00.000Z"}
    assert later["fromVersion"] == "00000000000a41c7"
    assert "search" not in later


def test_a_feed_that_is_to_read_everything_begins_no_earlier_than_2010():
    dawn = datetime.min.replace(tzinfo=UTC)

    asks = params(FEEDS["trips"].ask(Turn(NOW, None, dawn)))

    assert asks["search"] == {"fromDate": "2010-01-01T00:00:00.000Z"}


def test_the_state_of_devices_is_asked_for_without_a_search():
    assert "search" not in params(FEEDS["status"].ask(FIRST))


@pytest.mark.parametrize("name", FEEDS)
def test_each_type_counts_against_a_limit_of_its_own(name):
    feed = FEEDS[name]
    past = feed.past.ask(window()) if feed.past else None

    tiers = [one.tier for one in (feed.ask(FIRST), feed.ask(LIVE), past) if one]
    assert all(GEOTAB.limits.tiers[tier] <= 2000 / 60 for tier in tiers)
    if not feed.listing:
        assert GEOTAB.limits.tiers[tiers[0]] == 1.0


def test_a_feed_is_waited_for_until_geotab_itself_gives_up():
    assert GEOTAB.patience > 180


def test_logins_are_ten_a_minute():
    assert GEOTAB.limits.tiers["Authenticate"] == pytest.approx(10 / 60)


def rows(count: int, version: str = "0f", at: datetime = NOW) -> bytes:
    data = [
        {"id": f"b{n:05}", "device": {"id": "b2A"}, "latitude": 1, "longitude": 2,
         "dateTime": (at + timedelta(seconds=n)).isoformat()}
        for n in range(count)
    ]  # fmt: skip
    return json.dumps({"result": {"data": data, "toVersion": version}}).encode()


@pytest.mark.parametrize(
    ("count", "more"), [(0, False), (999, False), (1000, True), (5000, True)]
)
def test_a_page_with_many_rows_is_followed_at_once_whatever_the_server_clamps(
    count, more
):
    found = page("positions", rows(count), LIVE)

    assert len(found.records) == count
    assert found.more is more
    assert CAUGHT_UP == 1000


def test_a_server_that_stays_at_its_version_is_not_asked_round_in_a_circle():
    assert not page("positions", rows(2000, version=LIVE.bookmark), LIVE).more


def test_a_version_that_is_a_number_is_kept_as_text():
    numbered = rows(1000).replace(b'"0f"', b"9007199254740993")
    found = page("positions", numbered, LIVE)

    assert (found.bookmark, found.more) == ("9007199254740993", True)


# listings


def listed(ids: list[str]) -> bytes:
    return json.dumps({"result": [{"id": one} for one in ids]}).encode()


def walked(
    fleet: list[str], cap: int = 5000, *, seeks: bool = True
) -> tuple[list[str], bool, int]:
    """The ids of a listing at a server that ends any answer at its cap without a word."""
    feed, found, bookmark, calls = FEEDS["vehicles"], [], None, 0
    while True:
        turn = Turn(NOW, bookmark)
        ask = asked(feed, turn)
        calls += 1
        sort = params(ask).get("sort")
        after = sort["offset"] if sort and seeks else None
        there = [one for one in sorted(fleet) if after is None or one > after]
        answer = feed.unpack(ask, listed(there[:cap]), turn)
        found += [json.loads(one.body)["id"] for one in answer.records]
        bookmark = answer.bookmark
        if not answer.more:
            return found, answer.complete, calls


@pytest.mark.parametrize("size", [0, 1, 4999])
def test_a_listing_shorter_than_the_cap_is_whole_in_one_answer(size):
    fleet = [f"b{n:05}" for n in range(size)]

    assert walked(fleet) == (fleet, True, 1)


@pytest.mark.parametrize("size", [5000, 5001, 10_000, 12_345])
def test_a_listing_that_fills_an_answer_is_walked_to_its_empty_end(size):
    fleet = [f"b{n:05}" for n in range(size)]
    found, complete, _calls = walked(fleet)

    assert found == fleet
    assert complete


def test_a_server_that_cannot_go_on_never_makes_a_listing_complete():
    with pytest.raises(PayloadError, match="does not go on"):
        walked([f"b{n:05}" for n in range(6000)], seeks=False)


def test_a_listing_is_never_narrowed_so_that_all_groups_are_known():
    assert "search" not in params(FEEDS["vehicles"].ask(Turn(NOW, tags=("bF7C0D",))))


# the past


def window(days: float = 1, bookmark: str | None = None, part: str = "b2A") -> Turn:
    until = NOW - timedelta(days=3)
    return Turn(NOW, bookmark, until - timedelta(days=days), until, part=part)


def backfilled(
    name: str, fleet: list[datetime], turn: Turn, interpolated: str = "no"
) -> tuple[list[str], int]:
    """What a window's past gives at a server that makes points up at both its edges."""
    past = FEEDS[name].past
    assert past is not None
    found, calls = [], 0
    while True:
        ask = past.ask(turn)
        if ask is None:
            return found, calls
        search = params(ask)["search"]
        since, until = (
            datetime.fromisoformat(search[one]) for one in ("fromDate", "toDate")
        )
        there = [
            {
                "id": f"b{millis(at)}",
                "device": {"id": "b2A"},
                "dateTime": at.isoformat(),
                "latitude": 1,
                "longitude": 1,
            }
            for at in fleet
            if since <= at <= until
        ]
        for edge in (since, until) if interpolated != "no" else ():
            made = {
                "id": f"x{millis(edge)}",
                "device": {"id": "b2A"},
                "dateTime": edge.isoformat(),
            }
            there.append(made | ({"id": None} if interpolated == "unnamed" else {}))
        body = json.dumps({"result": there[:ROWS]}).encode()
        got = past.unpack(ask, body, turn)
        found += [json.loads(one.body)["id"] for one in got.records]
        calls += 1
        turn = msgspec.structs.replace(turn, bookmark=got.bookmark)
        if not got.more:
            return found, calls


@pytest.mark.parametrize("interpolated", ["no", "named", "unnamed"])
def test_a_window_of_the_past_is_read_whole_and_what_the_server_makes_up_is_not(
    interpolated,
):
    turn = window(3)
    assert turn.since is not None
    fixes = [turn.since + timedelta(seconds=7 * n) for n in range(3 * 86400 // 7 + 1)]

    found, calls = backfilled("positions", fixes, turn, interpolated)

    assert sorted(found) == sorted({f"b{millis(at)}" for at in fixes})
    assert len(found) == len(set(found))
    assert calls < 25


@few
@given(
    st.lists(st.integers(0, 86_399_999), max_size=60, unique=True),
    st.sampled_from(["no", "named", "unnamed"]),
)
def test_any_fixes_of_a_day_come_once_and_none_is_left_out(offsets, interpolated):
    turn = window(1)
    assert turn.since is not None
    fixes = [turn.since + timedelta(milliseconds=one) for one in offsets]

    found, _ = backfilled("positions", fixes, turn, interpolated)

    assert sorted(found) == sorted(f"b{millis(at)}" for at in fixes)


def test_a_point_at_the_end_of_a_window_belongs_to_the_next_one():
    turn = window(1)
    assert turn.since is not None
    assert turn.until is not None

    assert backfilled("positions", [turn.since, turn.until], turn) == (
        [f"b{millis(turn.since)}"],
        1,
    )


def test_a_burst_that_no_window_can_part_is_an_error_and_no_gap():
    turn = window(1)
    assert turn.since is not None
    at = turn.since + timedelta(hours=3)
    fixes = [at + timedelta(microseconds=n) for n in range(6000)]

    with pytest.raises(PayloadError, match="5000 rows or more"):
        backfilled("positions", fixes, turn)


def test_rows_that_cannot_be_read_are_left_to_be_set_aside():
    past, turn = FEEDS["positions"].past, window(1)
    assert past is not None
    bad = [
        {"id": "b1", "dateTime": "noon"},
        {"id": 7, "dateTime": None},
        "b3",
        [],
        None,
    ]
    body = json.dumps({"result": bad}).encode()

    found = past.unpack(past.ask(turn), body, turn)

    assert len(found.records) == len(bad)


def test_the_past_of_a_vehicle_is_asked_for_a_little_beyond_its_edges():
    past = FEEDS["positions"].past
    assert past is not None

    assert past.parts
    assert params(past.ask(window(1)))["search"] == {
        "deviceSearch": {"id": "b2A"},
        "fromDate": "2026-11-16T14:59:59.000Z",
        "toDate": "2026-11-17T15:00:01.000Z",
    }


def test_the_past_of_a_fleet_is_asked_for_as_it_is():
    past = FEEDS["safety"].past
    assert past is not None

    assert not past.parts
    assert params(past.ask(window(1, part="")))["search"] == {
        "fromDate": "2026-11-16T15:00:00.000Z",
        "toDate": "2026-11-17T15:00:00.000Z",
    }


def test_a_restart_in_the_middle_of_the_past_goes_on_with_the_very_next_window():
    past, turn = FEEDS["positions"].past, window(2)
    assert past is not None
    assert turn.since is not None
    half = turn.since + timedelta(days=1)
    stands = msgspec.structs.replace(turn, bookmark=written(Window(turn.since, half)))

    assert params(past.ask(stands))["search"]["fromDate"] == "2026-11-16T14:59:59.000Z"
