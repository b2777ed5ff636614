"""What Reveal may answer and push beyond its samples, and that both roads meet."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import (
    AbsentError,
    ConfigError,
    FleetdError,
    HeldError,
    PayloadError,
    TransientError,
)
from fleetd.event import SAFETY, Position, has_fix, lane_of, merged
from fleetd.providers.contract import Answer, Ask, Feed, Page, Provider, Turn
from fleetd.providers.verizon import PROVIDER, Settings, configured
from fleetd.providers.verizon.feeds import of_vehicle
from fleetd.web import Request
from tests.test_every_provider import ANY, assert_short, sound, told
from tests.tries import tries

HERE = Path(__file__).parent / "verizon"
NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
BY_LENGTH = sorted(FEEDS, key=len, reverse=True)
FLEET = ("TX-104", "TX-105", "unnumbered/1FUJHHDR3MLMT2199")
SAMPLES = sorted(
    path
    for path in HERE.glob("*.json")
    if not path.name.startswith("webhook_") and not path.name.endswith(".events.json")
)
few = settings(max_examples=tries(150), deadline=None)


def feed_of(path: Path) -> str:
    return next(one for one in BY_LENGTH if path.stem.startswith(one))


def turn_of(feed: Feed, **more: Any) -> Turn:
    part = "TX-104" if feed.parts else ""
    since = NOW - (feed.begins or timedelta(0))
    return Turn(NOW, **{"since": since, "part": part, "vehicles": FLEET, **more})


def polled(name: str, body: bytes, **more: Any) -> Page:
    feed = FEEDS[name]
    turn = turn_of(feed, **more)
    ask = feed.ask(turn)
    assert ask is not None
    return feed.unpack(ask, body, turn)


def events(page: Page, provider: Provider = PROVIDER) -> list[Any]:
    return [
        one for rec in page.records for one in provider.normalize[rec.feed](rec.body)
    ]


def pushed(body: Any, provider: Provider = PROVIDER) -> list[Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert provider.webhook
    split = provider.webhook.unpack(Request("POST", "/webhooks/x", "", {}, raw, "::1"))
    return [
        one for rec in split.records for one in provider.normalize[rec.feed](rec.body)
    ]


def sample(name: str) -> Any:
    return json.loads((HERE / name).read_bytes())


def meaning(name: str, body: bytes) -> dict[str, Any]:
    """What an answer holds, its records one by one."""
    try:
        page = polled(name, body)
    except (PayloadError, HeldError, TransientError) as bad:
        return {type(bad).__name__: str(bad)}
    read: list[Any] = []
    for record in page.records:
        try:
            found = list(PROVIDER.normalize[record.feed](record.body))
            read += [told(one) for one in found] or [{"nothing": True}]
        except PayloadError as bad:
            read.append({"dead": str(bad)})
    return {
        "bookmark": page.bookmark, "more": page.more, "complete": page.complete,
        "events": read,
    }  # fmt: skip


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_an_answer_means_what_its_golden_file_says(path):
    golden = path.with_suffix(".events.json")
    found = meaning(feed_of(path), path.read_bytes())
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    assert found == json.loads(golden.read_text())


def test_every_feed_has_a_sample_and_every_golden_file_its_own():
    goldens = {
        one for one in HERE.glob("*.events.json") if not one.name.startswith("webhook_")
    }

    assert {feed_of(one) for one in SAMPLES} == set(FEEDS)
    assert goldens == {one.with_suffix(".events.json") for one in SAMPLES}


# identity


def test_a_fix_is_the_same_event_by_bulk_by_track_by_push_and_through_sns():
    (bulk,) = events(polled("positions", (HERE / "positions.json").read_bytes()))
    track = events(polled("track", (HERE / "track.json").read_bytes()))[1]
    (raw,) = pushed(sample("webhook_raw.json"))
    (wrapped,) = pushed(sample("webhook_sns_notification.json"))

    copies = [bulk, track, raw, wrapped]
    assert {one.id for one in copies} == {"TX-104@1795183402"}
    for one in copies:
        for other in copies:
            both = merged(one, other)
            for name in msgspec.structs.fields(Position):
                here, there = getattr(one, name.name), getattr(other, name.name)
                if here is not None and there is not None:
                    assert here == there, name.name
            assert both.latitude == 32.7791


def test_a_fraction_of_a_second_makes_no_other_fix():
    body = sample("webhook_raw.json")
    (first,) = pushed(body)
    (second,) = pushed(body | {"updateUTC": "2026-11-20T14:03:22.9990000Z"})

    assert (first.id, first.at) == (second.id, second.at)


@few
@given(data=st.data())
def test_keys_in_any_case_say_the_same(data):
    def recased(value):
        if isinstance(value, dict):
            how = data.draw(st.sampled_from([str.lower, str.upper, str.title, str]))
            return {how(key): recased(one) for key, one in value.items()}
        return [recased(one) for one in value] if isinstance(value, list) else value

    for name in ("positions", "track", "statuses", "vehicles", "drivers", "faults"):
        plain = sample(f"{name}.json")
        other = json.dumps(recased(plain)).encode()

        first = events(polled(name, json.dumps(plain).encode()))
        second = events(polled(name, other))

        assert [told(one) for one in second] == [told(one) for one in first], name


def test_the_quick_way_reads_what_the_lenient_one_reads():
    for name in ("positions", "track"):
        plain = sample(f"{name}.json")
        slow = json.dumps(plain).replace('"IsPrivate"', '"isPrivate"').encode()

        quick = events(polled(name, json.dumps(plain).encode()))

        assert quick == events(polled(name, slow))
        assert len(quick) >= 1


# units, privacy


def test_speeds_are_what_the_account_says_and_a_named_unit_stays_what_it_is():
    us = configured(Settings(units="us"))
    page = polled("positions", (HERE / "positions.json").read_bytes())
    (metric,), (miles,) = events(page), events(page, us)
    (raw,) = pushed(sample("webhook_raw.json"), us)
    statuses = polled("statuses", (HERE / "statuses.json").read_bytes())

    assert metric.speed_mph == 54.0 / 1.609344
    assert miles.speed_mph == raw.speed_mph == 54.0
    assert metric.odometer == miles.odometer == pytest.approx(214883.2 / 1.609344)
    assert events(statuses)[0].odometer == pytest.approx(214883.2 / 1.609344)
    assert events(statuses, us)[0].odometer == 214883.2


@pytest.mark.parametrize("said", [True, "true", "True", 1, "1", "yes", "perhaps", {}])
def test_a_private_place_leaves_no_trace_in_any_event(said):
    item = sample("positions.json")[0]
    item["ContentResource"]["Value"]["IsPrivate"] = said
    point = sample("track.json")[0] | {"IsPrivate": said}
    push = sample("webhook_raw.json") | {"isPrivate": said}
    alarm = sample("webhook_alert_long_stop.json") | {
        "IsPrivate": said, "Latitude": 32.7791, "Longitude": -96.8, "Address": "Main St",
    }  # fmt: skip
    found = [
        *events(polled("positions", json.dumps([item]).encode())),
        *events(polled("track", json.dumps([point]).encode())),
        *pushed(push),
        *pushed(alarm),
    ]

    assert len(found) == 4
    for one in found:
        text = json.dumps(told(one))
        assert "32.7" not in text
        assert "-96" not in text
        assert "Main" not in text
        assert "Yard" not in text
        assert not isinstance(one, Position) or not has_fix(one)


def test_a_private_end_of_a_trip_is_left_out_and_the_other_end_stays():
    body = sample("trips.json")
    body["Segments"][0]["StartLocationIsPrivate"] = True
    (trip,) = events(polled("trips", json.dumps(body).encode()))

    assert (trip.start_latitude, trip.start_longitude, trip.start_place) == (None,) * 3
    assert trip.end_latitude == 32.7791


# what is asked


def test_vehicles_are_asked_in_hundreds_until_all_were_and_then_anew():
    fleet = (*(f"T {n:03}/x" for n in range(250)), "unnumbered/Spare")
    feed, bookmark, asked, walks = FEEDS["positions"], None, [], []
    for _ in range(6):
        turn = Turn(NOW, bookmark, vehicles=fleet)
        ask = feed.ask(turn)
        asked.append(ask.json)
        body = json.dumps(
            [{"VehicleNumber": one, "StatusCode": 400} for one in ask.json]
        ).encode()
        page = feed.unpack(ask, body, turn)
        bookmark = page.bookmark
        walks.append(page.more)

    assert [len(one) for one in asked] == [100, 100, 50] * 2
    assert sorted(one for many in asked[:3] for one in many) == sorted(fleet[:-1])
    assert walks == [True, True, False] * 2


def bulk(**held: Any) -> list[Any]:
    item = {"VehicleNumber": "TX-104", "StatusCode": 200, **held}
    return events(polled("positions", json.dumps([item]).encode()))


PLACE = {"Latitude": 32.7, "Longitude": -96.8, "UpdateUtc": "2026-11-20T14:03:22"}


@pytest.mark.parametrize("held", [PLACE, [PLACE], {"Value": PLACE}, {"Value": [PLACE]}])
def test_a_last_place_is_read_also_where_it_is_alone_in_a_list(held):
    (found,) = bulk(ContentResource=held)

    assert (found.vehicle, found.latitude) == ("TX-104", 32.7)


@pytest.mark.parametrize("held", ["x", 5, [PLACE, PLACE], ["x"], [[PLACE]]])
def test_a_good_answer_that_holds_what_is_no_place_is_set_aside_and_not_empty(held):
    for one in (held, {"Value": held}):
        with pytest.raises(PayloadError, match="is no object"):
            bulk(ContentResource=one)
        assert bulk(ContentResource=one, StatusCode=400) == []


@pytest.mark.parametrize("held", [None, {}, [], {"Value": None}, {"Value": {}}])
def test_a_good_answer_that_holds_nothing_is_empty(held):
    assert bulk(ContentResource=held) == []


@pytest.mark.parametrize("count", [2, "2", "2.0", None, "", "two", [], 0])
def test_a_count_that_is_a_text_or_none_spoils_no_listing(count):
    told = {"TotalCount": count, "Items": [{"VehicleNumber": "a"}] * 2}

    assert len(polled("vehicles", json.dumps(told).encode()).records) == 2


@pytest.mark.parametrize("count", [3, "3"])
def test_a_part_of_a_listing_is_no_whole_one(count):
    told = {"TotalCount": count, "Items": [{"VehicleNumber": "a"}] * 2}

    with pytest.raises(PayloadError, match="2 of 3"):
        polled("vehicles", json.dumps(told).encode())


def test_a_fleet_that_shrinks_while_it_is_asked_ends_the_round():
    feed = FEEDS["positions"]
    turn = Turn(NOW, "T-900", vehicles=("T-100",))
    ask = feed.ask(turn)
    page = feed.unpack(ask, b'[{"VehicleNumber":"T-100","StatusCode":400}]', turn)

    assert ask.json == ["T-100"]
    assert (page.more, page.bookmark) == (False, None)


@pytest.mark.parametrize("name", [one for one in FEEDS if FEEDS[one].parts])
def test_a_vehicle_without_a_number_is_asked_for_by_nobody(name):
    assert FEEDS[name].ask(Turn(NOW, part="unnumbered/Spare", since=NOW - DAY)) is None
    assert FEEDS["positions"].ask(Turn(NOW, vehicles=("unnumbered/Spare",))) is None
    assert FEEDS["positions"].ask(Turn(NOW)) is None


DAY = timedelta(days=1)


@few
@given(st.text(min_size=1, max_size=30))
def test_a_number_of_any_characters_is_one_segment_of_the_path(number):
    from urllib.parse import unquote

    path = of_vehicle(number, "segments")

    assert path.isascii()
    assert path.count("/") == 5
    assert not set("?#-. ") & set(path.split("/")[4])
    assert unquote(path.split("/")[4]) == number


def test_times_are_asked_in_utc_without_a_letter_and_never_over_a_day():
    ask = FEEDS["track"].ask(Turn(NOW, since=NOW - 5 * DAY, part="TX/1 2"))

    assert ask.path == "/rad/v1/vehicles/TX%2F1%202/status/history"
    assert ask.params == {
        "startdatetimeutc": "2026-11-15T14:30:00",
        "enddatetimeutc": "2026-11-16T14:30:00",
    }


# the session


def test_the_login_is_basic_and_every_call_bears_app_and_token():
    provider = configured(Settings(user="REST_x@1.com", app_id="fleetmatics-p-us-7"))
    session = provider.session
    login = session.login("pa:ss", NOW)
    grant = session.read(Answer(200, {}, b"eyJhbGciOi.J9.x-_y"), NOW)
    ask = session.put(Ask("/cmd/v1/vehicles"), grant)

    said = base64.b64encode(b"REST_x@1.com:pa:ss").decode()
    assert login.path == "/token"
    assert login.headers["Authorization"] == f"Basic {said}"
    assert ask.headers["Authorization"] == (
        "Atmosphere atmosphere_app_id=fleetmatics-p-us-7, Bearer eyJhbGciOi.J9.x-_y"
    )
    assert NOW + timedelta(minutes=15) <= grant.expires < NOW + timedelta(minutes=20)


TOKEN = "eyJhbGciOi.J9." + "x" * 1500


@pytest.mark.parametrize(
    "body", [TOKEN, f"  {TOKEN}\r\n", f"\ufeff{TOKEN}", f'"{TOKEN}"', f'{{"Token":"{TOKEN}"}}']
)  # fmt: skip
def test_a_token_is_read_in_whatever_wrapping(body):
    grant = PROVIDER.session.read(Answer(200, {}, body.encode()), NOW)

    assert grant.token == TOKEN


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (401, b"", HeldError), (400, b"bad user", HeldError), (403, b"", HeldError),
        (500, b"", TransientError), (302, b"", TransientError),
        (200, b"<html>login</html>", TransientError), (200, b"", TransientError),
        (200, b'{"error":"x"}', TransientError), (200, b"a b" * 30, TransientError),
        (200, b'{"Token": 7}', TransientError), (200, b"x" * 100_000, TransientError),
    ],
)  # fmt: skip
def test_a_login_that_gives_no_token_is_refused_or_unwell(status, body, fault):
    with pytest.raises(fault):
        PROVIDER.session.read(Answer(status, {}, body), NOW)


def test_an_ended_token_is_known_in_all_its_forms_and_nothing_else_is():
    ended = PROVIDER.session.ended

    assert ended(Answer(401, {}, b""))
    assert ended(Answer(400, {}, b"The provided token has an invalid format."))
    assert ended(Answer(400, {}, b'{"Message":"Token expired"}'))
    assert not ended(Answer(400, {}, b'{"Message":"Vehicle TX-9 was not found."}'))
    assert not ended(Answer(200, {}, b"token"))
    assert not ended(Answer(403, {}, b"token"))


def test_a_vehicle_that_is_not_served_is_absent_and_a_whole_call_is_not():
    own = Ask(of_vehicle("TX-9", "segments"))
    for status in (400, 404, 204):
        with pytest.raises(AbsentError) as bad:
            PROVIDER.judge(own, Answer(status, {}, b""))
        assert bad.value.known == (status == 204)
    for path in ("/cmd/v1/vehicles", "/rad/v1/vehicles/locations"):
        PROVIDER.judge(Ask(path), Answer(400, {}, b""))
    with pytest.raises(HeldError, match="app_id") as held:
        PROVIDER.judge(Ask("/cmd/v1/vehicles"), Answer(400, {}, b"a bad token"))
    assert held.value.status == 401
    with pytest.raises(AbsentError):
        PROVIDER.judge(own, Answer(400, {}, b"not authorized for TX-9"))
    PROVIDER.judge(own, Answer(200, {}, b"[]"))
    PROVIDER.judge(own, Answer(500, {}, b""))


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"user": "x"}, "app_id"), ({"app_id": "x"}, "user"),
        ({"user": "a:b", "app_id": "x"}, "user"),
        ({"user": "x", "app_id": "Atmosphere atmosphere_app_id=x"}, "app_id"),
        ({"topic": "my topic"}, "topic"),
    ],
)  # fmt: skip
def test_keys_that_cannot_mean_anything_are_refused_by_name(keys, named):
    with pytest.raises(ConfigError, match=f"^{named}:"):
        configured(Settings(**keys))


def test_a_source_that_polls_without_a_user_is_told_so():
    with pytest.raises(HeldError, match="app_id"):
        PROVIDER.session.login("password", NOW)


def test_the_region_chooses_the_host_and_the_user_tells_the_account():
    eu = configured(Settings(region="eu", user="REST_A_1@123456.com", app_id="x"))

    assert PROVIDER.base_url == "https://fim.api.us.fleetmatics.com"
    assert eu.base_url == "https://fim.api.eu.fleetmatics.com"
    assert list(eu.whoami.read(b"[]")) == ["REST_A_1@123456.com", "123456"]
    with pytest.raises(PayloadError):
        eu.whoami.read(b"<html>")


# alerts


def test_a_panic_and_a_broken_rule_go_first():
    (panic,) = pushed(sample("webhook_alert_panic.json"))
    (duty,) = pushed(sample("webhook_alert_hos.json"))
    (stop,) = pushed(sample("webhook_alert_long_stop.json"))

    assert lane_of(panic) == lane_of(duty) == SAFETY
    assert lane_of(stop) != SAFETY


def test_the_same_rule_broken_twice_is_two_alerts_and_a_repeat_is_one():
    body = sample("webhook_alert_panic.json")
    (first,), (again,) = pushed(body), pushed(body)
    (later,) = pushed(body | {"AlertTimeUtc": "2026-11-20T15:00:00"})

    assert first.id == again.id != later.id


def test_an_alert_whose_direction_nobody_can_tell_stays_an_alert():
    body = sample("webhook_alert_geofence.json") | {"State": "?"}
    (fence,) = pushed(body)
    (ignition,) = pushed({"AlertType": "Ignition", "VehicleNumber": "T"})

    assert (fence.kind, fence.type) == ("alert", "geofence")
    assert (ignition.kind, ignition.type) == ("alert", "ignition")


# whatever else


@pytest.mark.parametrize("name", FEEDS)
@settings(max_examples=tries(120), deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_a_page_or_one_of_our_errors(name, body):
    taken(name, body)


@pytest.mark.parametrize("name", FEEDS)
@settings(max_examples=tries(150), deadline=None)
@given(value=ANY, wrap=st.sampled_from(["", "[", "items", "Segments", "DTCs"]))
def test_any_json_is_a_page_or_one_of_our_errors(name, value, wrap):
    whole = [value] if wrap == "[" else {wrap: [value]} if wrap else value

    taken(name, json.dumps(whole).encode())


@settings(max_examples=tries(500), deadline=None)
@given(data=st.data())
def test_an_answer_with_anything_changed_is_read_or_set_aside_record_by_record(data):
    from tests.test_every_provider import changed

    path = data.draw(st.sampled_from([one for one in SAMPLES if one.stem in FEEDS]))
    body = json.loads(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        body = changed(body, data)

    taken(feed_of(path), json.dumps(body).encode())


@pytest.mark.parametrize("number", ["", "  ", None])
def test_a_blank_driver_number_says_that_nobody_drives(number):
    (point, *_), bulk = sample("track.json"), sample("positions.json")
    point = point | {"DriverNumber": number}
    nobody = {"DriverNumber": number, "FirstName": number, "LastName": number}
    bulk[0]["ContentResource"]["Value"] |= nobody

    for name, body in (("track", [point]), ("positions", bulk[:1])):
        (event,) = events(polled(name, json.dumps(body).encode()))
        assert (event.driver, event.driver_name) == ("", None)


def taken(name: str, body: bytes) -> None:
    try:
        page = polled(name, body)
    except FleetdError as bad:
        assert_short(bad)
        return
    for record in page.records:
        try:
            found = list(PROVIDER.normalize[record.feed](record.body))
        except PayloadError as bad:
            assert_short(bad)
            continue
        for one in found:
            sound(one)


def test_one_record_that_nobody_can_read_spoils_none_of_the_others():
    points = sample("track.json") * 100
    points[150] = points[150] | {"Latitude": "north"}
    page = polled("track", json.dumps(points).encode())
    dead = []
    for record in page.records:
        try:
            list(PROVIDER.normalize[record.feed](record.body))
        except PayloadError as bad:
            dead.append((record.body, str(bad)))

    assert len(page.records) == 200
    ((body, why),) = dead
    assert why == "Latitude is no number (vehicle TX-104, 2026-11-20T14:01:22)"
    mended = body.replace(b'"north"', b"32.7701")
    assert next(iter(PROVIDER.normalize["track"](mended))).vehicle == "TX-104"
