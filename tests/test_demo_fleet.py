"""How the demo fleet drives: without a jump, round the clock, home every day."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from fleetd.event import Position, Safety, has_fix
from fleetd.providers.demo import NORMALIZERS
from fleetd.providers.demo.far import activity, track
from fleetd.providers.demo.land import apart, sites
from fleetd.providers.demo.plan import VEHICLES, Leg, day_of, odometer, plan

MONDAY = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())
DAY = 86_400


def fixes(since: int, upto: int) -> dict[str, list[Position]]:
    found = defaultdict(list)
    for body in track(since, upto):
        (event,) = NORMALIZERS["positions"](body)
        found[event.vehicle].append(event)
    return found


def test_no_vehicle_jumps_and_every_odometer_counts_what_was_driven():
    for vehicle, track_ in fixes(MONDAY + 18 * 3600, MONDAY + 30 * 3600).items():
        assert all(has_fix(one) for one in track_)
        for one, two in pairwise(track_):
            took = (two.at - one.at).total_seconds()
            metres = math.hypot(
                *apart(one.latitude, one.longitude, two.latitude, two.longitude)
            )
            driven = (two.odometer - one.odometer) * 1609.344
            fastest = max(one.speed_mph, two.speed_mph) * 0.44704
            where = f"{vehicle} at {two.at}"

            assert driven >= 0, where
            assert metres <= driven + 4, where  # a corner cut, a digit rounded
            if took == 5:
                # 0.6 m/s² up, and down hard at most 4.2
                assert driven <= fastest * 5 + 0.6 * 12.5 + 4, where
                gained = (two.speed_mph - one.speed_mph) * 0.44704
                assert -4.3 * 5 <= gained <= 0.61 * 5, where
            else:
                assert driven == 0, where


def test_heading_agrees_with_where_a_vehicle_goes():
    checked = 0
    for track_ in fixes(MONDAY, MONDAY + 3 * 3600).values():
        for one, two in pairwise(track_):
            north, east = apart(
                one.latitude, one.longitude, two.latitude, two.longitude
            )
            if (
                one.heading_degrees != two.heading_degrees
                or math.hypot(north, east) < 60
            ):
                continue
            course = math.degrees(math.atan2(east, north))
            apart_by = abs((course - one.heading_degrees + 180) % 360 - 180)
            checked += 1
            assert apart_by < 1, (one, two)
    assert checked > 5_000


def test_odometers_never_run_back_over_the_years():
    for vehicle in range(VEHICLES):
        stands = [odometer(vehicle, day) for day in range(20_089, 21_550)]
        assert stands == sorted(stands)
        assert 0 < stands[0] < stands[-1]
        driven = plan(vehicle, 20_773).legs[-1].metres
        done = odometer(vehicle, 20_774) - odometer(vehicle, 20_773)
        assert driven == pytest.approx(done, abs=0.01)


def test_all_vehicles_report_every_five_seconds_on_shift_and_every_five_minutes_at_night():
    found = fixes(MONDAY, MONDAY + 600)

    assert len(found) == VEHICLES
    for track_ in found.values():
        gaps = {(b.at - a.at).total_seconds() for a, b in pairwise(track_)}
        working = {one.driver is not None for one in track_}
        if working == {True}:
            assert gaps == {5}
            assert len(track_) == 120
        if working == {False}:
            assert gaps == {300}
            assert {one.engine_state for one in track_} == {"Off"}


def leg_at(vehicle: int, time: int) -> Leg:
    return plan(vehicle, day_of(vehicle, time)).leg(time)


def test_at_any_hour_of_a_week_at_least_eight_move():
    for time in range(MONDAY, MONDAY + 7 * DAY, 1800):
        legs = [leg_at(vehicle, time) for vehicle in range(VEHICLES)]
        speeds = [
            leg.motion.state(time - leg.start).speed for leg in legs if leg.motion
        ]
        assert sum(speed > 0 for speed in speeds) >= 8, datetime.fromtimestamp(
            time, UTC
        )


def test_every_service_day_ends_in_the_yard_where_the_next_begins():
    for vehicle in range(VEHICLES):
        for day in range(20_700, 20_708):
            today, next_day = plan(vehicle, day), plan(vehicle, day + 1)
            for one, two in pairwise(today.legs):
                assert one.end == two.start
                assert one.target == two.origin
                assert one.start < one.end
            assert today.legs[-1].end == next_day.legs[0].start
            assert today.legs[-1].target == next_day.legs[0].origin
            assert today.legs[-1].motion is None
            assert today.legs[-1].target.yard


def test_now_and_then_something_happens_and_rarely_something_bad():
    made = [NORMALIZERS["activity"](one) for one in activity(MONDAY, MONDAY + 14 * DAY)]
    seen = [event for one in made for event in one]
    safety = [one for one in seen if isinstance(one, Safety)]
    severe = [one for one in safety if one.severity == "severe"]

    assert {one.kind for one in seen} == {
        "trip",
        "engine",
        "geofence",
        "safety",
        "fault",
        "duty",
    }
    assert 14 * 24 * 1.5 < len(safety) < 14 * 24 * 6  # every twenty minutes or so
    assert 1 <= len(severe) <= 10
    assert {"harsh_brake", "speeding"} < {one.type for one in safety}
    assert all(
        one.speed_mph > one.limit_mph for one in safety if one.type == "speeding"
    )


def test_a_trip_comes_open_and_then_complete_under_one_id():
    trips = defaultdict(list)
    for body in activity(MONDAY, MONDAY + DAY):
        (event,) = NORMALIZERS["activity"](body)
        if event.kind == "trip":
            trips[event.id].append(event)
    both = [pair for pair in trips.values() if len(pair) == 2]

    assert len(both) > 100
    for begun, done in both:
        assert begun.ended_at is None
        assert begun.revision < done.revision
        assert done.duration_s == (done.ended_at - done.started_at).total_seconds() > 0
        assert done.distance_miles / (done.duration_s / 3600) < 60


def test_a_vehicle_is_inside_the_fence_between_entry_and_exit():
    places = {site.id: site for site in sites()}
    notes = [
        e
        for b in activity(MONDAY, MONDAY + DAY // 4)
        for e in NORMALIZERS["activity"](b)
    ]
    tracks, checked = fixes(MONDAY, MONDAY + DAY // 4), 0
    for note in (one for one in notes if one.kind == "geofence"):
        site = places[note.place]
        for fix in tracks[note.vehicle]:
            late = (fix.at - note.at).total_seconds()
            if not 0 < abs(late) <= 10:
                continue
            far = math.hypot(*apart(site.lat, site.lon, fix.latitude, fix.longitude))
            inside = (late > 0) == (note.type == "entry")
            assert far <= site.radius + 25 if inside else far >= site.radius - 25, note
            checked += 1
    assert checked > 100
