"""Buckets, backoff and Retry-After: what they promise, for any rate and any rhythm."""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.pace import (
    LONGEST,
    LONGEST_ASKED,
    Backoff,
    Breaker,
    Bucket,
    Meter,
    Quota,
    Spacing,
    http_date,
    retry_after,
)

NOW = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
gaps_of = st.lists(st.floats(0, 200), min_size=1, max_size=60)
rates = st.floats(0.01, 500)
bursts = st.integers(1, 20)


def breach(went: list[float], rate: float, burst: int) -> bool:
    return any(
        n > burst + rate * (last - first) * (1 + 1e-9) + 1e-6
        for i, first in enumerate(went)
        for n, last in enumerate(went[i:], start=1)
    )


@given(gaps_of, rates, bursts, st.integers(0, 3), st.integers(0, 20))
def test_no_window_holds_more_than_burst_and_rate(gaps, rate, burst, reserve, tokens):
    bucket = Bucket(rate, burst, tokens=tokens, filled_at=0.0, reserve=reserve)
    now, went = 0.0, []
    for n, gap in enumerate(gaps):
        now += gap
        now += bucket.take(now, urgent=n % 3 == 0)
        went.append(now)

    assert not breach(went, rate, burst)


@given(gaps_of, rates, bursts, st.sets(st.integers(0, 59)))
def test_cuts_never_let_more_through(gaps, rate, burst, cuts):
    bucket, now, went = Bucket(rate, burst, filled_at=0.0), 0.0, []
    for n, gap in enumerate(gaps):
        now += gap
        if n in cuts:
            bucket.cut(now)
        now += bucket.take(now)
        went.append(now)

        assert rate / 16 - 1e-9 <= bucket.rate <= rate + 1e-9
    assert not breach(went, rate, burst)


@given(rates, bursts)
def test_a_bucket_in_steady_use_gives_the_whole_rate(rate, burst):
    bucket, now = Bucket(rate, burst, filled_at=0.0), 0.0
    for _ in range(200):
        now += bucket.take(now)

    assert 200 / now >= rate * 0.999


@given(gaps_of, rates, bursts, st.integers(0, 3), st.sets(st.integers(0, 59)))
def test_no_second_and_no_minute_of_a_quota_holds_more_than_the_limit(
    gaps, rate, burst, reserve, cuts
):
    quota, now, went = Quota(rate, burst, reserve=reserve), 0.0, []
    for n, gap in enumerate(gaps * 3):
        now += gap / 50
        if n in cuts:
            quota.cut(now)
        now += quota.take(now, urgent=n % 5 == 0)
        went.append(now)

    assert not breach(went, rate, burst)
    for span in (1.0, 60.0):
        most = max(burst, math.ceil(rate * span))
        most += reserve if most < 10 else 0
        counts = (i + 1 - bisect_left(went, one - span) for i, one in enumerate(went))
        assert max(counts) <= most


@given(st.floats(0.001, 0.3), st.integers(0, 299))
def test_a_call_that_came_late_is_counted_when_it_may_have_come(late, number):
    """Answers take 1 ms, this one more: the way there may have taken all of that."""
    quota, now, there = Quota(50.0, 10, reserve=1), 0.0, []
    for n in range(300):
        now += quota.take(now)
        took = late if n == number else 0.001
        there.append(now + min(took, 0.19))
        quota.landed(now, now + took)
        now += took

    assert max(n + 1 - bisect_left(there, at - 1.0) for n, at in enumerate(there)) <= 50


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=50))
def test_answers_that_take_now_long_now_short_cost_no_more_than_2_percent(lates):
    went = depart_from(Quota(50.0, 10, reserve=1), 9000, lates)

    assert 9000 / went[-1] >= 50 * 0.98


def test_a_jittery_road_and_slow_answers_bring_no_more_to_the_far_side_than_it_allows():
    """One call in fifty is 20 ms late on its way, one in fifty so late on its way back."""
    chance = random.Random(4)
    there = [0.001 + 0.02 * (chance.random() < 0.02) for _ in range(15_000)]
    whole = [one + 0.001 + 0.02 * (chance.random() < 0.02) for one in there]
    went = depart_from(Quota(50.0, 10, reserve=1), 15_000, whole)
    came = sorted(at + late for at, late in zip(went, there, strict=True))

    assert 15_000 / went[-1] >= 50 * 0.985
    assert max(n + 1 - bisect_left(came, at - 1.0) for n, at in enumerate(came)) <= 50


def depart_from(quota: Quota, count: int, answered: list[float]) -> list[float]:
    """When each went that was always wanted; each is answered so much later."""
    now, went = 0.0, []
    under_way: list[tuple[float, float]] = []
    while len(went) < count:
        while under_way and under_way[0][0] <= now:
            landed, began = heapq.heappop(under_way)
            quota.landed(began, landed)
        if wait := quota.wait(now):
            now = min(now + wait, under_way[0][0] if under_way else math.inf)
            continue
        quota.take(now)
        took = answered[len(went) % len(answered)]
        heapq.heappush(under_way, (now + took, now))
        went.append(now)
    return went


@given(rates, st.integers(2, 20), st.integers(0, 3))
def test_a_quota_in_steady_use_gives_98_percent_of_the_rate(rate, burst, reserve):
    quota = Quota(rate, burst, reserve=reserve)
    begin = now = quota.take(0.0)  # the reserve fills first
    for _ in range(400):
        now += quota.take(now)

    assert 400 / (now - begin) >= rate * 0.98


def test_a_quota_makes_up_for_a_halt_and_does_not_bunch_for_ever():
    quota, now, went = Quota(50.0, 10, reserve=1), 0.0, []
    for n in range(12_000):
        now += 0.18 if n in {100, 700, 701} else 0.0
        now += quota.take(now)
        went.append(now)
    steps = [after - before for before, after in pairwise(went[100:])]

    assert 12_000 / now >= 50 * 0.98
    assert max(steps[:1000]) > 0.17
    assert max(steps[-1000:]) <= 1.1 / 50


def test_what_is_urgent_needs_not_wait_a_minute_where_the_limit_is_a_handful():
    quota, now = Quota(0.05, 2, reserve=1), 0.0
    for _ in range(20):
        now += quota.take(now)

    assert quota.wait(now) > 15
    assert quota.wait(now, urgent=True) == 0.0


def test_a_bucket_begins_empty_and_saves_up_no_more_than_its_burst():
    bucket = Bucket(2.0, 3, filled_at=100.0)

    assert bucket.wait(100.0) == pytest.approx(0.5)
    assert [bucket.take(1000.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(1000.0) == pytest.approx(0.5)


def test_the_reserve_is_there_for_what_is_urgent_when_the_rest_is_spent():
    bucket = Bucket(1.0, 5, tokens=5, filled_at=0.0, reserve=2)
    while bucket.wait(0.0) == 0.0:
        bucket.take(0.0)

    assert bucket.wait(0.0) > 0
    assert bucket.take(0.0, urgent=True) == 0.0
    assert bucket.take(0.0, urgent=True) == 0.0
    assert bucket.wait(0.0, urgent=True) == pytest.approx(1.0)


def test_the_reserve_costs_the_rest_nothing_of_the_rate():
    bucket, now = Bucket(10.0, 5, filled_at=0.0, reserve=2), 0.0
    for _ in range(1000):
        wait = bucket.wait(now)
        now += wait
        bucket.take(now)

    assert 1000 / now >= 9.8


def test_a_cut_halves_the_rate_and_minutes_bring_it_back():
    bucket = Bucket(10.0, 5, tokens=5, filled_at=0.0)
    bucket.cut(0.0)

    assert bucket.rate == 5.0
    assert bucket.wait(0.0) > 0
    bucket.wait(61.0)
    assert bucket.rate == 6.0
    bucket.wait(6 * 60.0)
    assert bucket.rate == 10.0


def test_many_who_hear_the_same_news_at_once_cut_once():
    bucket = Bucket(16.0, 5, filled_at=0.0)
    for n in range(40):
        bucket.cut(n / 100)
    bucket.cut(1.5)

    assert bucket.rate == 4.0


def test_a_clock_that_stands_or_goes_back_gives_nothing_away():
    bucket = Bucket(1.0, 1, filled_at=50.0)
    bucket.take(51.0)

    assert bucket.wait(51.0) == pytest.approx(1.0)
    assert bucket.wait(10.0) == pytest.approx(1.0)


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_backoff_stays_between_its_base_and_five_minutes(seed, failures):
    backoff = Backoff(random.Random(seed))
    waits = [backoff.failed() for _ in range(failures)]

    assert all(1.0 <= wait <= LONGEST for wait in waits)
    assert waits[0] <= 3.0


def test_backoff_grows_to_minutes_and_starts_over_after_a_success():
    backoff = Backoff(random.Random(1))
    waits = [backoff.failed() for _ in range(40)]
    backoff.succeeded()

    assert sum(waits[:5]) < 120
    assert min(waits[10:]) >= 100
    assert len({round(wait, 3) for wait in waits}) == 40
    assert backoff.failed() <= 3.0


def test_a_breaker_opens_at_the_fifth_failure_in_a_row():
    breaker = Breaker(random.Random(1))
    states = []
    for _ in range(5):
        breaker.failed()
        states.append(breaker.state)
    breaker.succeeded()

    assert states == ["closed"] * 4 + ["open"]
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", 120.0),
        ("0.4", 0.4),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("-1", 0.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=9), usegmt=True), 0.0),
        ("Sunday, 22-Nov-26 00:00:00 GMT", 3600.0),
        ("31536000", LONGEST_ASKED),
        ("1e300", LONGEST_ASKED),
        ("inf", LONGEST_ASKED),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("9" * 5000, LONGEST_ASKED),
        ("Fri, 99 Foo 20026 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_obeyed_within_reason(header, wait):
    assert retry_after(header, NOW) == wait


@given(st.text(max_size=80))
def test_no_retry_after_can_do_harm(header):
    wait = retry_after(header, NOW)

    assert wait is None or (0 <= wait <= LONGEST_ASKED and math.isfinite(wait))


def test_a_date_without_a_zone_is_read_as_utc():
    assert http_date("Sat, 21 Nov 2026 22:00:00") == NOW
    assert http_date("no date") is None


def test_the_meter_shows_the_rate_of_the_last_minutes():
    meter = Meter(0.0)
    for second in range(600):
        rate = meter.add(10, float(second))

    assert rate == pytest.approx(10.0, rel=0.05)
    assert meter.add(0, 1200.0) < 0.1


limits = st.one_of(
    st.integers(1, 200).map(float), st.sampled_from([20 / 60, 500 / 60, 100 / 60, 0.01])
)
late = st.floats(0, 0.4)


def fullest(went: list[float], span: float) -> int:
    """The most departures in any half-open window of that length."""
    went = sorted(went)
    return max(bisect_left(went, first + span) - i for i, first in enumerate(went))


def depart(
    limit: float, lates: list[float], gaps: dict[int, float], count: int
) -> list[float]:
    """Departures of some who always wait, save for `gaps`; each as late as is said."""
    spacing, now, since, went = Spacing(limit, 0.0), 0.0, 0.0, []
    for n in range(count):
        if n in gaps:
            since = now = now + gaps[n]
        now = max(now, spacing.due(now)) + lates[n % len(lates)]
        spacing.take(now, since)
        spacing.gone(now)
        went.append(now)
    return went


@given(
    limits,
    st.lists(late, min_size=1, max_size=30),
    st.dictionaries(st.integers(0, 400), st.floats(0, 70), max_size=8),
)
def test_no_second_and_no_minute_holds_more_departures_than_the_limit(
    limit, lates, gaps
):
    went = depart(limit, lates, gaps, 400)

    for span in (1.0, 60.0):
        assert fullest(went, span * 1.008) <= max(1, math.ceil(limit * span - 1e-9))


@given(limits, st.data())
def test_departures_that_leave_late_and_out_of_order_keep_to_the_limit(limit, data):
    spacing, now, went, pending = Spacing(limit, 0.0), 0.0, [], []
    for _ in range(120):
        due = spacing.due(now)
        leaves = min(pending, default=math.inf)
        now = max(now, min(due, leaves))
        if leaves <= due:
            pending.remove(leaves)
            spacing.gone(now)
            went.append(now)
        else:
            spacing.take(now, now)
            pending.append(
                now + data.draw(st.sampled_from([0.0, 0.0, 0.001, 0.2, 3.0]))
            )

    for span in (1.0, 60.0):
        assert fullest(went or [0.0], span * 1.008) <= max(
            1, math.ceil(limit * span - 1e-9)
        )


# 150 a second is the highest limit that any vendor has for a credential
@given(st.floats(0.01, 150), st.lists(st.floats(0, 0.003), min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_sleeps_that_overshoot_lose_nothing_of_the_rate(limit, lates):
    count = 600
    went = depart(limit, lates, {}, count)

    assert (count - 1) / (went[-1] - went[0]) >= limit * 0.98


def test_a_short_stall_is_caught_up_with_as_far_as_the_limit_allows():
    lates = [0.0] * 70 + [0.05]
    went = depart(40.0, lates, {}, 4000)

    assert (len(went) - 1) / (went[-1] - went[0]) >= 40.0 * 0.98
    assert fullest(went, 1.0) <= 40


def test_nothing_is_saved_up_while_nobody_waits():
    went = depart(10.0, [0.0], {50: 300.0}, 100)

    gaps = [later - one for one, later in pairwise(went)]
    assert min(gaps) >= 0.1


def test_a_spacing_begins_empty_and_at_even_steps():
    went = depart(5.0, [0.0], {}, 3)

    assert went == pytest.approx([0.2032, 0.4064, 0.6096])


def test_one_refusal_costs_little_and_a_second_within_the_minute_half():
    spacing = Spacing(10.0, 0.0)
    assert spacing.cut(0.0)
    assert not spacing.cut(0.5)  # the same news
    assert spacing.rate == 9.5
    assert spacing.cut(2.0)

    assert spacing.rate == 4.75


def test_a_spacing_that_is_cut_probes_back_by_the_minute():
    spacing = Spacing(10.0, 0.0)
    spacing.cut(0.0)
    spacing.cut(10.0)
    spacing.due(71.0)

    assert spacing.rate == 5.75
    spacing.due(10_000.0)
    assert spacing.rate == 10.0


def test_what_is_refused_again_and_again_ends_at_a_sixteenth():
    spacing = Spacing(16.0, 0.0)
    for n in range(40):
        spacing.cut(n * 2.0)

    assert spacing.rate == 1.0


def test_another_limit_holds_from_then_on_and_what_was_cut_stays_cut():
    spacing = Spacing(10.0, 0.0)
    spacing.cut(0.0)
    spacing.limit(20.0)
    assert (spacing.full, spacing.rate) == (20.0, 19.0)
    spacing.limit(2.0)

    assert (spacing.full, spacing.rate) == (2.0, 1.9)
