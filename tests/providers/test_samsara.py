"""What Samsara may send beyond the samples: every type, every trigger, both generations."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from fleetd.errors import ConfigError, PayloadError, SignatureError
from fleetd.event import MPH_PER_KPH, SAFETY, AnyEvent, lane_of, tag_of
from fleetd.providers.samsara import (
    PROVIDER,
    good_secret,
    sign,
    unpack,
    verify,
    webhook,
)
from fleetd.providers.samsara.readers import READERS, TRIGGER_IDS
from fleetd.web import Request

SECRET = "ZmxlZXRkLWZpeHR1cmUtc2Ftc2FyYS1zZWNyZXQtMDE="
UNIT = {
    "id": "281474979112001",
    "name": "Unit 101",
    "externalIds": {"samsara.vin": "1fujgldr2clsf0101"},
}
PERSON = {"id": "53418801", "name": "Maya Okafor"}
BOTH = {"vehicle": UNIT, "driver": PERSON}

EVENTS = {
    "AddressCreated": ("place", {"address": {"id": 1}}),
    "AddressDeleted": ("place", {"address": {"id": 1}}),
    "AddressUpdated": ("place", {"address": {"id": 1}}),
    "AlertIncident": ("alert", {}),
    "AlertObjectEvent": ("alert", BOTH),
    "DocumentSubmitted": ("document", {"document": {"id": "d1", **BOTH}}),
    "DriverCreated": ("driver", {"driver": PERSON}),
    "DriverUpdated": ("driver", {"driver": PERSON}),
    "DvirSubmitted": ("inspection", {"dvir": {"id": "7", **BOTH}}),
    "EngineFaultOff": ("fault", {**BOTH, "fault": {}}),
    "EngineFaultOn": ("fault", {**BOTH, "fault": {"j1939": {"spn": {"id": 1}}}}),
    "FormSubmitted": ("document", {"form": {"id": "f1", "asset": UNIT}}),
    "FormUpdated": ("document", {"form": {"id": "f1", "asset": UNIT}}),
    "GatewayUnplugged": ("device", {"gateway": {"serial": "G-1", "vehicle": UNIT}}),
    "GeofenceEntry": ("geofence", {"address": {"id": "9"}, "vehicle": UNIT}),
    "GeofenceExit": ("geofence", {"address": {"id": "9"}, "vehicle": UNIT}),
    "IssueCreated": ("maintenance", {"issue": {"id": "i1", "status": "inProgress"}}),
    "MissingDvirPastDue": ("inspection", {"dvir": {"id": "7", **BOTH}}),
    "PredictiveMaintenanceAlert": ("maintenance", BOTH),
    "RouteStopArrival": ("route", BOTH),
    "RouteStopDeparture": ("route", BOTH),
    "RouteStopEarlyLateArrival": ("route", BOTH),
    "RouteStopEtaUpdated": ("route", BOTH),
    "RouteStopResequence": ("route", BOTH),
    "SevereSpeedingEnded": ("safety", {"data": {"vehicle": UNIT}}),
    "SevereSpeedingStarted": ("safety", {"data": {"vehicle": UNIT}}),
    "ShipmentTrackingEvent": ("route", BOTH),
    "SpeedingEventEnded": ("safety", {"vehicle": UNIT}),
    "SpeedingEventStarted": ("safety", {"vehicle": UNIT}),
    "SuddenFuelLevelDrop": ("fuel", BOTH),
    "SuddenFuelLevelRise": ("fuel", BOTH),
    "VehicleCreated": ("vehicle", {"vehicle": UNIT}),
    "VehicleUpdated": ("vehicle", {"vehicle": UNIT}),
    "VisualSearchMatch": ("alert", BOTH),
    "WorkOrderCreatedOrChanged": ("maintenance", BOTH),
}
TRIGGERS = {
    "alert": (
        "deviceMovement deviceMovementStopped doorOpen reeferTemperature unassignedDriving driverAppSignOut "
        "driverMessageReceived driverMessageSent driverAppSignIn vehicleTrailerMismatch trailerMovingWithoutPower "
        "reading ambientTemperature dataInputValue inactivity motionDetected personDetected vehicleDetected"
    ),
    "engine": "engineIdle engineOn engineOff",
    "fuel": "fuelLevelPercentage vehicleDefLevelPercentage suddenFuelLevelDrop suddenFuelLevelRise",
    "device": (
        "gatewayDisconnected gpsSignalLoss cellSignalLoss jammingDetected siteGatewayDisconnected tamperingDetected "
        "dashcamDisconnected cameraConnectorDisconected cloudBackupUploadIssue gatewayUnplugged cameraStreamIssue"
    ),
    "safety": "driverRecorded harshEvent panicButton speed workerSafetySos severeSpeeding",
    "geofence": "insideGeofence outsideGeofence geofenceEntry geofenceExit",
    "route": (
        "outOfRoute routeStartDelayed routeStopETA routeStopArrival routeStopDeparture outOfSequenceStopArrival "
        "routeStopEarlyLateArrival"
    ),
    "maintenance": (
        "scheduledMaintenance scheduledMaintenanceByEngineHours scheduledMaintenanceOdometer "
        "preventiveMaintenanceScheduleDue issueCreated vehicleBatteryVoltage"
    ),
    "fault": "tireFaults vehicleFaults",
    "duty": "hosDutyStatus hosViolation",
    "inspection": "dvirSubmittedDevice missingDvirPastDue",
    "document": "driverDocumentSubmitted formSubmitted formUpdated",
}
BY_TRIGGER = [
    (trigger, kind) for kind, names in TRIGGERS.items() for trigger in names.split()
]


def event(kind: str, data: Any, **more: Any) -> dict[str, Any]:
    return {
        "eventId": "f118633e-bdf3-5511-b2af-a0479b7ba43c",
        "eventTime": "2026-05-12T14:30:05.443Z",
        "eventType": kind,
        "orgId": 4100237,
        "webhookId": "1520947713004682",
        "data": data,
    } | more


def incident(details: Any, **more: Any) -> dict[str, Any]:
    condition = {
        "triggerId": more.pop("triggerId", 1),
        "description": "Wort",
        "details": details,
    }
    data = {
        "configurationId": "c0",
        "happenedAtTime": "2026-05-12T14:30:00Z",
        "updatedAtTime": "2026-05-12T14:30:01Z",
        "incidentUrl": "https://cloud.samsara.com/i/1",
        "isResolved": False,
        "conditions": [condition],
    }
    return event("AlertIncident", data | more)


def older(condition: str | None, **more: Any) -> dict[str, Any]:
    inside = {
        "alertConditionId": condition,
        "details": "Wort",
        "resolved": False,
        "startMs": 1778597404000,
        "device": {
            "id": 281474979112001,
            "name": "Unit 101",
            "vin": "1FUJGLDR2CLSF0101",
        },
    }
    return {
        "eventId": "e1",
        "eventMs": 1778597405477,
        "eventType": "Alert",
        "event": inside | more,
    }


def one(body: dict[str, Any]) -> AnyEvent:
    (record,) = unpack(post(body)).records
    (found,) = webhook(record.body)
    return found


def post(body: Any) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request("POST", "/webhooks/north", "", {}, raw, "127.0.0.1")


def test_the_vendor_lists_35_event_types_and_68_triggers():
    assert len(EVENTS) == 35
    assert len(BY_TRIGGER) == 68


@pytest.mark.parametrize(
    ("name", "kind", "data"), [(name, *rest) for name, rest in EVENTS.items()]
)
def test_every_event_type_has_a_kind_and_none_is_unknown(name, kind, data):
    found = one(event(name, data))

    assert found.kind == kind
    assert found.vehicle in (None, UNIT["id"])
    assert (found.vehicle is None) == (
        name in {"AlertIncident", "IssueCreated"} or name[:6] in {"Addres", "Driver"}
    )


@pytest.mark.parametrize(("trigger", "kind"), BY_TRIGGER)
def test_every_trigger_has_a_kind_with_its_vehicle_inside_the_details(trigger, kind):
    found = one(incident({trigger: BOTH}))

    assert found.kind == kind
    assert found.id == "c0@1778596200000@281474979112001"
    assert (found.vehicle, found.number, found.vin) == (
        UNIT["id"],
        "Unit 101",
        "1FUJGLDR2CLSF0101",
    )
    assert (found.driver, found.driver_name) == (PERSON["id"], PERSON["name"])
    assert found.at == datetime(2026, 5, 12, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(("trigger", "kind"), BY_TRIGGER)
def test_every_trigger_finds_vehicle_and_driver_beside_it_too(trigger, kind):
    found = one(incident(BOTH | {trigger: {"x": 1}}))

    assert (found.kind, found.vehicle, found.driver) == (kind, UNIT["id"], PERSON["id"])


@pytest.mark.parametrize(("number", "trigger"), TRIGGER_IDS.items())
def test_an_old_alert_without_the_triggers_key_goes_by_its_number(number, trigger):
    named = one(incident({trigger: BOTH}))
    found = one(incident(BOTH, triggerId=str(number)))

    assert (found.kind, found.id, found.vehicle) == (named.kind, named.id, UNIT["id"])
    assert trigger in READERS or found.kind == "alert"


@pytest.mark.parametrize(
    ("number", "parts", "kind"),
    [
        (1034, {"location": {"latitude": 1.5}}, "safety"),
        (5005, {"dvir": {"id": "7"}}, "inspection"),
        (5009, {"document": {"id": "7"}}, "document"),
        (5018, {"route": {"id": "7"}, "routeStopDetails": {"id": "8"}}, "route"),
        (5022, {"data": {"startTime": "2026-05-12T14:00:00Z"}}, "safety"),
        (5035, {"location": {"latitude": 1.5}}, "fuel"),
    ],
)
def test_what_an_old_alert_tells_beside_its_vehicle_is_no_trigger(number, parts, kind):
    found = one(incident(BOTH | parts, triggerId=number))

    assert (found.kind, found.vehicle) == (kind, UNIT["id"])


@pytest.mark.parametrize(
    "details",
    [
        {"panicButton": BOTH}, {"workerSafetySos": BOTH}, {"PanicButton": BOTH},
        {"panicButton": None} | BOTH,
    ],
)  # fmt: skip
def test_panic_and_sos_take_the_safety_lane(details):
    assert lane_of(one(incident(details))) == SAFETY


@pytest.mark.parametrize(
    ("details", "number", "kind"),
    [
        ({"panicButton": None, "coffeeEmpty": {"cups": 3}}, 1, "alert"),
        ({"panicButton": None, "coffeeEmpty": {"cups": 3}}, 1034, "safety"),
        ({"panicButton": None, "speed": None, "engineIdle": None}, 1019, "engine"),
        ({"panicButton": None, "speed": None}, 1, "alert"),
    ],
)
def test_a_null_names_an_alert_only_alone_or_as_its_number_does(details, number, kind):
    assert one(incident(details | BOTH, triggerId=number)).kind == kind


def test_the_one_condition_of_a_panic_alert_may_come_without_a_list():
    (condition,) = incident({"panicButton": BOTH})["data"]["conditions"]
    found = one(incident({}, conditions=condition))

    assert (found.type, found.vehicle, lane_of(found)) == ("panic", UNIT["id"], SAFETY)


@pytest.mark.parametrize("name", ["Alert", "AlertIncidentUpdated"])
def test_an_incident_is_one_by_its_conditions_under_whatever_name(name):
    found = one(incident({"panicButton": BOTH}) | {"eventType": name})

    assert (found.type, lane_of(found)) == ("panic", SAFETY)


def test_a_panic_button_among_several_conditions_decides_what_the_incident_is():
    conditions = [
        {"triggerId": 1014, "details": {"insideGeofence": {"vehicle": UNIT}}},
        {"triggerId": 1034, "details": BOTH},
    ]
    found = one(incident({}, conditions=conditions))

    assert (found.kind, found.type, found.driver) == ("safety", "panic", PERSON["id"])


def test_an_updated_incident_is_a_later_revision_of_the_same_id():
    first = one(incident({"panicButton": BOTH}))
    later = one(
        incident(
            {"panicButton": BOTH},
            updatedAtTime="2026-05-12T14:31:00Z",
            isResolved="true",
        )
        | {"eventId": "another"}
    )

    assert first.id == later.id
    assert first.revision < later.revision == 1778596260000
    assert (first.resolved, later.resolved) == (False, True)


def test_incidents_of_two_vehicles_at_one_moment_are_two():
    other = {"vehicle": UNIT | {"id": "2"}}

    assert one(incident({"speed": BOTH})).id != one(incident({"speed": other})).id


def test_an_incident_about_no_vehicle_is_named_by_what_it_is_about():
    trailer = {"trailerMovingWithoutPower": {"trailer": {"id": "55", "name": "T"}}}

    assert one(incident(trailer)).id.endswith("@55")
    assert one(incident({"hosViolation": {"driver": PERSON}})).id.endswith("@53418801")
    assert one(incident({"speed": BOTH}, configurationId=None)).id.startswith("f118")


def test_an_unknown_trigger_is_an_alert_that_keeps_its_details():
    found = one(incident({"fuelVolume": None, "coffeeEmpty": {"cups": 3, **BOTH}}))

    assert (found.kind, found.type, found.detail) == (
        "alert",
        "coffee_empty",
        {"cups": 3},
    )
    assert (found.text, found.url) == ("Wort", "https://cloud.samsara.com/i/1")


def test_alert_speeds_are_kilometres_an_hour_and_slowness_is_no_speeding():
    data = {
        "currentSpeedKilometersPerHour": "121",
        "thresholdSpeedKilometersPerHour": 113,
        "operation": "GREATER",
    }
    fast, slow, ranged = (
        one(incident({"speed": data | BOTH})),
        one(incident({"speed": data | {"operation": "LESS"}})),
        one(incident({"speed": data | {"operation": "insideRange"}})),
    )

    assert (fast.type, fast.speed_mph, fast.limit_mph) == (
        "speeding",
        121 * MPH_PER_KPH,
        113 * MPH_PER_KPH,
    )
    assert (slow.kind, slow.type) == (ranged.kind, ranged.type) == ("alert", "speed")


def test_a_resolved_fault_alert_is_a_fault_that_went_off():
    assert one(incident({"vehicleFaults": BOTH}, isResolved=True)).type == "off"


def test_an_sos_says_where_the_vehicle_is():
    spot = {"latitude": 1.5, "longitude": "2.5"}
    found = one(incident({"workerSafetySos": {"location": spot, **BOTH}}))

    assert (found.latitude, found.longitude) == (1.5, 2.5)


@pytest.mark.parametrize(
    ("condition", "kind", "type_"),
    [
        ("DeviceLocationInsideGeofence", "geofence", "entry"),
        ("DeviceLocationOutsideGeofence", "geofence", "exit"),
        ("DeviceSpeedAbove", "safety", "speeding"),
        ("DeviceSpeedAboveSpeedLimit", "safety", "speeding"),
        ("DeviceMovement", "alert", "device_movement"),
        ("DeviceHasVehicleFault", "fault", "on"),
        ("DeviceUnplugged", "device", "unplugged"),
        ("EngineIdle", "engine", "idle"),
        ("HarshEvent", "safety", "harsh_event"),
        ("PanicButtonPressed", "safety", "panic"),
        ("DriverDocumentSubmitted", "document", "document"),
        ("HosViolation", "duty", "violation"),
        ("UnsafeDvir", "inspection", None),
        ("DispatchRouteETAThreshold", "route", "stop_eta"),
        ("ReeferHasNewAlarm", "alert", "reefer_has_new_alarm"),
        (None, "alert", "alert"),
    ],
)
def test_an_alert_of_the_first_generation_has_the_kind_of_its_condition(
    condition, kind, type_
):
    found = one(older(condition))

    assert (found.kind, found.type, found.id) == (kind, type_, "e1")
    assert (found.vehicle, found.vin) == ("281474979112001", "1FUJGLDR2CLSF0101")
    assert found.at == datetime(2026, 5, 12, 14, 50, 4, tzinfo=UTC)


def test_the_generation_is_chosen_by_the_bodys_keys():
    newer = event("Alert", BOTH)
    unnamed = older("PanicButtonPressed")
    del unnamed["eventType"]
    thing = {
        "eventId": "1",
        "eventMs": 1778597405477,
        "eventType": "NewThing",
        "event": {"device": UNIT},
    }

    assert one(newer).kind == "other"
    assert one(unnamed).type == "panic"
    for odd in ({"data": None}, {"data": {}}, {"eventTime": None}):
        assert one(older("PanicButtonPressed") | odd).type == "panic"
    assert (one(thing).kind, one(thing).type, one(thing).vehicle) == (
        "other",
        "new_thing",
        UNIT["id"],
    )


def test_a_list_of_bodies_is_as_many_and_one_that_is_none_spoils_only_itself():
    bodies = [
        b'{"eventType":"Ping"}',
        b'{"eventType":"New","data":{}}',
        b"7",
        b'{"x":"\xff"}',
    ]
    found = PROVIDER.webhook.unpack(post(b"[%b]" % b",".join(bodies)))

    assert [one.body for one in found.records] == bodies[1:]
    assert found.empty == 1


@pytest.mark.parametrize("kind", ["Ping", "ping", " PING "])
def test_a_ping_is_empty_in_either_generation(kind):
    for body in (
        event(kind, {}),
        {"eventMs": 1, "eventType": kind, "event": {"text": "x"}},
    ):
        found = unpack(post(body))

        assert (list(found.records), found.empty) == ([], 1)


@pytest.mark.parametrize(
    "data",
    [
        {"vehicle": UNIT},
        {"vehicle": UNIT | {"id": 281474979112001}},
        {"deep": {"er": {"vehicle": UNIT}}},
        {"vehicle": {}, "asset": UNIT},
        {
            "Vehicle": {
                "ID": "281474979112001",
                "Name": "Unit 101",
                "VIN": "1FUJGLDR2CLSF0101",
            }
        },
        {
            "vehicle": {
                "id": " 281474979112001 ",
                "name": "Unit 101",
                "vin": "",
                "vehicleVin": "1FUJGLDR2CLSF0101",
            }
        },
    ],
)
def test_an_unknown_type_is_kept_with_its_vehicle_wherever_that_stands(data):
    found = one(event("BrandNewThing", data))

    assert (found.kind, found.type) == ("other", "brand_new_thing")
    assert (found.vehicle, found.number, found.vin) == (
        "281474979112001",
        "Unit 101",
        "1FUJGLDR2CLSF0101",
    )
    assert found.id == "f118633e-bdf3-5511-b2af-a0479b7ba43c"


def test_an_event_without_an_id_is_named_by_its_bytes():
    body = event("GeofenceEntry", {"vehicle": UNIT}, eventId="")

    assert one(body).id == one(body).id
    assert one(body).id != one(body | {"orgId": 2}).id


def test_driver_and_vehicle_of_an_inspection_stand_inside_it_or_beside_it():
    report = {"id": 7, "safetyStatus": "unsafe", "odometerMeters": "1609.344"}
    inside, beside = (
        one(event("DvirSubmitted", {"dvir": report | BOTH})),
        one(event("DvirSubmitted", BOTH | {"dvir": report})),
    )

    assert inside == beside
    assert (inside.id, inside.odometer, inside.driver) == ("7", 1.0, PERSON["id"])


def test_the_driver_who_signed_an_inspection_is_its_driver_and_a_mechanic_is_not():
    def driver(kind):
        signature = {"signatoryUser": PERSON, "type": kind}
        return one(
            event("DvirSubmitted", {"dvir": {"id": 7, "authorSignature": signature}})
        ).driver

    assert (driver("driver"), driver("mechanic")) == (PERSON["id"], None)


def test_a_missing_inspection_does_not_replace_a_report():
    report = {"dvir": {"id": "7", **BOTH}}

    assert (
        one(event("MissingDvirPastDue", report)).id
        != one(event("DvirSubmitted", report)).id
    )


def test_a_later_form_is_a_revision_by_its_updated_at_or_by_its_telling():
    first = one(
        event(
            "FormSubmitted",
            {"form": {"id": "f1", "updatedAtTime": "2026-05-12T17:22:20Z"}},
        )
    )
    later = one(
        event("FormUpdated", {"form": {"id": "f1"}}, eventTime="2026-05-12T17:30:00Z")
    )

    assert first.id == later.id == "f1"
    assert first.revision == 1778606540000 < later.revision


def test_places_of_fences_forms_and_stops_are_never_where_a_vehicle_is():
    spot = {"latitude": 38.1, "longitude": -121.2}
    for kind, data in {
        "FormSubmitted": {"form": {"id": 1, "location": spot, "asset": UNIT}},
        "GeofenceEntry": {
            "address": {"id": 1, "geofence": {"circle": spot}, **spot},
            "vehicle": UNIT,
        },
        "RouteStopArrival": {"vehicle": UNIT, "routeStopDetails": {"id": "1", **spot}},
        "AlertIncident": incident({"geofenceEntry": {"address": spot, **BOTH}})["data"],
    }.items():
        found = one(event(kind, data))

        assert found.kind != "position"
        assert getattr(found, "latitude", None) is None


def test_speeding_told_out_of_order_ends_with_its_end():
    data = {"startTime": "2026-05-12T16:36:07.713Z", "vehicle": UNIT}
    ended = {"data": data | {"endTime": "2026-05-12T16:36:07.713Z"}}
    start, end = (
        one(event("SevereSpeedingStarted", {"data": data})),
        one(event("SevereSpeedingEnded", ended)),
    )

    assert start.id == end.id
    assert start.revision < end.revision
    assert (start.severity, end.state) == ("severe", "ended")
    assert one(event("SpeedingEventStarted", data)).id != start.id


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("light", "low"),
        ("moderate", "medium"),
        ("heavy", "high"),
        ("severe", "severe"),
        ("odd", None),
    ],
)
def test_severity_has_our_words(word, ours):
    assert (
        one(
            event("SpeedingEventStarted", {"vehicle": UNIT, "severityLevel": word})
        ).severity
        == ours
    )


def test_a_fault_reads_spn_and_fmi_as_objects_or_numbers_and_obd_codes():
    def fault(arm):
        return one(event("EngineFaultOn", {"vehicle": UNIT, "fault": arm}))

    objects = fault(
        {
            "j1939": {
                "spn": {"id": "111", "description": "Coolant"},
                "fmi": {"id": 1},
                "occurrenceCount": "5",
            }
        }
    )
    numbers = fault(
        {
            "J1939": {
                "spn": 111,
                "fmi": 1,
                "lamps": {"emissionsIsOn": True, "stopIsOn": False},
            }
        }
    )
    obd = fault(
        {
            "obdii": {
                "confirmedDtcs": [
                    {"dtcShortCode": "P0420", "dtcDescription": "Cat"},
                    {"dtcShortCode": "P0171"},
                ]
            }
        }
    )

    assert (objects.code, objects.spn, objects.fmi, objects.count) == (
        "SPN 111 FMI 1",
        111,
        1,
        5,
    )
    assert (numbers.code, numbers.lamps, numbers.network) == (
        "SPN 111 FMI 1",
        ("emissions",),
        "j1939",
    )
    assert (obd.code, obd.network, obd.text) == ("P0420, P0171", "obdii", "Cat")


def test_a_vehicle_takes_its_vin_from_any_of_three_places_and_a_wrong_one_from_none():
    def vin(**keys):
        return one(event("VehicleUpdated", {"vehicle": {"id": 1} | keys})).vin

    good = "1FUJGLDR2CLSF0101"
    assert vin(vin=good.lower()) == vin(vehicleVin=f" {good} ") == good
    assert (
        vin(vin="", externalIds={"samsara.vin": good})
        == vin(vin="NOT A VIN", vehicleVin=good)
        == good
    )
    assert vin(vin="1FUJGLDR2CLSF010O") is None


def test_a_deleted_address_is_a_tombstone_and_a_polygon_has_a_centre():
    corners = [{"latitude": 1, "longitude": 1}, {"latitude": 3, "longitude": "5"}]
    place = one(
        event(
            "AddressUpdated",
            {"address": {"id": 1, "geofence": {"polygon": {"vertices": corners}}}},
        )
    )

    assert (place.latitude, place.longitude, place.removed) == (2, 3, False)
    assert one(event("AddressDeleted", {"address": {"id": 1}})).removed


def test_directory_records_of_nobody_are_set_aside_with_the_field_named():
    for kind, named in {
        "VehicleUpdated": "vehicle.id",
        "DriverCreated": "driver.id",
        "AddressDeleted": "address.id",
    }.items():
        with pytest.raises(PayloadError, match=named):
            one(event(kind, {"vehicle": {"name": "x"}, "driver": {"id": "0" * 0}}))


@pytest.mark.parametrize(
    "body",
    [b"not json at all", b"", b"{", b"[]", b"[{}]", b"null", b"5", b'"x"', b"\xff"],
)
def test_what_is_no_object_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        unpack(post(body))


def test_an_empty_object_becomes_a_dead_letter_and_is_not_lost():
    (record,) = unpack(post({})).records

    with pytest.raises(PayloadError, match="eventType"):
        list(webhook(record.body))


def test_a_webhook_object_shows_no_secret_in_any_event():
    found = one(
        event(
            "WebhookChanged",
            {
                "webhook": {
                    "id": 1,
                    "secretKey": SECRET,
                    "more": [{"secretKey": SECRET}],
                }
            },
        )
    )

    assert SECRET.encode() not in msgspec.json.encode(found)
    assert "secretKey" in PROVIDER.secret_fields


def test_the_same_event_again_has_the_same_identity():
    for name, (_, data) in EVENTS.items():
        first, again = one(event(name, data)), one(event(name, data))
        assert (first.id, tag_of(first)) == (again.id, tag_of(again))


NOW = datetime(2026, 5, 12, 14, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stamp", "when"),
    [
        ("1778596205", NOW),
        ("1778596205.0", NOW),
        ("1778596205000", NOW),
        ("2026-05-12T14:30:05Z", NOW),
        ("2026-05-12T16:30:05+02:00", NOW),
        ("1000000000", datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)),
        ("yesterday", None),
        ("99999999999999999999", None),
        ("-5", None),
    ],
)
def test_the_time_is_signed_as_text_read_leniently_and_never_judged(stamp, when):
    import base64
    import hmac

    body = b"{}"
    signature = hmac.new(
        base64.b64decode(SECRET), f"v1:{stamp}:{{}}".encode(), "sha256"
    ).hexdigest()
    headers = {"x-samsara-timestamp": stamp, "x-samsara-signature": f"v1={signature}"}
    request = Request("POST", "/", "", headers, body, "")

    assert verify(request, [SECRET]) == when


def test_a_secret_that_is_no_base64_fits_nothing_and_is_told_to_the_operator():
    headers = {key.lower(): one for key, one in sign(b"{}", SECRET, NOW).items()}

    with pytest.raises(SignatureError):
        verify(Request("POST", "/", "", headers, b"{}", ""), ["not base64!"])
    with pytest.raises(ConfigError):
        sign(b"{}", "not base64!", NOW)
    assert good_secret(SECRET) is None
    assert good_secret(SECRET.rstrip("=") + "\n") is None
    assert "base64" in (good_secret("not base64!") or "")


def test_a_directory_record_that_comes_again_late_is_the_same_older_revision():
    address = {"id": 9, "name": "Yard"}
    created = event("AddressCreated", {"address": address})
    deleted = event("AddressDeleted", {"address": address}) | {
        "eventTime": "2026-05-12T14:40:00.000Z"
    }
    (first,), (gone,), (again,) = (
        list(webhook(json.dumps(one).encode())) for one in (created, deleted, created)
    )

    assert first.revision < gone.revision
    assert tag_of(first) == tag_of(again)
    assert gone.removed
