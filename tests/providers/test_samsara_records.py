"""Samsara's polled records: joined with their pushes, whole by themselves, apart from bad ones."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import PayloadError
from fleetd.event import MPH_PER_KPH, AnyEvent, Position, content_of, tag_of
from fleetd.providers import reading
from fleetd.providers.contract import Turn
from fleetd.providers.samsara.positions import lenient, position, split
from fleetd.web import Request
from tests.providers.samsara_pages import (
    FEEDS,
    HERE,
    HOUR,
    NOW,
    PROVIDER,
    SAMPLES,
    asked,
    events,
    feed_of,
    normal,
    sample,
    turned,
)
from tests.test_every_provider import ANY, assert_short, changed, sound
from tests.tries import tries

UNIT = {
    "id": "281474979112001",
    "name": "Unit 101",
    "externalIds": {"samsara.serial": "GXQ74HM2KD", "samsara.vin": "1FUJGLDR2CLSF0101"},
}
FIX = {
    "time": "2026-05-12T15:59:57Z",
    "latitude": 37.99412,
    "longitude": -121.29011,
    "headingDegrees": 342,
    "speedMilesPerHour": 61.0,
    "isEcuSpeed": True,
    "reverseGeo": {"formattedLocation": "I-5, Stockton, CA, 95206"},
    "decorations": {
        "engineStates": {"value": "On"},
        "obdOdometerMeters": {"value": 160_934_400},
    },
}


def page(*data: Any) -> bytes:
    pagination = {"endCursor": "c1", "hasNextPage": False}
    return json.dumps({"data": list(data), "pagination": pagination}).encode()


def fixes(*points: Any, **more: Any) -> bytes:
    return page({**UNIT, "gps": list(points), **more})


def one(feed: str, record: Any) -> AnyEvent:
    (found,) = normal(feed, json.dumps(record).encode())
    return found


def pushed(name: str) -> AnyEvent:
    body = sample(f"webhook_{name}")
    webhook = PROVIDER.webhook
    assert webhook is not None
    request = Request("POST", "/webhooks/north", "", {}, body, "127.0.0.1")
    (record,) = webhook.unpack(request).records
    (found,) = PROVIDER.normalize[record.feed](record.body)
    return found


def told(name: str) -> Any:
    return json.loads(sample(f"webhook_{name}"))["data"]


# joined by push and poll


@pytest.mark.parametrize(
    ("push", "feed", "key"),
    [
        ("vehicle_updated", "vehicles", "vehicle"),
        ("vehicle_created", "vehicles", "vehicle"),
        ("driver_created", "drivers", "driver"),
        ("driver_updated", "drivers", "driver"),
        ("address_created", "places", "address"),
        ("address_updated", "places", "address"),
    ],
)
def test_a_directory_record_says_the_same_pushed_and_polled(push, feed, key):
    ours = pushed(push)
    theirs = one(feed, told(push)[key])

    assert theirs.id == ours.id
    assert content_of(theirs) == content_of(ours)
    assert theirs.revision in (ours.revision, None)


@pytest.mark.parametrize("name", ["speed", "panic"])
def test_an_incident_is_the_same_event_pushed_and_polled(name):
    ours = pushed(f"alert_incident_{name}")
    theirs = one("incidents", told(f"alert_incident_{name}"))

    assert theirs == ours
    assert tag_of(theirs) == tag_of(ours)


def test_an_inspection_pushed_and_polled_is_one_with_the_same_time():
    ours = pushed("dvir_submitted")
    (theirs,) = events("inspections", sample("inspections"))

    assert (theirs.id, theirs.at, theirs.revision) == (ours.id, ours.at, ours.revision)
    assert (theirs.vehicle, theirs.driver) == (ours.vehicle, ours.driver)
    assert (theirs.status, theirs.type) == (ours.status, ours.type)
    assert theirs.odometer == ours.odometer


def test_a_fault_pushed_and_polled_is_one_whose_later_copy_stands():
    ours = pushed("engine_fault_on")
    first, *_ = events("faults", sample("faults"))

    assert (first.id, first.vehicle, first.code) == (ours.id, ours.vehicle, ours.code)
    assert first.revision < ours.revision


# positions


@pytest.mark.parametrize(
    ("state", "ours"), [("On", "On"), ("idle", "Idle"), ("OFF", "Off"), ("Odd", None)]
)
def test_the_engines_state_is_one_of_three_or_unknown(state, ours):
    fix = {**FIX, "decorations": {"engineStates": {"value": state}}}
    (found,) = events("positions", fixes(fix))

    assert found.engine_state == ours


def test_a_fix_is_a_row_by_itself():
    (found,) = events("positions", fixes(FIX))

    assert isinstance(found, Position)
    assert found.id == "281474979112001@1778601597000"
    assert (found.vehicle, found.number, found.vin) == (
        "281474979112001",
        "Unit 101",
        "1FUJGLDR2CLSF0101",
    )
    assert (found.speed_mph, found.heading_degrees, found.engine_state) == (
        61,
        342,
        "On",
    )
    assert (found.odometer, found.units) == (100_000.0, "us")
    assert found.location_description == "I-5, Stockton, CA, 95206"


def test_feed_and_history_tell_the_same_fix_alike():
    feed = FEEDS["positions"]
    assert feed.past is not None
    turn = Turn(NOW, since=NOW - HOUR, until=NOW)
    ask = feed.past.ask(turn)
    assert ask is not None
    live = turned(feed, fixes(FIX)).records
    late = feed.past.unpack(
        ask, fixes({**FIX, "time": "2026-05-12T15:59:57.000Z"}), turn
    )

    assert ask.params["decorations"] == asked(feed, Turn(NOW)).params["decorations"]
    assert list(position(live[0].body)) == list(position(late.records[0].body))


def test_stats_beside_the_fixes_of_a_page_are_joined_by_time():
    body = fixes(
        {key: value for key, value in FIX.items() if key != "decorations"},
        engineStates=[
            {"time": "2026-05-12T16:00:00Z", "value": "Off"},
            {"time": "2026-05-12T15:40:00Z", "value": "Idle"},
            {"time": "2026-05-12T15:31:12Z", "value": "On"},
        ],
        obdOdometerMeters=[{"time": "2026-05-12T15:59:30Z", "value": 1609344}],
    )
    (found,) = events("positions", body)

    assert (found.engine_state, found.odometer) == ("Idle", 1000.0)


READABLE = st.fixed_dictionaries(
    {
        "time": st.datetimes(
            min_value=NOW.replace(tzinfo=None) - timedelta(days=9999),
            max_value=NOW.replace(tzinfo=None),
        ).map(lambda at: f"{at.isoformat()}Z"),
        "latitude": st.floats(-90, 90),
        "longitude": st.floats(-180, 180) | st.integers(-180, 180),
    },
    optional={
        "headingDegrees": st.integers(0, 360) | st.floats(-400, 800) | st.none(),
        "speedMilesPerHour": st.floats(0, 120) | st.integers(0, 120) | st.none(),
        "reverseGeo": st.none()
        | st.fixed_dictionaries(
            {}, optional={"formattedLocation": st.text(max_size=9)}
        ),
        "address": st.none()
        | st.fixed_dictionaries({}, optional={"name": st.text(max_size=9)}),
        "decorations": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "engineStates": st.fixed_dictionaries(
                    {"value": st.sampled_from(["On", "Off", "Idle", None])}
                ),
                "obdOdometerMeters": st.fixed_dictionaries(
                    {"value": st.integers(0, 10**10) | st.floats(0, 1e9) | st.none()}
                ),
                "gpsOdometerMeters": st.fixed_dictionaries(
                    {"value": st.integers(0, 10**10) | st.none()}
                ),
            },
        ),
    },
)


@settings(max_examples=tries(400), deadline=None)
@given(fix=READABLE, name=st.none() | st.text(max_size=9), vin=st.text(max_size=18))
def test_the_quick_way_and_the_careful_way_agree(fix, name, vin):
    told = {**UNIT, "name": name, "externalIds": {"samsara.vin": vin}, "gps": fix}
    body = json.dumps(told).encode()
    (quick,) = position(body)

    assert quick == lenient(reading.loads(body))


# one bad record


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("latitude", "north"),
        ("longitude", {}),
        ("speedMilesPerHour", "fast"),
        ("headingDegrees", [90]),
        ("time", "soon"),
        ("obdOdometerMeters", "far"),
    ],
)
def test_a_field_that_cannot_be_read_is_named_with_its_vehicle(key, value):
    odd = {key: value} if key in FIX else {"decorations": {key: {"value": value}}}
    (record,) = turned(FEEDS["positions"], fixes({**FIX, **odd})).records

    with pytest.raises(PayloadError, match=f"gps.{key} .*vehicle 281474979112001"):
        list(position(record.body))


def test_one_bad_fix_is_named_and_its_neighbours_stand():
    points = [{**FIX, "time": f"2026-05-12T15:{n:02}:00Z"} for n in range(60)]
    points[17]["latitude"] = "north"
    good, bad = [], []
    for record in turned(FEEDS["positions"], fixes(*points)).records:
        try:
            good += position(record.body)
        except PayloadError as why:
            bad.append(str(why))

    assert len(good) == 59
    assert bad == [
        "gps.latitude is no number (vehicle 281474979112001, 2026-05-12T15:17:00.000Z)"
    ]


@pytest.mark.parametrize("broken", [None, 7, "x", [], {"id": "1", "gps": "gone"}])
def test_a_parent_of_no_shape_is_a_record_by_itself_and_its_neighbours_stand(broken):
    records, _ = split(
        page({**UNIT, "gps": [FIX]}, broken, {**UNIT, "gps": [FIX, FIX]})
    )

    assert len(records) == 4
    for record in (records[0], *records[2:]):
        assert list(position(record.body))
    with pytest.raises(PayloadError):
        list(position(records[1].body))


def test_keys_in_another_case_are_read():
    body = page(
        {"ID": 281474979112001, "ExternalIds": UNIT["externalIds"], "Gps": [FIX]}
    )
    (found,) = events("positions", body)

    assert (found.vehicle, found.vin) == ("281474979112001", "1FUJGLDR2CLSF0101")


@pytest.mark.parametrize("path", SAMPLES, ids=[path.stem for path in SAMPLES])
def test_a_record_stands_alone_and_its_bytes_are_the_same_each_time(path):
    feed, body = (
        feed_of(path),
        path.read_bytes().replace(b'"endCursor": ""', b'"endCursor": "x"'),
    )
    first = turned(feed, body).records
    later = turned(feed, body, Turn(NOW + timedelta(minutes=3))).records

    assert first == later
    assert all(msgspec.json.decode(record.body) or True for record in first)


def test_a_fix_that_cannot_be_read_never_says_more_than_a_few_words():
    for at in ("x" * 9999, "2026-05-12T15:59:57Z"):
        record = {
            **UNIT,
            "id": "9" * 9999,
            "gps": {**FIX, "time": at, "latitude": "y" * 9999},
        }
        with pytest.raises(PayloadError) as bad:
            list(position(json.dumps(record).encode()))

        assert len(str(bad.value)) < 200


# drivers of vehicles


def assignment(**more: Any) -> list[AnyEvent]:
    record = {
        "startTime": "2026-05-12T12:40:00Z",
        "endTime": "2026-05-12T20:10:00Z",
        "assignmentType": "HOS",
        "isPassenger": False,
        "driver": {"id": "53418801", "name": "Maya Okafor"},
        "vehicle": UNIT,
    }
    return events("assignments", page({**record, **more}), Turn(NOW))


def test_a_passenger_drives_nothing_and_a_usual_driver_is_told_apart():
    assert assignment(isPassenger=True) == []
    assert assignment()[0].type == "assignment"
    assert assignment(assignmentType="static")[0].type == "static_assignment"


@pytest.mark.parametrize(
    ("end", "over"),
    [
        ("2026-05-13T05:58:59Z", True),
        ("2026-05-13T06:00:00Z", False),
        ("2026-05-14T00:00:00Z", False),
        ("9999-12-31T23:59:59Z", False),
        ("", False),
        (None, False),
    ],
)
def test_an_assignment_that_goes_on_has_no_end_yet_and_stays_the_same_event(end, over):
    (found,) = assignment(endTime=end)

    assert (found.ended_at is not None) == over
    assert found.id == assignment()[0].id


def test_an_assignment_that_goes_on_is_told_once_however_its_end_moves():
    moving = [f"2026-05-13T06:0{n}:00Z" for n in range(3)]
    tags = {tag_of(assignment(endTime=end)[0]) for end in moving}

    assert len(tags) == 1


# what else there is


def test_an_open_trip_comes_again_with_its_end_as_a_later_revision():
    record = {
        "asset": {"id": 281474979112001},
        "tripStartTime": "2026-05-12T13:02:10Z",
        "updatedAtTime": "2026-05-12T13:10:00Z",
    }
    end = {
        "tripEndTime": "2026-05-12T14:02:10Z",
        "updatedAtTime": "2026-05-12T14:03:00Z",
        "finalDistanceMeters": 16093.44,
    }
    first, later = one("trips", record), one("trips", record | end)

    assert first.id == later.id
    assert first.revision < later.revision
    assert (first.ended_at, later.duration_s, later.distance_miles) == (None, 3600, 10)


@pytest.mark.parametrize(
    ("labels", "kind", "severity"),
    [
        (["Braking"], "harsh_brake", None),
        (["Acceleration"], "harsh_acceleration", None),
        (["HarshTurn"], "harsh_corner", None),
        (["FollowingDistance", "Crash"], "crash", None),
        (["NearCollision"], "near_collision", None),
        (["SevereSpeeding"], "speeding", "severe"),
        (["LightSpeeding"], "speeding", "low"),
        (["MaxSpeed"], "speeding", None),
        (["RollingStop"], "rolling_stop", None),
        ([], "unknown", None),
    ],
)
def test_labels_of_safety_events_have_our_words(labels, kind, severity):
    record = {
        "id": "e1",
        "startMs": "2026-05-12T14:33:40Z",
        "behaviorLabels": [{"label": label, "source": "automated"} for label in labels],
        "speedingMetadata": {"maxSpeedKilometersPerHour": 121},
    }
    found = one("safety", record)

    assert (found.type, found.severity) == (kind, severity)
    assert found.speed_mph == 121 * MPH_PER_KPH


def test_a_violation_that_grows_is_told_again_by_the_hour():
    def tag(minutes: int) -> str:
        record = {
            "type": "shiftHours",
            "violationStartTime": "2026-05-12T14:00:00Z",
            "durationMs": minutes * 60_000,
            "driver": {"id": "53418801"},
        }
        return tag_of(one("violations", {"violations": record}))

    assert tag(1) == tag(59) != tag(60) == tag(119)


# whatever may come


@pytest.mark.parametrize("name", FEEDS)
@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=120) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_page_or_a_payload_error(name, body):
    taken(name, body)


@pytest.mark.parametrize("name", FEEDS)
@settings(max_examples=tries(120), deadline=None)
@given(value=ANY)
def test_any_record_is_read_or_set_aside_alone(name, value):
    taken(name, page(value))
    taken(name, page({**UNIT, "gps": [value], "engineStates": [value]}))
    taken(name, page({"driver": value, "hosLogs": [value], "violations": [value]}))


@settings(max_examples=tries(500), deadline=None)
@given(data=st.data())
def test_a_page_with_anything_changed_is_read_or_set_aside_whole(data):
    path = data.draw(st.sampled_from(SAMPLES))
    body = json.loads(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        body = changed(body, data)

    taken(feed_of(path).name, json.dumps(body).encode())


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("depth", [60, 900, 50_000])
def test_however_deep_a_record_nests_it_is_read_or_set_aside(name, depth):
    deep = '{"x":' * depth + "1" + "}" * depth
    body = (
        f'{{"data":[{{"id":"1","asset":{deep},"gps":[{deep}],"driver":{deep}}}],'
        '"pagination":{"endCursor":"c","hasNextPage":false}}'
    )
    taken(name, body.encode())


def taken(name: str, body: bytes) -> None:
    """Every record is events that can be kept, or a reason in a few words."""
    try:
        records = turned(FEEDS[name], body).records
    except PayloadError as bad:
        assert_short(bad)
        return
    for record in records:
        try:
            found = normal(record.feed, record.body)
        except PayloadError as bad:
            assert_short(bad)
            continue
        for event in found:
            sound(event)


def test_no_sample_shows_a_secret():
    for path in HERE.glob("*.events.json"):
        assert b"secretKey" not in path.read_bytes()
