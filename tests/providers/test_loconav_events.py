"""What LocoNav pushes and lists of one thing is one event: fixes, times, alerts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.errors import (
    PayloadError,
)
from fleetd.event import (
    NORMAL,
    SAFETY,
    Position,
    has_fix,
    lane_of,
    pack,
    tag_of,
    unpack,
)
from fleetd.providers.loconav import PROVIDER, Settings, configured
from fleetd.when import Zone
from tests.providers.loconav_said import (
    LAGOS,
    few,
    pushed,
)

# both roads

PUSH = {
    "imei": "0350000000000042", "vehiclenumber": "KJA001XA", "speed": 34.0,
    "gpstime": "02-03-2026 10:14:05", "ignition": "1", "latitude": 6.4474,
    "longitude": 3.3903, "orientation": 360.0, "sharpTurn": "0", "harshBraking": "0",
    "harshAcceleration": "0", "rockBreakerPedal": "0",
}  # fmt: skip
SECOND = {
    "device_imei": "0350000000000042", "vehicle_number": "KJA001XA", "speed": 34.0,
    "gpstime": 1772446445, "ignition_on": True, "odometer_reading": 10.0,
    "latitude": 6.4474, "longitude": 3.3903, "direction": 0,
}  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    """A vehicle of `last_known`: the same fix as PUSH; `at=None` leaves a time out."""
    read = {"speed": 34.0, "orientation": "360", "ignition": "ON", "at": 1772446445}
    read |= {"speed_at": 1772446445, "ignition_at": None, "unit": "km/h"} | changes
    where = {
        key: {"unit": "degrees", "value": one, "timestamp": read["at"]}
        for key, one in (("lat", 6.4474), ("long", 3.3903))
    }
    return {
        "vehicleNumber": "KJA001XA",
        "vehicleId": "00000000-0000-4000-8000-000000000042",
        "gps": {
            "speed": {
                "value": read["speed"],
                "unit": read["unit"],
                "timestamp": read["speed_at"],
            },
            "ignition": {"value": read["ignition"], "timestamp": read["ignition_at"]},
            "orientation": {
                "value": read["orientation"],
                "timestamp": read["speed_at"],
            },
            "currentLocationCoordinates": where,
        },
    }


def known(**changes: Any) -> Position:
    (found,) = PROVIDER.normalize["positions"](json.dumps(row(**changes)).encode())
    assert isinstance(found, Position)
    return found


def same_columns(one: Position, two: Position) -> bool:
    names = [
        field.name
        for field in msgspec.structs.fields(Position)
        if field.name not in ("flags", "units")
    ]
    return all(getattr(one, name) == getattr(two, name) for name in names)


def test_a_pushed_fix_and_the_same_polled_are_one_in_every_column():
    (live,), (second,) = pushed(PUSH), pushed(SECOND)
    bare = msgspec.structs.replace(second, odometer=None)

    assert same_columns(live, known())
    assert same_columns(bare, known())
    assert live.id == second.id == known().id == "KJA001XA@1772446445000"
    assert live.heading_degrees == 0.0


@given(
    at=st.integers(1_500_000_000, 1_900_000_000),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "Africa/Lagos", "Asia/Kathmandu"]),
)
@few
def test_any_local_time_meets_its_epoch_in_zones_without_summer_time(at, zone):
    local = datetime.fromtimestamp(at, Zone(zone).info)
    provider = configured(Settings(zone=Zone(zone)))
    (live,) = pushed(PUSH | {"gpstime": local.strftime("%d-%m-%Y %H:%M:%S")}, provider)

    assert live.id == known(at=at).id


def test_a_speed_from_later_is_not_the_speed_of_the_fix():
    late = known(at=1772446174)
    kept = known(speed_at=1772446446)

    assert late.at == datetime(2026, 3, 2, 10, 9, 34, tzinfo=UTC)
    assert (late.speed_mph, late.heading_degrees, late.engine_state) == (None,) * 3
    assert kept.speed_mph == pytest.approx(34 / 1.609344)


def test_a_leaf_without_a_time_is_as_old_as_the_youngest():
    assert known().engine_state == "On"
    assert known(speed_at=1772446450).engine_state is None
    assert known(speed_at=1772446450, ignition_at=1772446445).engine_state == "On"
    assert known(speed_at=None).speed_mph == pytest.approx(34 / 1.609344)


@pytest.mark.parametrize(
    ("said", "state"),
    [("1", "On"), (1.0, "On"), ("0", "Off"), ("ON", "On"), ("off", "Off"), (True, "On"), (0, "Off"),
     ("", None), ("unknown", None), (None, None)],
)  # fmt: skip
def test_the_ignition_is_told_in_many_ways(said, state):
    (live,) = pushed(PUSH | {"ignition": said})

    assert live.engine_state == state


@pytest.mark.parametrize(
    ("said", "heading"), [(0, 0.0), (360, 0.0), (359.5, 359.5), (-1, None), (361, None)]
)
def test_a_heading_is_below_360_or_nothing(said, heading):
    (live,) = pushed(PUSH | {"orientation": said})

    assert live.heading_degrees == heading
    assert known(orientation=str(said)).heading_degrees == heading


@pytest.mark.parametrize(
    "changes",
    [{"latitude": 0.0, "longitude": 0.0}, {"latitude": None}, {"longitude": ""}],
)
def test_a_push_without_a_place_is_kept_apart_as_no_fix(changes):
    (live,) = pushed(PUSH | changes)

    assert not has_fix(live)


def test_what_nobody_can_place_or_date_says_whose_it_is_and_what_is_wrong():
    with pytest.raises(
        PayloadError, match=r"latitude .*'north'.*KJA001XA, 2026-03-02T"
    ):
        pushed(PUSH | {"latitude": "north"})
    with pytest.raises(PayloadError, match=r"gpstime .*'32-03-2026.*KJA001XA"):
        pushed(PUSH | {"gpstime": "32-03-2026 10:14:05"})
    with pytest.raises(PayloadError, match="vehiclenumber and imei"):
        pushed({"gpstime": "02-03-2026 10:14:05", "latitude": 1, "longitude": 1})


# times and zones

FORMS = {
    "2026-03-02T09:14:05Z": 0,
    "2026-03-02T10:14:05+01:00": 0,
    "2026-03-02T14:44:05.000+05:30": 0,
    "2026-03-02T10:14:05": 0,  # Lagos
    "2026-03-02 10:14:05": 0,
    "02-03-2026 10:14:05": 0,
    "02/03/2026 10:14:05": 0,
    "2026-03-02 09:14:05 UTC": 0,
    "1772442845": 0,
    1772442845: 0,
    1772442845123: 123,
    "1712031500123": None,
}


@pytest.mark.parametrize("said", FORMS, ids=str)
def test_every_form_of_a_time_is_one_moment_in_the_configured_zone(said):
    body = {
        "id": 1,
        "kind": "AntiTheftAlert",
        "vehicle_number": "A",
        "event_time": said,
    }
    (found,) = pushed(body, LAGOS)
    ms = FORMS[said]

    first = datetime(2026, 3, 2, 9, 14, 5, tzinfo=UTC)
    if ms is None:
        assert found.at == datetime(2024, 4, 2, 4, 18, 20, 123000, tzinfo=UTC)
    else:
        assert found.at == first + timedelta(milliseconds=ms)


def test_a_time_without_an_offset_is_flagged_while_nobody_said_its_zone():
    (assumed,), (sure,), (epoch,) = pushed(PUSH), pushed(PUSH, LAGOS), pushed(SECOND)

    assert assumed.flags == ("zone_assumed",)
    assert sure.flags == epoch.flags == ()
    assert assumed.at - sure.at == timedelta(hours=1)


def test_the_first_of_an_hour_that_comes_twice_is_meant():
    berlin = configured(Settings(zone=Zone("Europe/Berlin")))
    (live,) = pushed(PUSH | {"gpstime": "25-10-2026 02:30:00"}, berlin)

    assert live.at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert live.flags == ("zone_assumed",)


@pytest.mark.parametrize("text", [False, True])
def test_of_an_hour_that_comes_twice_neither_fix_hides_the_other(text):
    berlin = configured(Settings(zone=Zone("Europe/Berlin")))
    said = PUSH | {"gpstime": "25-10-2026 02:30:00"}
    later = said | {"latitude": "6.5" if text else 6.5}
    (first,), (again,), (other,) = (pushed(one, berlin) for one in (said, said, later))
    body = json.dumps(row(at=int(first.at.timestamp()))).encode()
    (listed,) = berlin.normalize["positions"](body)

    assert first.id == again.id == listed.id
    assert other.id != first.id
    (ordinary,) = pushed(PUSH | {"gpstime": "25-10-2026 03:00:00"}, berlin)
    assert ordinary.id == "KJA001XA@1792893600000"
    assert ordinary.flags == ()


def test_a_device_at_the_end_of_the_calendar_still_has_its_fix():
    kolkata = configured(Settings(zone=Zone("Asia/Kolkata")))
    (found,) = pushed(PUSH | {"gpstime": "9999-12-31T23:59:59Z"}, kolkata)

    assert found.at == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


# alerts

OVERSPEED = {
    "id": 90211, "kind": "OverspeedAlert", "vehicle_number": "KJA001XA", "speed": 81.0,
    "active_event_time": "2026-03-02T09:14:05Z", "active_event_latitude": 6.4474,
    "active_event_longitude": 3.3903,
}  # fmt: skip
OVER = {
    "inactive_event_time": "2026-03-02T09:16:40Z", "inactive_event_latitude": 6.4502,
    "inactive_event_longitude": 3.4011,
}  # fmt: skip


def listed(**changes: Any) -> list[Any]:
    told = {
        "id": 90211, "eventTime": 1772442845, "eventType": "OverspeedAlert",
        "startedTs": 1772442845, "startLocation": {"lat": 6.4474, "long": 3.3903},
        "endedTs": 1772443000, "endLocation": {"lat": 6.4502, "long": 3.4011},
        "vehicle": {"uuid": "u", "number": "KJA001XA"},
    }  # fmt: skip
    return list(PROVIDER.normalize["alerts"](json.dumps(told | changes).encode()))


def identities(events: list[Any]) -> set[tuple[str, str, str]]:
    return {(one.kind, one.id, tag_of(one)) for one in events}


def test_begin_and_end_in_two_messages_in_one_or_listed_are_the_same_two_events():
    begin, over = pushed(OVERSPEED), pushed({**OVERSPEED, **OVER})
    end = pushed({k: v for k, v in OVERSPEED.items() if "active" not in k} | OVER)

    assert identities(begin + end) == identities(over) == identities(listed())
    assert len(identities(over)) == 2


def test_an_open_alert_has_no_end_and_its_zeros_are_no_place():
    (begin,) = listed(endedTs=None, endLocation={"lat": 0, "long": 0, "address": None})
    (zero,) = listed(endedTs=0, startLocation={"lat": 0, "long": 0})

    assert begin.ended_at is None
    assert begin.resolved is None
    assert (zero.latitude, zero.longitude) == (None, None)


TWINS = [
    ("IdlingAlert", "VehicleIdleAlert"),
    ("FatigueAlert", "DriverFatigueAlert"),
    ("OverspeedAlert", "OverspeedAlert"),
    ("IgnitionAlert", "IgnitionAlert"),
    ("DeviceRemovalAlert", "DeviceRemovalAlert"),
    ("DeviceOfflineAlert", "DeviceOfflineAlert"),
    ("VehicleLowBatteryVoltageAlert", "VehicleLowBatteryVoltageAlert"),
    ("GeofenceAlert", "GeofenceAlert"),
    ("OverrevAlert", "over_rev"),
    ("NewFangledAlert", "NewFangledAlert"),
]


@pytest.mark.parametrize(("push", "poll"), TWINS)
def test_an_alert_is_one_event_under_the_names_of_both_roads(push, poll):
    by_push = pushed({**OVERSPEED, **OVER, "kind": push})

    assert identities(by_push) == identities(listed(eventType=poll))


@pytest.mark.parametrize(
    "kind",
    ["SuddenBrakingAlert", "SuddenAccelerationAlert", "CrashDuringOverspeedAlert",
     "SharpTurnAlert", "RefuelingAlert", "PossibleFuelTheftAlert"],
)  # fmt: skip
@pytest.mark.parametrize("ended", [None, 1772442845, 1772442849])
def test_a_point_is_one_event_however_it_is_listed(kind, ended):
    point = {
        "id": 90211, "kind": kind, "vehicle_number": "KJA001XA",
        "event_time": "2026-03-02T14:44:05.123+05:30", "latitude": 6.4474,
        "longitude": 3.3903,
    }  # fmt: skip

    assert identities(pushed(point)) == identities(
        listed(eventType=kind, endedTs=ended)
    )


def test_one_id_in_two_kinds_is_two_alerts():
    crash = pushed(OVERSPEED | {"kind": "CrashDuringOverspeedAlert"})

    assert {one.id for one in pushed(OVERSPEED) + crash} == {
        "overspeed:90211",
        "crash_during_overspeed:90211",
    }


def test_a_crash_goes_by_the_safety_lane_and_a_harsh_brake_does_not():
    point = {"id": 1, "vehicle_number": "A", "event_time": 1772442845}
    (crash,) = pushed(point | {"kind": "CrashDuringOverspeedAlert"})
    (brake,) = pushed(point | {"kind": "SuddenBrakingAlert"})

    assert (lane_of(crash), lane_of(brake)) == (SAFETY, NORMAL)


def test_an_unknown_kind_is_kept_with_all_it_says_and_counts_as_drift():
    (found,) = pushed({"id": 5, "kind": "CargoHatchAlert", "vehicle_number": "A", "hatch": 2,
                       "event_time": "2026-03-02T09:14:05Z"})  # fmt: skip
    (listed_,) = listed(eventType="RfidTapAlert", endedTs=None)

    assert (found.kind, found.type, found.detail) == (
        "other",
        "cargo_hatch",
        {"hatch": 2},
    )
    assert (listed_.kind, listed_.type) == ("alert", "rfid_tap")


def test_an_alert_is_one_event_in_every_shape_of_the_log():
    for one in pushed({**OVERSPEED, **OVER}) + listed() + pushed(PUSH):
        assert unpack(pack(one)) == one
