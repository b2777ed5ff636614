"""How Samsara's pages are walked: what is asked next, what ends a walk, what is no page."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from fleetd.errors import (
    ConfigError,
    ExpiredError,
    HeldError,
    PayloadError,
    TransientError,
)
from fleetd.providers.contract import Answer, Ask, Turn
from fleetd.providers.samsara import PROVIDER, Settings, configured
from tests.providers.samsara_pages import (
    ALERTS,
    DAY,
    FEEDS,
    HERE,
    HOUR,
    NOW,
    asked,
    sample,
    turned,
)

CURSORS = {"vehicles": 25.0, "trips": 5.0, "incidents": 10.0}
LISTINGS = ["vehicles", "drivers", "places"]
STATS = ["positions", "engine", "faults"]
STREAMS = ["trips", "safety", "inspections", "incidents"]
WINDOWS = ["assignments", "duty", "violations", "idling"]
MILLISECOND = timedelta(milliseconds=1)


def page(data: Any = (), cursor: Any = "", *, more: Any = False) -> bytes:
    pagination = {"endCursor": cursor, "hasNextPage": more}
    return json.dumps({"data": list(data), "pagination": pagination}).encode()


def test_the_feeds_are_those_that_these_tests_know():
    assert set(FEEDS) == {*LISTINGS, *STATS, *STREAMS, *WINDOWS}


# directories


@pytest.mark.parametrize("name", ["vehicles", "places"])
def test_a_listing_goes_from_page_to_page_and_only_its_last_completes_it(name):
    feed = FEEDS[name]
    first = turned(feed, page([{"id": "1"}], "c1", more=True))
    short = turned(feed, page([], "c2", more=True), Turn(NOW, first.bookmark))
    last = turned(feed, page([{"id": "2"}], ""), Turn(NOW, short.bookmark))

    assert "after" not in asked(feed, Turn(NOW)).params
    assert asked(feed, Turn(NOW, "c1")).params["after"] == "c1"
    assert (first.bookmark, first.more, first.complete) == ("c1", True, False)
    assert (short.bookmark, short.more, short.complete) == ("c2", True, False)
    assert (last.bookmark, last.more, last.complete) == (None, False, True)


def test_drivers_of_both_statuses_are_one_listing():
    feed, bookmark, seen = FEEDS["drivers"], None, []
    pages = [("a", True), ("", False), ("b", True), ("", False)]
    for cursor, more in pages:
        turn = Turn(NOW, bookmark)
        params = asked(feed, turn).params
        found = turned(feed, page([{"id": "1"}], cursor, more=more), turn)
        seen.append((params["driverActivationStatus"], params.get("after")))
        assert found.complete == (not found.more) == (len(seen) == len(pages))
        bookmark = found.bookmark

    assert bookmark is None
    assert seen == [
        ("active", None),
        ("active", "a"),
        ("deactivated", None),
        ("deactivated", "b"),
    ]


def test_a_sweep_with_a_bookmark_of_something_else_begins_anew():
    params = asked(FEEDS["drivers"], Turn(NOW, "nonsense")).params

    assert params["driverActivationStatus"] == "active"
    assert "after" not in params


@pytest.mark.parametrize("name", FEEDS)
def test_tags_are_left_to_the_engine_which_knows_the_vehicles_without_any(name):
    turn = Turn(NOW, since=NOW - HOUR)
    narrow = Turn(NOW, since=NOW - HOUR, tags=("3914",))

    assert FEEDS[name].ask(narrow) == FEEDS[name].ask(turn)


# stats feeds


@pytest.mark.parametrize("name", STATS)
def test_a_feed_goes_on_where_its_cursor_says_with_nothing_else_changed(name):
    feed = FEEDS[name]
    first = asked(feed, Turn(NOW))
    found = turned(feed, page([], "c1"))
    after = asked(feed, Turn(NOW + HOUR, found.bookmark))

    assert "after" not in first.params
    assert after.path == first.path == "/fleet/vehicles/stats/feed"
    assert after.params == {**first.params, "after": "c1"}


def test_gps_comes_with_its_decorations():
    params = asked(FEEDS["positions"], Turn(NOW)).params

    assert params == {
        "types": "gps",
        "decorations": "engineStates,obdOdometerMeters",
    }


@pytest.mark.parametrize("cursor", ["", None, "c1"])
def test_an_empty_page_without_a_new_cursor_leaves_the_feed_where_it_was(cursor):
    feed = FEEDS["positions"]
    stood = turned(feed, page([], "c1")).bookmark
    found = turned(feed, page([], cursor, more=cursor == "c1"), Turn(NOW, stood))

    assert (found.bookmark, found.more) == (stood, False)


def test_a_feed_that_never_gives_a_cursor_is_an_error():
    with pytest.raises(PayloadError, match="cursor"):
        turned(FEEDS["positions"], page([], ""))


@pytest.mark.parametrize("name", STATS)
def test_a_feed_that_begins_in_the_past_takes_a_cursor_first_and_then_the_history(name):
    feed, since = FEEDS[name], NOW - 2 * DAY - HOUR
    first = turned(feed, page([], "c1"), Turn(NOW, since=since))
    bookmark, spans, later = first.bookmark, [], NOW
    while True:
        later += timedelta(seconds=1)
        ask = asked(feed, Turn(later, bookmark))
        if ask.path.endswith("/feed"):
            break
        half = "after" not in ask.params
        if half:
            spans.append((ask.params["startTime"], ask.params["endTime"]))
        answer = page([], "h1" if half else "", more=half)
        found = feed.unpack(ask, answer, Turn(later, bookmark))
        assert found.more
        bookmark = found.bookmark

    assert first.more
    assert ask.params["after"] == "c1"
    assert spans == [
        ("2026-05-11T05:00:00.000Z", "2026-05-12T05:00:00.000Z"),
        ("2026-05-12T05:00:00.000Z", "2026-05-13T05:00:00.000Z"),
        ("2026-05-13T05:00:00.000Z", "2026-05-13T06:00:00.000Z"),
    ]


@pytest.mark.parametrize("name", STATS)
def test_what_is_new_does_not_wait_for_the_past(name):
    feed, now, cursor = FEEDS[name], NOW, 1
    bookmark = turned(feed, page([], "c1"), Turn(NOW, since=NOW - 900 * DAY)).bookmark
    asked_at, roads = [], set()
    for number in range(200):
        now += timedelta(seconds=2)
        turn = Turn(now, bookmark)
        ask = asked(feed, turn)
        roads.add(ask.path.rpartition("/")[2])
        if ask.path.endswith("/feed"):
            assert ask.params["after"] == f"c{cursor}"
            asked_at.append(now)
            cursor += 1
            answer = page([], f"c{cursor}", more=number % 3 == 0)
        else:
            answer = page([], f"h{number}", more=True)
        bookmark = feed.unpack(ask, answer, turn).bookmark

    assert roads == {"feed", "history"}
    assert max(b - a for a, b in pairwise([NOW, *asked_at])) <= timedelta(seconds=32)
    assert len(asked_at) < 40, "the past is read as well"


def test_a_feed_that_begins_now_reads_no_history():
    found = turned(FEEDS["positions"], page([], "c1"), Turn(NOW, since=NOW))

    assert not found.more
    assert asked(FEEDS["positions"], Turn(NOW, found.bookmark)).path.endswith("/feed")


# streams


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_keeps_saying_what_it_was_begun_with(name):
    feed, since = FEEDS[name], NOW - 3 * HOUR
    first = asked(feed, Turn(NOW, since=since))
    found = feed.unpack(first, page([], "c1", more=True), Turn(NOW, since=since))
    after = asked(feed, Turn(NOW + HOUR, found.bookmark))
    quiet = feed.unpack(after, page([], ""), Turn(NOW + HOUR, found.bookmark))

    assert found.more
    assert not quiet.more
    assert first.params["startTime"] == "2026-05-13T03:00:00.000Z"
    assert "endTime" not in first.params
    assert after.params == {**first.params, "after": "c1"}
    assert asked(feed, Turn(NOW + DAY, quiet.bookmark)).params == after.params


@pytest.mark.parametrize("bookmark", ["", "x", "[]", '["yesterday",""]', "5", "null"])
@pytest.mark.parametrize("name", [*STREAMS, *STATS, *WINDOWS])
def test_a_bookmark_that_cannot_be_read_is_none(name, bookmark):
    turn = Turn(NOW, bookmark, since=NOW - HOUR)
    fresh = Turn(NOW, since=NOW - HOUR)

    assert asked(FEEDS[name], turn) == asked(FEEDS[name], fresh)


# windows


@pytest.mark.parametrize("name", WINDOWS)
def test_a_windowed_feed_looks_behind_and_leaves_no_gap(name):
    feed = FEEDS[name]
    ask = asked(feed, Turn(NOW, since=NOW - HOUR))
    found = feed.unpack(ask, page(), Turn(NOW, since=NOW - HOUR))
    later = NOW + timedelta(minutes=7)
    turn = Turn(later, found.bookmark, lookback=feed.lookback)
    again = asked(feed, turn)

    assert not found.more
    assert ask.params["endTime"] == "2026-05-13T06:00:00.000Z"
    assert moment(again.params["startTime"]) == NOW - feed.lookback
    assert moment(again.params["endTime"]) == later


@pytest.mark.parametrize("name", [*STATS, *STREAMS, *WINDOWS])
def test_any_past_is_asked_in_windows_that_meet(name):
    past = FEEDS[name].past
    assert past is not None
    since = datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    until = datetime(2026, 4, 4, 7, 1, tzinfo=UTC)
    bookmark, more, spans = None, True, []
    while more:
        turn = Turn(NOW, bookmark, since, until)
        ask = past.ask(turn)
        assert ask is not None
        spans.append((moment(ask.params["startTime"]), moment(ask.params["endTime"])))
        found = past.unpack(ask, page([], "h", more="after" not in ask.params), turn)
        bookmark, more = found.bookmark, found.more

    assert since - MILLISECOND < spans[0][0] <= since
    assert until <= spans[-1][1] < until + MILLISECOND
    for one, two in zip(spans[1::2], spans[2::2], strict=False):
        assert one[1] == two[0]
    assert spans[::2] == spans[1::2]
    assert all(one < two <= one + 31 * DAY for one, two in spans)
    assert past.ask(Turn(NOW, bookmark, since, until)) is None


def moment(text: Any) -> datetime:
    return datetime.fromisoformat(text)


# what is no page


NO_PAGES = [
    b"", b"<html>502 Bad Gateway</html>", b"null", b"[]", b"{}", b"7", b'"x"', b"\xff\xfe",
    sample("error_401"), sample("error_429"), page([], "c")[:-9], sample("vehicles_p1")[:700],
    b'{"data": []}', b'{"data": null, "pagination": {"hasNextPage": false}}',
    b'{"pagination": {"endCursor": "", "hasNextPage": false}}',
    b'{"data": {}, "pagination": {"endCursor": "", "hasNextPage": false}}',
    b'{"data": [], "pagination": {}}', b'{"data": [], "pagination": null}',
    b'{"data": [], "pagination": {"endCursor": "x"}}',
    b'{"data": [], "pagination": {"endCursor": "", "hasNextPage": "maybe"}}',
    b'{"data": [], "pagination": {"endCursor": 5, "hasNextPage": false}}',
    b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("body", NO_PAGES, ids=range(len(NO_PAGES)))
def test_what_is_no_page_is_an_error_and_never_an_empty_one(name, body):
    with pytest.raises(PayloadError):
        turned(FEEDS[name], body)


@pytest.mark.parametrize("name", [*LISTINGS, *WINDOWS])
@pytest.mark.parametrize("cursor", ["", None, "c1"])
def test_a_walk_that_is_promised_more_and_not_told_where_is_an_error(name, cursor):
    feed = FEEDS[name]
    turn = Turn(NOW, since=NOW - HOUR)
    found = feed.unpack(asked(feed, turn), page([], "c1", more=True), turn)

    with pytest.raises(PayloadError, match="not where"):
        turned(feed, page([], cursor, more=True), Turn(NOW, found.bookmark))


def test_a_page_that_says_what_is_wrong_is_quoted():
    with pytest.raises(PayloadError, match="Exceeded rate limit"):
        turned(FEEDS["vehicles"], sample("error_429"))


# what the vendor says no with


def judged(status: int, body: bytes, **params: str) -> None:
    assert PROVIDER.judge is not None
    PROVIDER.judge(Ask("/fleet/vehicles", params=params), Answer(status, {}, body))


@pytest.mark.parametrize("status", [400, 410])
def test_a_cursor_that_is_not_taken_is_an_expired_one(status):
    with pytest.raises(ExpiredError):
        judged(status, sample("error_400"), after="old")
    with pytest.raises(ExpiredError):
        judged(status, b"<html>", after="old")


@pytest.mark.parametrize("status", [404, 422])
def test_so_is_one_that_samsara_knows_no_more_but_not_where_a_gateway_says_it(status):
    with pytest.raises(ExpiredError, match="no such cursor"):
        judged(status, b'{"message":"no such cursor"}', after="old")
    judged(status, b"<html>", after="old")


def test_a_conflict_is_asked_again_as_samsaras_own_client_does():
    with pytest.raises(TransientError):
        judged(409, b"")


def test_a_cursor_of_a_window_that_is_not_taken_says_where_the_window_begins():
    span = {"startTime": "2026-11-20T06:00:00.000Z", "endTime": "2026-11-21T06:00:00Z"}
    with pytest.raises(ExpiredError) as window:
        judged(400, sample("error_400"), after="old", **span)
    with pytest.raises(ExpiredError) as stream:
        judged(400, sample("error_400"), after="old", startTime=span["startTime"])

    assert window.value.since == datetime(2026, 11, 20, 6, tzinfo=UTC)
    assert stream.value.since is None


def test_a_400_without_a_cursor_says_what_samsara_says():
    with pytest.raises(HeldError, match="bogusType"):
        judged(400, sample("error_400"), types="bogusType")


def test_a_token_that_lacks_a_scope_holds_that_call_and_a_wrong_one_is_left_to_the_engine():
    lacking = (
        b'{"message": "Token is missing the scope Read Drivers", "requestId": "1"}'
    )

    with pytest.raises(HeldError, match="Read Drivers") as held:
        judged(401, lacking)
    assert held.value.status == 403
    judged(401, sample("error_401"))


@pytest.mark.parametrize("status", [200, 401, 403, 408, 429, 500, 502, 503])
def test_every_other_status_is_judged_by_the_engine(status):
    judged(status, b"rpc error: code = Unavailable", after="c")


def test_what_samsara_says_is_kept_short_and_on_one_line():
    long = json.dumps({"message": "a\nb\x1b[31m" + "x" * 9999}).encode()

    with pytest.raises(HeldError) as held:
        judged(400, long)
    assert len(str(held.value)) < 300
    assert str(held.value).isprintable()


# the account, its limits, its webhooks


def test_whose_token_it_is_is_asked_at_me():
    probe = PROVIDER.whoami
    assert probe is not None

    assert probe.ask == Ask("/me")
    assert probe.read(b'{"data":{"id":"4100237","name":" Delta Basin "}}') == [
        "4100237",
        "Delta Basin",
    ]
    assert probe.read(b'{"data":{"id":4100237}}') == ["4100237"]
    for body in (b"{}", b"<html>", b'{"data":null}', sample("error_401")):
        with pytest.raises(PayloadError):
            probe.read(body)


def test_every_call_counts_against_its_own_limit():
    tiers = PROVIDER.limits.tiers
    for feed in FEEDS.values():
        tier = asked(feed, Turn(NOW)).tier
        assert tier in {"", *tiers}
        if feed.past is not None:
            past = feed.past.ask(Turn(NOW, since=NOW - HOUR, until=NOW))
            assert past is not None
            assert past.tier == tier

    assert PROVIDER.limits.per_second == 150
    assert {name: tiers[name] for name in CURSORS} == CURSORS
    assert max(tiers.values()) == 25


def test_webhooks_are_listed_made_changed_and_removed():
    hooks = PROVIDER.hooks
    assert hooks is not None
    listing = hooks.listing(Turn(NOW))
    assert listing is not None
    (found,), after = hooks.read(listing, sample("hooks_list"), Turn(NOW))
    add = hooks.add("https://fleet.example.com/webhooks/north", "fleetd", "")
    made = hooks.made(sample("hooks_create"))
    assert hooks.change is not None
    change = hooks.change("152/0", "https://b.example.com", "fleetd", "")
    remove = hooks.remove("152/0")

    assert hooks.chooses_secret
    assert after is None
    assert (found.id, found.url, found.name) == (
        "1520947713004682",
        "https://edge.example.com/hooks/samsara",
        "fleetd edge",
    )
    assert "GeofenceEntry" in found.actions
    assert (add.method, add.path, add.tier) == ("POST", "/webhooks", "writes")
    assert add.json["url"] == "https://fleet.example.com/webhooks/north"
    assert "EngineFaultOn" not in add.json["eventTypes"]
    assert made.secret == "ZmxlZXRkLWZpeHR1cmUtc2Ftc2FyYS1zZWNyZXQtMDE="
    assert (change.method, change.path) == ("PATCH", "/webhooks/152%2F0")
    assert change.json == {"name": "fleetd", "url": "https://b.example.com"}
    assert (remove.method, remove.path) == ("DELETE", "/webhooks/152%2F0")


def test_a_list_of_webhooks_has_pages_and_a_broken_one_is_an_error():
    hooks = PROVIDER.hooks
    assert hooks is not None
    turn = Turn(NOW, "c1")
    ask = hooks.listing(turn)
    assert ask is not None

    assert ask.params["after"] == "c1"
    assert hooks.read(ask, page([], "c2", more=True), turn) == ([], "c2")
    for body in (b"<html>", b"{}", page([{"url": "x"}]), page([], "c1", more=True)):
        with pytest.raises(PayloadError):
            hooks.read(ask, body, turn)
    for body in (b"<html>", b"{}", b'{"id":"1","url":"https://x"}'):
        with pytest.raises(PayloadError):
            hooks.made(body)


def test_incidents_are_polled_once_it_is_said_of_which_alerts():
    more = configured(Settings(alert_configurations=(*ALERTS, "b")))
    feed = more.feeds[-1]

    assert "incidents" not in {one.name for one in PROVIDER.feeds}
    assert feed.name == "incidents"
    assert asked(feed, Turn(NOW)).params["configurationIds"] == f"{ALERTS[0]},b"
    for wrong in ("", " ", "a,b"):
        with pytest.raises(ConfigError, match="alert_configurations"):
            configured(Settings(alert_configurations=(wrong,)))


def test_every_kind_that_is_pushed_is_said():
    webhook = PROVIDER.webhook
    assert webhook is not None
    goldens = [
        json.loads(path.read_bytes())["events"]
        for path in HERE.glob("webhook_*.events.json")
    ]
    pushed = {event["kind"] for events in goldens for event in events}

    assert pushed <= set(webhook.kinds)


@pytest.mark.parametrize("name", ["name", "Name"])
def test_a_page_that_would_grow_many_times_when_it_is_cut_is_no_page(name):
    long = {"id": "1", name: "x" * (1 << 20), "gps": [{}] * 300}
    end = {"endCursor": "", "hasNextPage": False}
    body = json.dumps({"data": [long], "pagination": end}).encode()

    with pytest.raises(PayloadError, match="many times as long"):
        turned(FEEDS["positions"], body, Turn(NOW))
