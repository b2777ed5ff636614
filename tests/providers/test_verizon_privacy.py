"""What Reveal marks private is not on the disk, in no form and by no road."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import PayloadError
from fleetd.providers.verizon import PROVIDER
from fleetd.providers.verizon.privacy import hide
from tests.providers.verizon_sns import message
from tests.test_every_provider import ANY
from tests.tries import tries

HERE = Path(__file__).parent / "verizon"
WHERE = ("32.7791", "-96.8004", "Home Rd", "The Yard")
SECRET = {"Latitude": 32.7791, "Longitude": -96.8004, "GeoFenceName": "The Yard",
          "Address": {"AddressLine1": "7 Home Rd"}, "UpdateUTC": "2026-11-20T14:03:22",
          "VehicleNumber": "TX-104", "Speed": 54.0}  # fmt: skip


def marked(said: object, key: str = "IsPrivate") -> bytes:
    return json.dumps({**SECRET, key: said}).encode()


@pytest.mark.parametrize(
    "said", [True, "true", "True", 1, "1", "yes", "maybe", [1], {"a": 1}]
)
@pytest.mark.parametrize("key", ["IsPrivate", "isprivate", "ISPRIVATE", "isPrivate"])
def test_a_private_place_is_taken_out_wherever_it_stands(said, key):
    bare = marked(said, key)
    bulk = b'[{"VehicleNumber":"TX-104","ContentResource":{"Value":%b}}]' % bare
    for body in (
        bare,
        b"[%b]" % bare,
        bulk,
        message(bare.decode()),
        message(f"[{bare.decode()}]"),
        b" \n" + json.dumps(json.loads(bare), indent=2).encode(),
    ):
        found = hide(body).decode()
        assert not [one for one in WHERE if one in found]
        assert "2026-11-20T14:03:22" in found


@pytest.mark.parametrize("said", [False, "false", "False", None, 0, "0", "", "no"])
def test_what_is_not_private_stays_byte_for_byte(said):
    for body in (marked(said), message(marked(said).decode())):
        if said != "no":
            assert hide(body) is body
        assert "Home Rd" in hide(body).decode()


def test_only_the_private_end_of_a_trip_goes():
    body = json.loads((HERE / "trips.json").read_bytes())
    body["Segments"][0]["EndLocationIsPrivate"] = True
    found = json.loads(hide(json.dumps(body).encode()))["Segments"][0]

    assert found["EndLocation"] is None
    assert found["StartLocation"]["Latitude"] == 32.90


def test_what_is_marked_one_level_above_its_place_is_private_too():
    body = json.loads((HERE / "trips.json").read_bytes())
    body["Segments"][0]["IsPrivate"] = True
    found = json.loads(hide(json.dumps(body).encode()))["Segments"][0]
    bare = {key: one for key, one in SECRET.items() if key != "VehicleNumber"}
    answer = {
        "IsPrivate": True,
        "ContentResource": {"Value": bare},
        "VehicleNumber": "7",
    }
    hidden = hide(json.dumps(answer).encode())

    assert found["StartLocation"] is found["EndLocation"] is None
    assert not [one for one in WHERE if one in hidden.decode()]
    (fix,) = PROVIDER.normalize["positions"](hidden)
    assert (fix.id, fix.latitude) == ("7@1795183402", None)


@pytest.mark.parametrize("spoil", [-1, -60, "NaN"])
def test_a_page_that_nobody_can_read_keeps_no_place_where_one_is_private(spoil):
    page = b'[{"x":1},%b,%b]' % (marked(True), message(marked(True).decode()))
    bad = page.replace(b'"x":1', b'"x":NaN') if spoil == "NaN" else page[:spoil]
    found = hide(bad).decode()

    assert not [one for one in WHERE if one in found]
    assert found.count("2026-11-20T14:03:22") == 2
    assert hide(bad.replace(b"true", b"false")) == bad.replace(b"true", b"false")


@pytest.mark.parametrize(
    "value",
    [
        rb'"1 \"Rose\" Lane"', rb'"1 \"Rose\" Lane', b"[32.77, -9.68e1]", b"[32.77, -9",
        b"-32.77",
    ],
)  # fmt: skip
def test_a_place_in_any_form_goes_from_what_nobody_can_read(value):
    said = b'[{"IsPrivate":true,"Location":%b'

    assert hide(said % value) == said % b"null"


def test_what_holds_signs_without_end_is_looked_through_once():
    body = b'{"IsPrivate":true,' + b"\\" * 8_000_000  # or it would take hours

    assert hide(body) == body


def test_the_neighbours_of_a_private_point_keep_theirs():
    points = [
        {**SECRET, "IsPrivate": False, "Latitude": 1.5},
        {**SECRET, "IsPrivate": True},
    ]
    first, second = json.loads(hide(json.dumps(points).encode()))

    assert first == points[0]
    assert second["Latitude"] is second["Address"] is None


@pytest.mark.parametrize(
    "name", ["positions_private", "track_odd", "webhook_raw_private"]
)
def test_a_record_without_its_private_place_means_the_same_event(name):
    feed = "pushed" if name.startswith("webhook") else name.split("_")[0]
    body = json.loads((HERE / f"{name}.json").read_bytes())
    for item in body if isinstance(body, list) else [body]:
        record = json.dumps({"_vehicle": "TX-1", **(item or {})}).encode()
        told = []
        for one in (record, hide(record)):
            try:
                found = list(PROVIDER.normalize[feed](one))
                told.append(
                    [msgspec.structs.replace(x, heading_degrees=None) for x in found]
                )
            except PayloadError as bad:
                told.append([str(bad)])

        assert told[0] == told[1]


@settings(max_examples=tries(300), deadline=None)
@given(st.binary(max_size=80), ANY)
def test_any_bytes_come_out_again(body, value):
    for one in (
        body,
        b'{"IsPrivate":true' + body,
        json.dumps([{"isprivate": 1, "x": value}]).encode(),
    ):
        assert isinstance(hide(one), bytes)
