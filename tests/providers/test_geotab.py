"""Geotab: what its pages and records mean, and whatever else may arrive."""

from __future__ import annotations

import json
import os
from datetime import datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.directory import Directory
from fleetd.errors import (
    PayloadError,
)
from fleetd.event import Position, Record, has_fix, merged, millis
from fleetd.providers import load
from fleetd.providers.contract import Turn
from fleetd.providers.geotab.people import reference, span
from fleetd.tasks.intake import Arrival, take_in
from tests.providers.geotab_client import (
    FEEDS,
    GEOTAB,
    HERE,
    LIVE,
    NAMES,
    READABLE,
    few,
    meaning,
    page,
    turn_of,
)
from tests.test_every_provider import ANY, assert_short, changed, sound
from tests.tries import tries


@pytest.mark.parametrize("name", NAMES)
def test_a_page_means_what_its_golden_file_says(name):
    sample = HERE / f"{name}.json"
    golden = sample.with_suffix(".events.json")
    found = meaning(name.partition("_")[0], sample.read_bytes())
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")

    assert found == json.loads(golden.read_text())


def test_every_feed_has_its_sample_and_every_golden_file_too():
    goldens = {
        path.name.removesuffix(".events.json") for path in HERE.glob("*.events.json")
    }

    assert {name.partition("_")[0] for name in NAMES} == set(FEEDS)
    assert goldens == set(NAMES)


@pytest.mark.parametrize("path", READABLE, ids=lambda path: path.stem)
def test_a_page_means_the_same_compact_and_in_any_order_of_keys(path):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(one) for one in value] if isinstance(value, list) else value

    name, body = path.stem.partition("_")[0], path.read_bytes()
    other = json.dumps(turned(json.loads(body)), separators=(",", ":")).encode()

    first, second = meaning(name, body), meaning(name, other)
    assert ("unreadable" in first) == ("unreadable" in second)
    assert "unreadable" in first or first == second


def test_the_provider_is_found_by_its_name_and_polls_alone():
    provider = load("geotab")

    assert provider.webhook is None
    assert provider.authorize is None
    assert [feed.name for feed in provider.feeds if not feed.standard] == ["status"]
    assert {feed.name: feed.kinds for feed in provider.feeds} == {
        "vehicles": ("vehicle",),
        "drivers": ("driver",),
        "places": ("place",),
        "positions": ("position",),
        "status": ("position",),
        "engine": ("engine",),
        "assignments": ("duty",),
        "trips": ("trip",),
        "safety": ("safety", "engine"),
        "faults": ("fault",),
        "duty": ("duty",),
        "inspections": ("inspection",),
    }


# what records mean


def test_the_track_and_the_state_of_the_same_moment_are_one_position():
    (log,) = GEOTAB.normalize["positions"](
        b'{"id":"b9F02","device":{"id":"b2A"},"dateTime":"2026-11-20T14:03:52.000Z","latitude":32.785,"longitude":-96.8011,"speed":88.5}'
    )
    state = page("status", (HERE / "status.json").read_bytes(), LIVE).records[0]
    (status,) = GEOTAB.normalize["status"](state.body)

    assert isinstance(log, Position)
    assert log.id == status.id == "b2A@1795183432000"
    whole = merged(log, status)
    assert merged(status, log) == status
    assert whole == msgspec.structs.replace(status, flags=())
    assert (whole.heading_degrees, whole.driver, whole.engine_state) == (
        352,
        "b44",
        "On",
    )


def test_a_trip_that_is_computed_anew_is_the_same_trip_in_a_later_revision():
    records = page("trips", (HERE / "trips.json").read_bytes(), LIVE).records
    over, under_way = (
        next(iter(GEOTAB.normalize["trips"](one.body))) for one in records[:2]
    )

    assert over.id == under_way.id == "b2A@1795180805000"
    assert over.revision > under_way.revision
    assert under_way.ended_at is None
    assert over.ended_at is not None


@pytest.mark.parametrize(
    ("distance", "drove", "average", "kilometres"),
    [
        (61.42, "00:48:10", 76.5, 61.42),
        (113_276.75, "01:27:41", 77.51, 113.27675),  # metres
        (3_000.0, "00:06:00", 30.0, 3.0),  # and of a short trip as well
        (40.0, "00:01:00", 2.4, 0.04),
        (5.0, "01:00:00", 0.1, 5.0),  # an average that is odd proves nothing by itself
        (12_000.0, "02:00:00", 6_000.0, None),  # a fix gone astray: these are km
        (12_000.0, "02:00:00", None, None),
        (50.0, "00:05:00", None, None),  # 600 km/h
        (33.0, "00:05:00", "396", 33.0),
        (33.0, "00:05:00", 0, 33.0),
        (33.0, "00:05:00", -1, 33.0),
        (0.4, "00:00:00", 0.0, 0.4),
    ],
)
def test_a_distance_is_km_or_what_its_own_average_says_and_null_where_nobody_could(
    distance, drove, average, kilometres
):
    told = {
        "device": {"id": "b2A"},
        "start": "2026-11-20T13:20:05.000Z",
        "distance": distance,
        "drivingDuration": drove,
        "averageSpeed": average,
    }
    (trip,) = GEOTAB.normalize["trips"](json.dumps(told).encode())

    expected = None if kilometres is None else pytest.approx(kilometres / 1.609344)
    assert trip.distance_miles == expected
    assert trip.flags == (("implausible",) if kilometres is None else ())


def test_the_one_defect_of_an_inspection_may_come_without_a_list():
    told = {
        "id": "f",
        "dateTime": "2026-11-20T14:03:22Z",
        "dVIRDefects": {
            "defect": {"name": "Tyre"},
            "defectRemarks": {"remark": "flat"},
        },
    }
    (found,) = GEOTAB.normalize["inspections"](json.dumps(told).encode())

    assert found.defects == ("Tyre: flat",)


def test_a_fast_reader_and_a_lenient_one_see_the_same_point():
    body = json.loads((HERE / "positions.json").read_bytes())["result"]["data"][0]
    plain = json.dumps(body).encode()
    odd = json.dumps(
        body | {"speed": str(body["speed"]), "device": body["device"]["id"]}
    ).encode()

    assert list(GEOTAB.normalize["positions"](plain)) == list(
        GEOTAB.normalize["positions"](odd)
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.02:03:04.5000000", 93_784.5), ("00:00:00", 0), ("00:48:10", 2890), ("4.16:41:16", 405_676),
        ("00:13:05.25", 785.25), ("-00:00:01", -1), ("24:00", None), ("", None), (None, None), (5, None), ("x", None),
        ("99999999.00:00:00", 99999999 * 86400.0),
    ],
)  # fmt: skip
def test_a_time_span_of_dotnet_is_so_many_seconds(text, seconds):
    assert span(text) == seconds


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"id": "b2A"}, "b2A"), ("b2A", "b2A"), ({"id": 7}, "7"), ("UnknownDriverId", None), ({"id": "UnknownDriverId"}, None),
        ("NoDiagnosticId", None), ("NoDeviceId", None), ("SourceObdId", "SourceObdId"), ({}, None), (None, None), ([], None), ("", None),
        ({"id": {"id": "b"}}, None), ("NorthId", "NorthId"),
    ],
)  # fmt: skip
def test_a_reference_is_an_object_or_the_bare_name_of_a_system_entity(value, named):
    assert reference(value) == named


def drives(order: list[int], at: str) -> str | None:
    """Who drives b2A at a time, when the changes of driver came in this order."""
    changes = [
        ("2026-11-20T05:55:00.000Z", {"id": "b44", "isDriver": True}),
        ("2026-11-20T09:00:00.000Z", {"id": "b45", "isDriver": True}),
        ("2026-11-20T18:40:00.000Z", "UnknownDriverId"),
        ("2026-11-20T19:40:00.000Z", "UnknownDriverId"),
    ]
    known = Directory()
    for n in order:
        when, driver = changes[n]
        told = {
            "id": f"a{n}",
            "device": {"id": "b2A"},
            "dateTime": when,
            "driver": driver,
        }
        (event,) = GEOTAB.normalize["assignments"](json.dumps(told).encode())
        assert event.at is not None
        for one in known.learn("haul", event, millis(event.at)):
            known.put("haul", one.vehicle, one.name, one.at_ms, one.value)
    fix = Position(id="x", vehicle="b2A", at=datetime.fromisoformat(at))
    found = known.settle("haul", fix, millis(datetime.fromisoformat(at))).get("driver")
    return None if found is None else str(found)


@pytest.mark.parametrize("since", ["1986-01-01T00:00:00.000Z", "2027-05-01T00:00:00Z"])
def test_whoever_joined_long_ago_or_is_yet_to_has_a_name(since):
    user = {"id": "b44", "firstName": "Ana", "lastName": "Ruiz", "activeFrom": since}
    now = datetime.fromisoformat("2026-11-20T15:00:00Z")
    arrival = Arrival("haul", GEOTAB, millis(now), "poll")
    record = Record("drivers", json.dumps(user).encode())
    found = take_in(arrival, [record], Directory())

    assert [one.event.flags for one in found.made] == [()]
    facts = [(one.vehicle, one.value) for one in found.facts]
    assert facts == [("driver:b44", "Ana Ruiz")]


@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 1, 0, 2, 2]]
)
def test_who_drives_is_known_from_each_change_on_whatever_order_they_come_in(order):
    assert drives(order, "2026-11-20T05:00:00+00:00") is None
    assert drives(order, "2026-11-20T06:00:00+00:00") == "b44"
    assert drives(order, "2026-11-20T10:00:00+00:00") == "b45"
    assert drives(order, "2026-11-20T18:39:59+00:00") == "b45"
    assert drives(order, "2026-11-20T18:40:00+00:00") is None
    assert drives(order, "2026-11-21T10:00:00+00:00") is None


def test_passwords_and_sessions_never_stand_in_an_event():
    body = b'{"id":"b1","name":"x","password":"hunter22","sessionId":"kM3q","isDriver":true}'
    (event,) = GEOTAB.normalize["drivers"](body)

    assert "hunter22" not in str(event)
    assert GEOTAB.secret_fields >= {"password", "sessionId"}


# whatever may arrive


def swallow(name: str, body: bytes, turn: Turn) -> None:
    try:
        found = page(name, body, turn)
    except PayloadError as bad:
        assert_short(bad)
        return
    for record in found.records:
        try:
            for event in GEOTAB.normalize[record.feed](record.body):
                sound(event)
                if isinstance(event, Position):
                    has_fix(event)
        except PayloadError as bad:
            assert_short(bad)


@pytest.mark.parametrize("name", FEEDS)
@few
@given(body=st.binary(max_size=120) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_page_or_a_payload_error(name, body):
    swallow(name, body, turn_of(name))


@pytest.mark.parametrize("name", FEEDS)
@few
@given(value=ANY)
def test_any_json_as_a_record_is_events_or_a_payload_error(name, value):
    listing = bool(FEEDS[name].listing)
    result = [value] if listing else {"data": [value], "toVersion": "1"}

    swallow(name, json.dumps({"result": result}).encode(), turn_of(name))


@settings(max_examples=tries(1500), deadline=None)
@given(data=st.data())
def test_a_sample_with_anything_changed_is_read_or_set_aside(data):
    path = data.draw(st.sampled_from(READABLE))
    body = json.loads(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        body = changed(body, data)
    name = path.stem.partition("_")[0]

    swallow(name, json.dumps(body).encode(), turn_of(name))


@pytest.mark.parametrize("told", [1e300, "x" * 400])
def test_the_type_of_an_error_is_told_short(told):
    error = {"message": "no", "errors": [{"name": told, "message": "no"}]}

    swallow("vehicles", json.dumps({"error": error}).encode(), turn_of("vehicles"))


@pytest.mark.parametrize("depth", [30, 60, 2_000, 100_000])
@pytest.mark.parametrize("name", FEEDS)
def test_however_deep_a_record_nests_it_is_read_or_a_payload_error(name, depth):
    deep = b'{"id":"b1","device":{"id":"b2"},"x":' + b"[" * depth + b"]" * depth + b"}"
    listing = bool(FEEDS[name].listing)
    body = (
        b'{"result":[%b]}' if listing else b'{"result":{"data":[%b],"toVersion":"1"}}'
    )

    swallow(name, body % deep, turn_of(name))
