"""The rules every event is held to, whatever its vendor's file let through."""

from __future__ import annotations

import math

import pytest

from fleetd.event import Place, Position, Safety, Trip, tidy


@pytest.mark.parametrize("odd", [-1.0, 1e308, math.inf, -math.inf, math.nan])
def test_a_number_that_no_vehicle_can_have_is_null_and_flagged(odd):
    fix = tidy(
        Position(id="p", latitude=1.0, longitude=2.0, speed_mph=odd, odometer=9.0)
    )
    place = tidy(Place(id="s", latitude=1.0, longitude=2.0, radius_metres=odd))
    trip = tidy(Trip(id="t", distance_miles=odd, duration_s=60.0, flags=("x",)))

    assert (fix.speed_mph, fix.odometer, fix.flags) == (None, 9.0, ("implausible",))
    assert (place.radius_metres, place.latitude, place.flags) == (
        None, 1.0, ("implausible",),
    )  # fmt: skip
    assert (trip.distance_miles, trip.duration_s) == (None, 60.0)
    assert trip.flags == ("x", "implausible")


@pytest.mark.parametrize(
    ("lat", "lon", "flags"),
    [(91.0, 2.0, ("implausible",)), (1.0, math.inf, ("implausible",)),
     (0.0, 0.0, ()), (1.0, None, ())],
)  # fmt: skip
def test_a_place_that_is_none_is_null_whatever_the_kind(lat, lon, flags):
    crash = tidy(Safety(id="s", latitude=lat, longitude=lon, speed_mph=30.0))
    trip = tidy(Trip(id="t", start_latitude=1.0, start_longitude=2.0,
                     end_latitude=lat, end_longitude=lon))  # fmt: skip

    assert (crash.latitude, crash.longitude, crash.flags) == (None, None, flags)
    assert crash.speed_mph == 30.0
    assert (trip.start_latitude, trip.end_latitude) == (1.0, None)


def test_what_is_in_order_is_not_even_copied():
    events = [
        Position(id="p", latitude=91.0, longitude=2.0, speed_mph=0.0, odometer=0.0),
        Place(id="s", latitude=1.0, longitude=2.0, radius_metres=5e5),
    ]

    assert all(tidy(one) is one for one in events)


def test_an_id_as_long_as_a_novel_is_its_hash():
    one, two, same = (tidy(Trip(id=x * 5000)).id for x in "aba")

    assert one == same != two
    assert len(one) == 32
