"""What LocoNav answers: lists, windows, refusals, and whatever else may arrive."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetd.errors import (
    ConfigError,
    HeldError,
    PayloadError,
    SignatureError,
    TransientError,
)
from fleetd.event import (
    CLASSES,
)
from fleetd.masking import mask_fields
from fleetd.providers.contract import Answer, Ask, Feed, Turn
from fleetd.providers.loconav import PROVIDER, Settings, configured, judge, owner
from tests.providers.loconav_said import (
    FEEDS,
    HERE,
    NOW,
    few,
    polled,
    post,
)
from tests.test_every_provider import assert_short, sound, told
from tests.tries import tries

SAMPLES = sorted(
    path
    for path in HERE.glob("*.json")
    if not path.name.startswith("webhook_") and not path.name.endswith(".events.json")
)


def meaning(name: str, body: bytes) -> dict[str, Any]:
    """What an answer holds, its records one by one."""
    try:
        page = polled(name, body)
    except PayloadError as bad:
        return {"page": str(bad)}
    read = []
    for record in page.records:
        try:
            read += [told(one) for one in PROVIDER.normalize[record.feed](record.body)]
        except PayloadError as bad:
            read.append({"dead": str(bad)})
    return {
        "bookmark": page.bookmark, "more": page.more, "complete": page.complete,
        "events": read,
    }  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_an_answer_means_what_its_golden_file_says(sample):
    golden = sample.with_suffix(".events.json")
    found = meaning(sample.stem.split("_")[0], sample.read_bytes())
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    assert found == json.loads(golden.read_text())


def test_every_feed_has_a_sample():
    assert {one.stem.split("_")[0] for one in SAMPLES} == set(FEEDS) - {"late_alerts"}


# lists and windows


def lists(items: int, **pagination: Any) -> bytes:
    values = [{"id": n} for n in range(items)]
    return json.dumps(
        {"success": True, "data": {"values": values, "pagination": pagination}}
    ).encode()


def asked(feed: Feed, turn: Turn) -> Ask:
    ask = feed.ask(turn)
    assert ask is not None
    return ask


def test_pages_are_counted_here_whatever_the_answer_says():
    feed, turn = FEEDS["drivers"], Turn(NOW, bookmark="7")
    ask = asked(feed, turn)
    page = feed.unpack(ask, lists(3, page=0, more=True), turn)

    assert ask.params == {"getIdAndName": "false", "page": "7", "perPage": "100"}
    assert (page.bookmark, page.more, page.complete) == ("8", True, False)


def test_a_list_ends_on_more_false_and_only_that_makes_it_complete():
    ends = [
        (lists(3, more=False), True),
        (lists(0, more=False), True),
        (lists(0, more=True), False),
        (lists(0, page=4), False),
        (lists(0), False),
    ]

    for body, complete in ends:
        page = polled("drivers", body)
        assert (page.bookmark, page.more, page.complete) == (None, False, complete)


def test_without_more_a_list_goes_on_until_a_page_is_empty():
    first = polled("places", lists(1, page=1, count=84))
    turn = Turn(NOW, bookmark=first.bookmark)
    second = polled("places", lists(2, page=2, count=84), turn)
    third = asked(FEEDS["places"], Turn(NOW, bookmark=second.bookmark))

    assert (first.more, first.complete, second.more) == (True, False, True)
    assert asked(FEEDS["places"], turn).params["page"] == "2"
    assert third.params["page"] == "3"


@pytest.mark.parametrize("name", ["places", "trips"])
def test_a_list_without_more_that_sends_its_page_again_is_over_and_not_complete(name):
    turn = Turn(NOW, since=NOW - timedelta(hours=5))
    first = polled(name, lists(3), turn)
    turn = replace(turn, bookmark=first.bookmark)
    second = polled(name, lists(3), turn)

    assert first.more
    assert asked(FEEDS[name], turn).params["page"] == "2"
    assert (second.more, second.complete) == (False, False)


def test_a_page_like_the_one_before_is_no_end_where_more_is_said():
    turn = Turn(NOW, bookmark=polled("drivers", lists(3)).bookmark)

    assert polled("drivers", lists(3, more=True), turn).bookmark == "3"


def listed(**data: Any) -> bytes:
    more = {"pagination": {"more": False}}
    return json.dumps({"success": True, "data": {**data, **more}}).encode()


@pytest.mark.parametrize("more", [{}, {"total": 1, "filters": {}, "driver": None}])
def test_a_list_is_read_under_whatever_name_it_comes(more):
    turn = Turn(NOW, since=NOW - timedelta(hours=5))
    page = polled("trips", listed(trips=[{"id": 1}], **more), turn)
    known = polled("trips", listed(values=[{"id": 1}], states=[3, 6]), turn)

    assert [one.body for one in page.records] == [b'{"id": 1}']
    assert [one.body for one in known.records] == [b'{"id": 1}']


@pytest.mark.parametrize(
    "data", [{}, {"trips": None}, {"a": [], "b": []}, {"values": [], "alerts": []}]
)
def test_no_list_or_several_are_no_page(data):
    with pytest.raises(PayloadError, match="where one was asked for"):
        polled("trips", listed(**data), Turn(NOW, since=NOW - timedelta(hours=5)))


def test_a_list_without_end_is_none():
    with pytest.raises(PayloadError, match="no end"):
        polled("drivers", lists(1, more=True), Turn(NOW, bookmark="100000"))


@pytest.mark.parametrize("bookmark", ["", "x", "-1", "0", "1e3", "²", "9" * 50])
def test_a_bookmark_that_is_no_page_begins_anew(bookmark):
    assert asked(FEEDS["vehicles"], Turn(NOW, bookmark=bookmark)).params["page"] == "1"


def span(ask: Ask) -> tuple[int, int]:
    return int(str(ask.params["startTime"])), int(str(ask.params["endTime"]))


def walk(
    feed: Feed, turn: Turn, pages: int = 1
) -> tuple[list[tuple[int, int]], str | None]:
    """The windows that are asked for until nothing more waits, `pages` pages each."""
    found: list[tuple[int, int]] = []
    for n in range(2000):
        ask = feed.ask(turn)
        if ask is None:
            break
        found.append(span(ask))
        more = (n + 1) % pages != 0
        page = feed.unpack(ask, lists(1, more=more), turn)
        turn = msgspec.structs.replace(turn, bookmark=page.bookmark)
        if not page.more:
            break
    return found, turn.bookmark


moments = st.timedeltas(timedelta(0), timedelta(days=150)).map(
    lambda since: datetime(2026, 1, 1, tzinfo=UTC) + since
)


@given(
    now=moments,
    back=st.timedeltas(timedelta(0), timedelta(days=170)),
    long=st.timedeltas(timedelta(microseconds=1), timedelta(days=9)),
    pages=st.integers(1, 3),
)
@few
def test_a_past_is_asked_for_without_gaps_in_windows_the_vendor_takes(
    now, back, long, pages
):
    since = now - back
    turn = Turn(now, since=since, until=since + long)
    past = FEEDS["alerts"].past
    feed = msgspec.structs.replace(FEEDS["alerts"], ask=past.ask, unpack=past.unpack)
    windows, _ = walk(feed, turn, pages)
    end = min(since + long, now)

    if end > since:
        assert windows[0][0] <= since.timestamp()
        assert windows[-1][1] >= end.timestamp()
        assert windows[-1][1] < end.timestamp() + 1
    assert all(60 < until - start < 86_400 for start, until in windows)
    for (_, until), (start, _) in pairwise(windows):
        assert start <= until


@given(now=moments, rest=st.timedeltas(timedelta(0), timedelta(days=400)))
@few
def test_after_any_absence_a_feed_goes_on_where_it_stood_or_as_far_back_as_it_may(
    now, rest
):
    feed = FEEDS["late_alerts"]
    before = Turn(now - rest, since=now - rest, lookback=feed.lookback)
    _, bookmark = walk(feed, before)
    turn = Turn(now, bookmark=bookmark, lookback=feed.lookback)
    windows, _ = walk(feed, turn)

    stood = (now - rest - feed.lookback).timestamp()
    oldest = (now - timedelta(days=179)).timestamp()
    assert windows[0][0] <= max(stood, oldest)
    assert windows[0][0] > now.timestamp() - 181 * 86_400
    assert windows[-1][1] >= now.timestamp()


def test_half_a_walk_that_is_half_a_year_old_does_not_hold_the_feed():
    feed, turn = FEEDS["alerts"], Turn(NOW, since=NOW - timedelta(days=3))
    page = feed.unpack(asked(feed, turn), lists(1, more=True), turn)
    later = Turn(NOW + timedelta(days=300), bookmark=page.bookmark)
    start, _ = span(asked(feed, later))

    assert start >= (later.now - timedelta(days=180)).timestamp()


def test_a_bookmark_of_a_clock_gone_wrong_is_none():
    feed = FEEDS["alerts"]
    _, ahead = walk(feed, Turn(NOW + timedelta(days=900)))
    _, until = span(asked(feed, Turn(NOW, bookmark=ahead)))

    assert until == NOW.timestamp()


def test_positions_are_posted_for_with_the_sensors_that_are_wanted():
    more = {
        one.name: one for one in configured(Settings(odometer=True, per_page=7)).feeds
    }
    plain, wide = (asked(f["positions"], Turn(NOW)) for f in (FEEDS, more))

    assert (plain.method, plain.json) == ("POST", {"sensors": ["gps"]})
    assert wide.json == {"sensors": ["gps", "odometer"]}
    assert wide.params == {"page": "1", "perPage": "7"}


# what the vendor says


def judged(status: int, body: Any, **headers: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    judge(Ask("/alerts"), Answer(status, headers, raw))


def no(*errors: Any) -> dict[str, Any]:
    return {"success": False, "data": {"errors": list(errors)}}


def test_a_429_without_a_word_of_when_waits_a_whole_minute():
    with pytest.raises(TransientError) as told_:
        judged(429, b"TOO MANY REQUESTS")
    judged(429, b"", **{"retry-after": "3"})  # then the engine reads that

    assert (told_.value.after, told_.value.status) == (60.0, 429)


def test_a_no_in_a_200_is_never_an_empty_list():
    with pytest.raises(HeldError, match="Authentication failed") as refused:
        judged(200, no("Authentication failed"))
    with pytest.raises(TransientError) as busy:
        judged(200, no({"message": "TOO MANY REQUESTS", "code": "x"}))
    with pytest.raises(PayloadError, match=r"bad_request: \{:page"):
        judged(200, no({"message": '{:page=>["is bad"]}', "code": "bad_request"}))
    with pytest.raises(PayloadError, match="no reason given"):
        judged(200, {"success": "false"})
    with pytest.raises(PayloadError, match="no reason given"):
        judged(
            200, lists(0, more=False).replace(b'"success": true', b'"status": false')
        )

    assert refused.value.status == 401
    assert (busy.value.after, busy.value.status) == (60.0, 429)


def test_a_refused_question_is_held_with_the_vendors_own_words():
    with pytest.raises(HeldError, match="Only 3 sensors supported at a time"):
        judged(400, no({"message": "Only 3 sensors supported at a time"}))
    judged(401, no("Authentication failed"))  # the engine holds all
    judged(503, b"<html>")
    judged(200, lists(3, more=False))
    judged(200, b"<html>")  # unpacking says so


def test_the_owner_of_a_token_is_the_account_and_the_user():
    user = {"id": 5, "name": "Ops", "account": {"id": 77, "name": "Test Haulage"}}

    for body in (user, {"success": True, "data": user}, {"data": {"user": user}}):
        assert owner(json.dumps(body).encode()) == ["77", "Test Haulage", "5", "Ops"]
    with pytest.raises(PayloadError):
        owner(b"<html>")


# what is configured


def test_a_secret_is_refused_since_there_is_no_signature_to_check():
    webhook = PROVIDER.webhook

    assert "auth" in webhook.good_secret("anything")
    with pytest.raises(SignatureError):
        webhook.verify(post(b"{}"), ["anything"])
    assert webhook.sign(b"{}", "anything", NOW) == {}


@pytest.mark.parametrize(
    "wrong",
    [{"per_page": 0}, {"per_page": 5000}, {"per_minute": 0}, {"per_minute": 501}],
)
def test_a_setting_out_of_its_bounds_names_itself(wrong):
    with pytest.raises(ConfigError, match=f"^{next(iter(wrong))}: "):
        configured(Settings(**wrong))


def test_the_limit_is_twenty_a_minute_unless_more_was_granted():
    more = configured(Settings(per_minute=500))

    assert PROVIDER.limits.per_second == pytest.approx(20 / 60)
    assert more.limits.per_second == pytest.approx(500 / 60)


def test_personal_data_of_a_driver_is_masked_before_it_is_kept():
    raw = b'{"id":1,"name":"A","licenseNumber":"XYZ-1","uploads":{"image":"https://x"}}'
    kept = mask_fields(raw, PROVIDER.secret_fields)

    assert b"XYZ-1" not in kept
    assert b"https://x" not in kept
    other = raw.replace(b"licenseNumber", b"license_number")
    assert b"XYZ-1" not in mask_fields(other, PROVIDER.secret_fields)


def test_every_kind_that_can_come_is_declared():
    kinds = {one.kind for one in CLASSES}
    said = set(PROVIDER.webhook.kinds).union(*(feed.kinds for feed in PROVIDER.feeds))
    past = {feed.name for feed in PROVIDER.feeds if feed.past}

    assert said <= kinds
    assert past == {"alerts", "trips"}


# whatever may arrive

SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
    | st.sampled_from(["2026-03-02T09:14:05", "02-03-2026 10:14:05", "0", "ON", 1772446445]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["id", "number", "vehicleNumber", "gps", "speed", "value", "timestamp", "lat",
             "long", "currentLocationCoordinates", "startedTs", "endedTs", "eventType", "data",
             "values", "vehicles", "pagination", "more", "success", "vehicle", "driver",
             "checkPoints", "state", "odometer", "valueWithUnit", "unit", "ignition"]
        ), inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("feed", sorted(set(PROVIDER.normalize)))
@given(value=SCRAPS)
@settings(max_examples=tries(300), deadline=None)
def test_any_record_is_events_that_can_be_kept_or_a_payload_error(feed, value):
    check(feed, json.dumps(value).encode())


@pytest.mark.parametrize("feed", sorted(set(PROVIDER.normalize)))
@given(body=st.binary(max_size=60))
@few
def test_any_bytes_are_a_payload_error(feed, body):
    check(feed, body)


def check(feed: str, body: bytes) -> None:
    try:
        found = list(PROVIDER.normalize[feed](body))
    except PayloadError as bad:
        assert_short(bad)
        return
    assert found
    for one in found:
        sound(one)


@pytest.mark.parametrize("name", sorted(FEEDS))
@given(value=SCRAPS | st.binary(max_size=60))
@settings(max_examples=tries(200), deadline=None)
def test_any_answer_is_a_page_or_a_payload_error(name, value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    try:
        page = polled(name, body)
    except PayloadError as bad:
        assert_short(bad)
        return
    assert all(record.body in body for record in page.records)


@pytest.mark.parametrize("name", sorted(FEEDS))
def test_an_answer_that_nests_without_end_is_a_payload_error(name):
    for opened in (b'{"data":', b"[", b'{"success":true,"data":{"values":['):
        with pytest.raises(PayloadError):
            polled(name, opened * 100_000)
