"""Our own clock: suspect until something agrees, and again when it jumps."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.clock import APART_S, STEADY_S, Clock
from fleetd.world import World, ntp_synchronised, steady_clock
from tests.conftest import MORNING


class Time:
    """A wall clock and a steady one, and what NTP says of them."""

    def __init__(self, *, ntp: bool = False) -> None:
        self.wall = self.steady = 0.0
        self.ntp = ntp
        self.world = World(
            now=lambda: MORNING + timedelta(seconds=self.wall),
            steady=lambda: self.steady,
            synchronised=lambda: self.ntp,
        )
        self.clock = Clock(self.world)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds
        self.clock.look()

    def date(self, off: float = 0.0) -> str:
        return format_datetime(self.world.now() + timedelta(seconds=off), usegmt=True)


def test_it_is_suspect_at_the_start_and_says_what_it_waits_for():
    clock = Time().clock

    assert not clock.trusted
    assert clock.state == "suspect"
    assert "waiting for NTP or an HTTPS Date" in clock.why


def test_ntp_settles_it_at_once():
    time = Time(ntp=True)

    assert time.clock.trusted
    assert (time.clock.state, time.clock.why) == ("ok", "")


def test_an_https_date_that_agrees_settles_it():
    time = Time()
    time.clock.heard(time.date(off=30))

    assert time.clock.state == "ok"


def test_an_https_date_that_disagrees_settles_nothing_and_is_told():
    time = Time()
    time.clock.heard(time.date(off=10_800))
    time.passes(STEADY_S * 2)

    assert time.clock.state == "suspect"
    assert "+10800 s off" in time.clock.why


@pytest.mark.parametrize("nonsense", ["", "yesterday", "0", "x" * 9999, "\0"])
def test_nonsense_is_no_witness(nonsense):
    time = Time()
    time.clock.heard(nonsense)

    assert time.clock.state == "suspect"


def test_one_far_side_that_is_wrong_does_not_unsettle_a_clock_that_is_believed():
    time = Time(ntp=True)
    time.clock.heard(time.date(off=-90_000))

    assert time.clock.trusted


@pytest.mark.parametrize("jump", [3 * 3600, -3 * 3600, 61, -61])
def test_a_jump_makes_it_suspect_until_something_agrees_again(jump):
    time = Time()
    time.clock.heard(time.date())
    time.wall += jump
    time.passes(5)
    assert not time.clock.trusted
    assert f"jumped by {jump:+d} s" in time.clock.why
    time.clock.heard(time.date())

    assert time.clock.trusted


def test_a_jump_that_ntp_made_is_believed():
    time = Time(ntp=True)
    time.wall += 86_400
    time.passes(5)

    assert time.clock.trusted


def test_small_steps_add_up():
    time = Time()
    time.clock.heard(time.date())
    for _ in range(7):
        time.wall += 10
        time.passes(5)

    assert not time.clock.trusted


def test_a_box_with_nobody_to_ask_is_believed_after_a_day_without_a_jump():
    time = Time()
    for _ in range(23):
        time.passes(3600)
        assert not time.clock.trusted
    time.passes(3601)

    assert time.clock.trusted
    assert time.clock.state == "unproven"
    assert "no NTP" in time.clock.why


def test_a_jump_starts_that_day_anew_and_a_date_ends_it():
    time = Time()
    time.passes(STEADY_S * 0.9)
    time.wall += 7200
    time.passes(STEADY_S * 0.2)
    assert not time.clock.trusted
    time.passes(STEADY_S)
    assert time.clock.state == "unproven"
    time.clock.heard(time.date())

    assert time.clock.state == "ok"


@given(
    drift=st.floats(-APART_S + 1, APART_S - 1),
    looks=st.integers(1, 50),
    ntp=st.booleans(),
)
def test_what_stays_within_a_minute_is_no_jump(drift, looks, ntp):
    time = Time(ntp=ntp)
    time.clock.heard(time.date())
    for n in range(looks):
        time.wall += drift / looks
        time.passes(60 * n)

    assert time.clock.trusted


def test_the_real_world_can_be_asked():
    assert steady_clock() > 0
    assert ntp_synchronised() in {True, False}
