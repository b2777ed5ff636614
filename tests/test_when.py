"""Times as an operator types them, on days that are 23 and 25 hours long too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd import when
from fleetd.errors import UsageError

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 21, 22, 5, 3, tzinfo=UTC)  # 23:05:03 in Berlin


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("now", "2026-11-21T22:05:03+00:00"),
        ("2h", "2026-11-21T20:05:03+00:00"),
        ("90s", "2026-11-21T22:03:33+00:00"),
        ("1.5h", "2026-11-21T20:35:03+00:00"),
        ("1w", "2026-11-14T22:05:03+00:00"),
        ("today", "2026-11-20T23:00:00+00:00"),
        ("Yesterday", "2026-11-19T23:00:00+00:00"),
        (" 2026-07-01 ", "2026-06-30T22:00:00+00:00"),
        ("2026-07-01T08:00:00Z", "2026-07-01T08:00:00+00:00"),
        ("2026-07-01t08:00:00.250z", "2026-07-01T08:00:00.250000+00:00"),
        ("2026-07-01T08:00:00-05:00", "2026-07-01T13:00:00+00:00"),
        ("2026-07-01T08:00", "2026-07-01T06:00:00+00:00"),
        ("2026-07-01 08:00", "2026-07-01T06:00:00+00:00"),
    ],
)
def test_a_word_is_read_in_the_timezone_of_the_config(word, meant):
    assert when.resolve(word, NOW, BERLIN).isoformat() == meant


@pytest.mark.parametrize(
    "word",
    ["", "tuesday", "2x", "-2h", "h", "2026-13-01", "2026-02-30", "26-1-1", "99999999w",
     "9" * 400, "2026-07-01T25:00", "0001-01-01", "9999-12-31T23:30Z",
     "0001-01-01T00:00Z", "२h\n"],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_what_is_one(word):
    with pytest.raises(UsageError, match="is no time: a duration"):
        when.resolve(word, NOW, BERLIN)


def test_a_day_across_a_change_of_clocks_is_as_long_as_it_was():
    spring = when.window("2026-03-29", "2026-03-30", NOW, BERLIN)
    autumn = when.window("2026-10-25", "2026-10-26", NOW, BERLIN)

    assert spring.until - spring.since == timedelta(hours=23)
    assert autumn.until - autumn.since == timedelta(hours=25)


def test_yesterday_after_a_change_of_clocks_begins_at_its_own_midnight():
    after = datetime(2026, 3, 30, 10, tzinfo=UTC)

    start = when.resolve("yesterday", after, BERLIN)

    assert start.isoformat() == "2026-03-28T23:00:00+00:00"


def test_a_midnight_that_does_not_exist_is_the_first_moment_of_its_day():
    beirut = ZoneInfo("Asia/Beirut")  # 2024-03-31 began at 01:00

    start = when.resolve("2024-03-31", NOW, beirut).astimezone(beirut)

    assert start.isoformat() == "2024-03-31T01:00:00+03:00"


def test_a_midnight_that_comes_twice_is_its_first():
    havana = ZoneInfo("America/Havana")  # 2024-11-03 01:00 went back to 00:00

    start = when.resolve("2024-11-03", NOW, havana)

    assert start.astimezone(havana).isoformat() == "2024-11-03T00:00:00-04:00"


def test_two_hours_ago_are_two_hours_whatever_the_clocks_did():
    after = datetime(2026, 10, 25, 2, 30, tzinfo=UTC)

    assert after - when.resolve("2h", after, BERLIN) == timedelta(hours=2)


def test_an_empty_window_is_refused_and_shown():
    with pytest.raises(UsageError, match=r"empty: 2026-11-21 .* up to 2026-11-20"):
        when.window("today", "yesterday", NOW, BERLIN)
    with pytest.raises(UsageError):
        when.window("today", "today", NOW, BERLIN)


def test_a_window_is_spelled_with_its_offset():
    day = when.window("2026-03-29", "2026-03-30", NOW, BERLIN)

    spelled = when.spell(day, BERLIN)

    assert spelled == "2026-03-29 00:00:00+01:00 up to 2026-03-30 00:00:00+02:00"
    assert when.spell((None, None), BERLIN) == "the beginning up to now"


def test_an_open_window_has_no_ends():
    assert when.window(None, None, NOW, BERLIN) == (None, None)


@pytest.mark.parametrize(
    "name", ["", "Mars/Base", "../../etc/passwd", "/etc/passwd", "a\0b"]
)
def test_a_timezone_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="no timezone"):
        when.zone(name)


def test_the_local_timezone_is_always_one():
    assert NOW.astimezone(when.zone("local")) == NOW
    assert when.zone("UTC") is UTC


@given(st.text(max_size=20))
def test_no_text_does_anything_but_mean_a_time_or_be_refused(word):
    try:
        meant = when.resolve(word, NOW, BERLIN)
    except UsageError:
        return
    assert meant.tzinfo is UTC


@given(st.datetimes(datetime(1980, 1, 1), datetime(2037, 1, 1)))  # noqa: DTZ001
def test_a_spelled_moment_means_the_same_again(moment):
    moment = moment.replace(microsecond=0, tzinfo=UTC)

    spelled = when.spell((moment, None), BERLIN).partition(" up to ")[0]

    assert when.resolve(spelled, NOW, BERLIN) == moment
