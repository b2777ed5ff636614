"""What Motive may send beyond the samples: every action, every probe, points in any form."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import PayloadError
from fleetd.event import MPH_PER_KPH, NORMAL, SAFETY, AnyEvent, lane_of, tag_of
from fleetd.providers import reading
from fleetd.providers.motive import PROVIDER, unpack
from fleetd.providers.motive.positions import lenient, position
from fleetd.web import Request
from tests.tries import tries

UNIT = {
    "id": 2060101,
    "number": "52584",
    "vin": "1FUJHHDR3MLMT2101",
    "metric_units": False,
}
PERSON = {
    "id": 10769630,
    "first_name": "Dana",
    "last_name": "Whitfield",
    "role": "driver",
}
POINT = {
    "action": "vehicle_location_received",
    "id": "85d58917-2ba3-57ca-a55c-b7f2812b7e84",
    "vehicle_id": 2060102,
    "vehicle_number": "52585_IL",
    "located_at": "2026-05-12T14:00:31Z",
    "lat": 41.878113,
    "lon": -87.629799,
    "bearing": 181.0,
    "speed": 61.5,
    "odometer": 688120.9,
    "type": "vehicle_moving",
    "description": "Chicago, IL",
}
ACTIONS = {
    "vehicle_location_updated": "position",
    "vehicle_location_received": "position",
    "vehicle_geofence_event": "geofence",
    "asset_geofence_event": "geofence",
    "fault_code_opened": "fault",
    "fault_code_closed": "fault",
    "hos_violation_upserted": "duty",
    "user_upserted": "driver",
    "vehicle_upserted": "vehicle",
    "user_duty_status_updated": "duty",
    "inspection_report_upserted": "inspection",
    "driver_performance_event_created": "safety",
    "driver_performance_event_updated": "safety",
    "speeding_event_created": "safety",
    "speeding_event_updated": "safety",
    "engine_toggle_event": "engine",
    "vehicle_gateway_disconnected": "device",
    "vehicle_gateway_disconnect_ended": "device",
    "ai_coach_recap_created": "document",
    "dispatch_form_entry_created": "document",
    "form_entry_upserted": "document",
    "asset_location_received": "other",
    "fuel_purchase_created": "other",
}


def post(body: Any) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request("POST", "/webhooks/south", "", {}, raw, "127.0.0.1")


def one(body: dict[str, Any]) -> AnyEvent:
    (record,) = unpack(post(body)).records
    (found,) = PROVIDER.normalize[record.feed](record.body)
    return found


@pytest.mark.parametrize(("action", "kind"), ACTIONS.items())
def test_every_action_has_its_kind_with_vehicle_and_driver(action, kind):
    found = one(
        POINT
        | {
            "action": action,
            "vehicle": UNIT,
            "driver": PERSON,
            "user": PERSON,
            "start_driver": PERSON,
        }
    )

    assert found.kind == kind
    if kind not in ("vehicle", "driver"):
        assert found.vehicle == "2060101"
    if action not in ("user_upserted", "vehicle_upserted", "user_duty_status_updated"):
        assert (found.driver, found.driver_name) == ("10769630", "Dana Whitfield")


@pytest.mark.parametrize(
    "body",
    [
        {"action": "test"},
        {"Action": " TEST "},
        ["vehicle_location_updated"],
        ["fault_code_closed", "vehicle_upserted"],
        [],
        [["vehicle_location_updated"]],
        b"[vehicle_location_updated]",
        b" [ vehicle_location_updated, fault_code_opened ]\r\n",
        b"['vehicle_location_updated']",
        b'"test"',
        b"null",
        b"",
        b" \n",
        [{"action": "test"}],
    ],
)
def test_a_probe_is_empty_and_gives_no_record(body):
    found = unpack(post(body))

    assert (list(found.records), found.empty) == ([], 1)


@pytest.mark.parametrize(
    "body",
    [
        b"not json at all",
        b"{",
        b"[",
        b'{"action":',
        b'[{"action":"vehicle_upserted"}',
        b"[vehicle_location_updated",
        b"\xff\xfe",
        b"<html>",
    ],
)
def test_what_is_no_json_and_no_probe_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        unpack(post(body))


def test_a_batch_is_split_and_its_probes_counted():
    found = unpack(
        post(
            [
                POINT,
                {"action": "test"},
                {"action": "vehicle_upserted", "id": 1},
                "odd",
                [POINT],
            ]
        )
    )

    assert [record.feed for record in found.records] == [
        "positions",
        "records",
        "records",
        "records",
    ]
    assert found.empty == 1
    assert json.loads(found.records[0].body) == POINT
    for odd in found.records[2:]:
        with pytest.raises(PayloadError):
            list(PROVIDER.normalize[odd.feed](odd.body))


def test_a_body_without_an_action_becomes_a_dead_letter():
    for body in ({}, {"action": None}, {"action": {}}, {"id": 5}):
        with pytest.raises(PayloadError, match="action"):
            one(body)


def test_a_point_has_the_vendors_id_by_either_action_and_any_road():
    updated = one(POINT | {"action": "vehicle_location_updated"})

    assert updated == one(POINT)
    assert updated.id == POINT["id"]


@pytest.mark.parametrize(
    "action",
    [
        "Vehicle_Location_Received",
        "VEHICLE_LOCATION_UPDATED",
        "vehicleLocationReceived",
    ],
)
def test_a_point_is_one_in_whatever_case_its_action_comes(action):
    assert one(POINT | {"action": action}) == one(POINT)


def test_a_new_action_about_locations_that_is_no_point_is_kept():
    found = one({"action": "vehicle_location_sharing_changed", "id": 5, "on": True})

    assert (found.kind, found.type) == ("other", "vehicle_location_sharing_changed")
    assert one({"action": "!?", "id": 5}).type == "unknown"


def test_points_without_an_id_go_by_vehicle_time_and_type():
    stop, on = (
        one(POINT | {"id": None, "type": kind})
        for kind in ("engine_stop", "ignition_on")
    )

    assert stop.id == "2060102@1778594431000@engine_stop"
    assert stop.id != on.id


@pytest.mark.parametrize(
    ("kind", "speed", "state"),
    [
        ("ignition_off", 5, "Off"),
        ("engine_stop", None, "Off"),
        ("vehicle_stopped", 0, "Idle"),
        ("gps_stopped", None, "Idle"),
        ("vehicle_moving", None, "On"),
        ("vehicle_driving", 0, "On"),
        ("gps_moving", 1, "On"),
        ("ignition_on", None, "Idle"),
        ("engine_start", None, "Idle"),
        ("breadcrumb", 3.1, "On"),
        ("breadcrumb", 3, "Idle"),
        ("breadcrumb", None, None),
        (None, 40, "On"),
        (None, 0, "Idle"),
        (None, None, None),
        ("new_kind", 40, "On"),
        ("new_kind", 0, None),
    ],
)
def test_the_engines_state_follows_from_the_type_or_the_speed(kind, speed, state):
    quick = one(POINT | {"type": kind, "speed": speed})
    slow = one(POINT | {"type": kind, "speed": speed, "vehicle": UNIT})

    assert quick.engine_state == slow.engine_state == state


def test_a_points_numbers_stay_as_they_came_and_units_say_how_to_read_them():
    assert (one(POINT).units, one(POINT).speed_mph) == ("unknown", 61.5)
    assert one(POINT | {"metric_units": True}).units == "metric"
    assert one(POINT | {"vehicle": UNIT}).units == "us"
    assert one(POINT | {"vehicle": UNIT | {"metric_units": "true"}}).units == "metric"
    assert one(POINT | {"true_odometer": 5}).odometer == 5


@pytest.mark.parametrize(
    ("bearing", "heading"),
    [(360, 0), (-90, 270), (725.5, 5.5), ("181", 181), (None, None), (-1e-20, 0)],
)
def test_a_heading_is_from_0_up_to_360(bearing, heading):
    assert one(POINT | {"bearing": bearing}).heading_degrees == heading


def test_a_point_is_read_with_numbers_as_text_nulls_and_keys_in_other_case():
    usual = one(POINT)
    text = {
        key: value if isinstance(value, str) else str(value)
        for key, value in POINT.items()
    }
    upper = {key.upper(): value for key, value in POINT.items()}
    offset = POINT | {"located_at": "2026-05-12T16:00:31.000+02:00"}
    padded = POINT | {
        "vehicle_number": " 52585_IL ",
        "description": "Chicago, IL ",
        "extra": {"a": [1]},
    }

    assert usual == one(text) == one(upper) == one(offset) == one(padded)
    assert usual == one(
        POINT | {"vehicle": None, "driver": None, "vehicle_id": "2060102"}
    )
    assert one(POINT | {"speed": "", "bearing": "", "odometer": None}).speed_mph is None


def test_of_a_key_in_two_cases_the_one_that_says_something_counts():
    unit = {"id": None, "ID": 2060101, "Number": "52584", "number": None}
    found = one(POINT | {"vehicle_id": None, "current_vehicle": unit})

    assert (found.vehicle, found.number) == ("2060101", "52584")


def test_a_point_without_coordinates_is_an_event_without_a_fix():
    for nothing in (None, "", "drop"):
        body = POINT | {"lat": nothing, "lon": nothing}
        if nothing == "drop":
            del body["lat"], body["lon"]
        assert (one(body).latitude, one(body).longitude) == (None, None)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("located_at", None, "located_at .*2060102"),
        ("located_at", "soon", "located_at .*2060102"),
        ("located_at", "0001-01-01T00:00:00Z", "located_at"),
        ("vehicle_id", None, "vehicle_id"),
        ("lat", "north", "lat .*2060102"),
        ("lon", [1], "lon .*2060102"),
    ],
)
def test_an_unreadable_point_names_the_field_and_the_vehicle(key, value, said):
    with pytest.raises(PayloadError, match=said):
        one(POINT | {key: value})


def test_the_vehicle_and_driver_of_a_point_may_be_objects():
    found = one(
        POINT
        | {"current_vehicle": {"ID": "7", "Number": "T-7"}, "current_driver": PERSON}
    )

    assert (found.vehicle, found.number, found.driver_name) == (
        "7",
        "T-7",
        "Dana Whitfield",
    )
    assert one(POINT | {"driver_id": 5}).driver == "5"


SPAN = (datetime(1971, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001  hypothesis adds the zone
numbers = st.none() | st.floats(-1e9, 1e9) | st.integers(-(10**6), 10**6)
words = st.none() | st.text(max_size=12)


@settings(max_examples=tries(300), deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.text(max_size=12),
            "speed": numbers,
            "bearing": numbers,
            "lat": st.floats(-90, 90),
            "lon": st.integers(-180, 180),
            "odometer": numbers,
            "true_odometer": numbers,
            "type": words | st.sampled_from(["breadcrumb", "engine_stop"]),
            "description": words,
            "vehicle_number": words,
            "metric_units": st.none() | st.booleans(),
            "located_at": st.datetimes(*SPAN, timezones=st.just(UTC)).map(
                datetime.isoformat
            ),
        },
    )
)
def test_the_quick_way_and_the_lenient_way_read_a_point_alike(changes):
    body = json.dumps(POINT | changes).encode()
    (quick,) = position(body)

    assert quick == lenient(reading.loads(body))


def test_entry_and_exit_share_the_vendors_id_and_are_two_events():
    body = {
        "action": "vehicle_geofence_event", "id": 788719936, "geofence_id": 1259590, "vehicle": UNIT,
        "start_time": "2026-05-12T13:16:51Z", "start_driver": PERSON, "end_driver": PERSON | {"id": 2},
    }  # fmt: skip
    entry = one(body | {"event_type": "geofence_entry"})
    left = one(
        body
        | {
            "event_type": "geofence_exit",
            "end_time": "2026-05-12T14:13:08Z",
            "duration": "3377",
        }
    )

    assert (entry.id, left.id) == ("788719936:entry", "788719936:exit")
    assert (entry.type, left.type, left.duration_s) == ("entry", "exit", 3377)
    assert (entry.driver, left.driver) == ("10769630", "2")
    assert entry.at < left.at
    assert one(body | {"end_time": "2026-05-12T14:13:08Z"}).type == "exit"


def test_a_fault_opened_closed_and_opened_again_is_one_id_in_the_right_order():
    def fault(way, seen):
        return one({"action": f"fault_code_{way}", "id": 48401, "code": 111, "fmi": "1", "network": "j1939",
                    "first_observed_at": "2026-05-12T13:00:00Z", "last_observed_at": f"2026-05-12T{seen}:00Z"})  # fmt: skip

    copies = [
        fault("opened", "13:00"),
        fault("closed", "13:00"),
        fault("opened", "14:00"),
        fault("closed", "15:00"),
    ]

    assert {one.id for one in copies} == {"48401"}
    assert sorted(one.revision for one in copies) == [one.revision for one in copies]
    assert len({tag_of(one) for one in copies}) == 4
    assert sorted(one.at for one in copies) == [one.at for one in copies]
    assert [one.type for one in copies] == ["on", "off", "on", "off"]
    assert (copies[0].code, copies[0].spn, copies[0].fmi) == ("SPN 111 FMI 1", 111, 1)


def test_a_duty_status_is_named_by_user_and_time_since_the_id_is_the_users():
    def duty(status, at):
        return one(
            {
                "action": "user_duty_status_updated",
                "duty_status": status,
                "updated_at": at,
            }
            | PERSON
        )

    first, later = (
        duty("driving", "2026-05-12T13:04:09Z"),
        duty("sleeper", "2026-05-12T15:04:09Z"),
    )

    assert first.id == "10769630@1778591049000"
    assert first.id != later.id
    assert (first.status, later.status, first.driver_name) == (
        "driving",
        "sleeper_berth",
        "Dana Whitfield",
    )


def test_a_duty_status_without_a_time_is_not_as_old_as_its_driver():
    told = {"action": "user_duty_status_updated", "created_at": "2019-03-01T08:00:00Z"}
    first, later = (
        one(told | PERSON | {"duty_status": status}) for status in ("driving", "off")
    )

    assert (first.at, later.at) == (None, None)
    assert first.id != later.id


def test_a_violation_takes_the_safety_lane_and_its_end_is_another_copy():
    body = {
        "action": "hos_violation_upserted",
        "id": 1,
        "type": "driving_11",
        "start_time": "2026-05-12T19:00:00Z",
        "user": PERSON,
    }
    begun, over = one(body), one(body | {"end_time": "2026-05-12T20:00:00Z"})

    assert lane_of(begun) == SAFETY
    assert begun.id == over.id
    assert tag_of(begun) != tag_of(over)
    assert over.duration_s == 3600


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("hard_brake", "harsh_brake"),
        ("hard_accel", "harsh_acceleration"),
        ("hard_corner", "harsh_corner"),
        ("crash", "crash"),
        ("seat_belt_violation", "seatbelt"),
        ("tailgating", "following_distance"),
        ("drowsiness", "drowsiness"),
        ("lane_swerving_event", "lane_swerving"),
        ("Something New", "something_new"),
    ],
)
def test_behaviours_have_our_words(kind, ours):
    found = one(
        {
            "action": "driver_performance_event_created",
            "id": 1,
            "type": kind,
            "start_speed": "88.2",
        }
    )

    assert (found.type, found.speed_mph) == (ours, 88.2 * MPH_PER_KPH)
    assert lane_of(found) == (SAFETY if ours == "crash" else NORMAL)


def test_critical_is_severe_and_takes_the_safety_lane():
    found = one(
        {
            "action": "speeding_event_created",
            "id": 1,
            "metadata": {"severity": "Critical"},
        }
    )

    assert (found.severity, lane_of(found)) == ("severe", SAFETY)


def test_created_and_updated_share_an_id_and_differ_as_copies():
    body = {"id": 2453258760, "coaching_status": "coachable", "vehicle_id": 1}
    first = one(body | {"action": "speeding_event_created"})
    again = one(body | {"action": "speeding_event_updated"})
    later = one(
        body | {"action": "speeding_event_updated", "coaching_status": "coached"}
    )
    stamped = one(
        body
        | {"action": "speeding_event_updated", "updated_at": "2026-05-12T14:00:31Z"}
    )

    assert first.id == later.id
    assert tag_of(first) == tag_of(again) != tag_of(later)
    assert stamped.revision == 1778594431000


def test_a_gateway_that_is_back_is_a_later_copy_of_its_loss():
    body = {"id": 771203, "vehicle": UNIT, "start_time": "2026-05-12T16:20:00Z"}
    lost = one(body | {"action": "vehicle_gateway_disconnected"})
    back = one(
        body
        | {
            "action": "vehicle_gateway_disconnect_ended",
            "end_time": "2026-05-12T17:20:00Z",
        }
    )

    assert (lost.id, lost.type, back.type) == (back.id, "disconnected", "reconnected")
    assert lost.revision < back.revision


def test_an_engine_toggle_is_named_by_whose_and_when():
    body = {
        "action": "engine_toggle_event",
        "trigger": "on",
        "vehicle_id": 5,
        "located_at": "2026-05-12T12:58:40Z",
    }

    assert one(body).id == "5@1778590720000@engine_on"
    assert one(body | {"trigger": "off"}).id != one(body).id
    assert one({"action": "engine_toggle_event", "trigger": "off"}).type == "off"


def test_an_inspections_odometer_is_miles_whatever_the_account():
    body = {
        "action": "inspection_report_upserted",
        "id": 1,
        "odometer": "1.609344",
        "status": "Harmless",
    }

    assert one(
        body | {"vehicle": UNIT | {"metric_units": True}}
    ).odometer == pytest.approx(1.0)
    assert one(body | {"vehicle": UNIT}).odometer == 1.609344
    assert one(body).status == "safe"


@pytest.mark.parametrize("role", ["driver", "admin", "fleet_user", None])
def test_a_user_of_any_role_is_kept_with_the_role(role):
    found = one(
        {"action": "user_upserted", "updated_at": "2026-05-12T12:00:09Z"}
        | PERSON
        | {"role": role}
    )

    assert (found.kind, found.id, found.role, found.revision) == (
        "driver",
        "10769630",
        role,
        1778587209000,
    )


def test_a_vehicle_says_its_units_and_since_when_it_is_known():
    found = one(
        {
            "action": "vehicle_upserted",
            "id": "9",
            "metric_units": "false",
            "vin": " 1fujhhdr3mlmt2101 ",
            "year": "",
            "created_at": "2023-02-01T10:00:00Z",
        }
    )

    assert (found.id, found.vehicle, found.metric_units) == ("9", "9", False)
    assert (found.vin, found.year) == ("1FUJHHDR3MLMT2101", None)
    assert found.since == datetime(2023, 2, 1, 10, tzinfo=UTC)


def test_unknown_actions_on_one_id_are_told_apart():
    first, other = (
        one({"action": "tire_event_created", "id": 5}),
        one({"action": "brake_event_created", "id": 5}),
    )

    assert (first.kind, first.type) == ("other", "tire_event_created")
    assert first.id != other.id
    assert one({"action": "new", "payload": {"vehicle": UNIT}}).vehicle == "2060101"


def test_what_has_no_id_is_the_same_however_the_delivery_log_writes_it():
    pushed = b'{"action":"tire_event_created","psi":{"left":90,"right":20}}'
    logged = b'{"psi": {"right": 20, "left": 90}, "action": "tire_event_created"}'
    (first,), (again,) = (
        list(PROVIDER.normalize["records"](body)) for body in (pushed, logged)
    )

    assert (first.id, tag_of(first)) == (again.id, tag_of(again))


def test_the_delivery_logs_secret_is_in_no_event():
    found = one(
        {
            "action": "company_webhook_changed",
            "secret": "d9d36bea41c4",
            "list": [{"secret": "d9d36bea41c4"}],
        }
    )

    assert b"d9d36bea41c4" not in msgspec.json.encode(found)
    assert "secret" in PROVIDER.secret_fields


def test_a_bad_signature_is_refused_for_good_and_the_token_goes_in_its_own_header():
    assert PROVIDER.webhook is not None
    assert PROVIDER.authorize is not None
    assert PROVIDER.webhook.refusal == 403
    assert PROVIDER.authorize("k") == {"X-Api-Key": "k"}
