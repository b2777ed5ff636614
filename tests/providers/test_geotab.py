"""Geotab: what its feeds ask, what its pages mean, and what its errors come to."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.directory import Directory
from fleetd.errors import (
    ConfigError,
    ExpiredError,
    FleetdError,
    HeldError,
    PayloadError,
    TransientError,
)
from fleetd.event import Position, has_fix, merged, millis
from fleetd.providers import load
from fleetd.providers.contract import Answer, Ask, Feed, Grant, Turn
from fleetd.providers.geotab import Settings, configured
from fleetd.providers.geotab.feeds import CAUGHT_UP, ROWS
from fleetd.providers.geotab.people import reference, span
from fleetd.providers.windows import Window, written
from tests.test_every_provider import ANY, assert_short, changed, sound, told

HERE = Path(__file__).parent / "geotab"
SAMPLES = sorted(
    path for path in HERE.glob("*.json") if not path.name.endswith(".events.json")
)
NAMES = [path.stem for path in SAMPLES]
READABLE = [
    path for path in SAMPLES if path.stem not in {"positions_html", "positions_half"}
]
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
LIVE = Turn(NOW, "00000000000a41c7")
FIRST = Turn(NOW)
SOURCE = Settings(database="acme_haul", user="fleetd-service@acme.test")
GEOTAB = configured(SOURCE)
FEEDS = {feed.name: feed for feed in GEOTAB.feeds}
few = settings(max_examples=200, deadline=None)


def asked(feed: Feed, turn: Turn) -> Ask:
    ask = feed.ask(turn)
    assert ask is not None
    return ask


def params(ask: Ask | None) -> dict[str, Any]:
    assert ask is not None
    assert (ask.method, ask.path) == ("POST", "/apiv1")
    return dict(ask.json["params"])


def page(name: str, body: bytes, turn: Turn) -> Any:
    feed = FEEDS[name]
    return feed.unpack(asked(feed, turn), body, turn)


def turn_of(name: str) -> Turn:
    return FIRST if FEEDS[name].listing else LIVE


def meaning(name: str, body: bytes) -> dict[str, Any]:
    try:
        found = page(name, body, turn_of(name))
    except PayloadError as bad:
        return {"unreadable": str(bad)}
    records = []
    for record in found.records:
        try:
            events = list(GEOTAB.normalize[record.feed](record.body))
            records.append([told(one) for one in events])
        except PayloadError as bad:
            records.append(f"dead: {bad}")
    where = {"bookmark": found.bookmark, "more": found.more, "complete": found.complete}
    return where | {"records": records}


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


# what is asked


def test_a_new_feed_begins_at_a_date_and_goes_on_at_the_version_alone():
    feed = FEEDS["positions"]

    first = params(feed.ask(FIRST))
    since = params(feed.ask(Turn(NOW, None, datetime(2026, 11, 1, tzinfo=UTC))))
    later = params(feed.ask(LIVE))

    assert first == {
        "typeName": "LogRecord",
        "resultsLimit": 5000,
        "search": {"fromDate": "2026-11-20T14:55:00.000Z"},
    }
    assert since["search"] == {"fromDate": "2026-11-01T00:00:00.000Z"}
    assert later["fromVersion"] == "00000000000a41c7"
    assert "search" not in later


def test_a_feed_that_is_to_read_everything_begins_no_earlier_than_2010():
    dawn = datetime.min.replace(tzinfo=UTC)

    asks = params(FEEDS["trips"].ask(Turn(NOW, None, dawn)))

    assert asks["search"] == {"fromDate": "2010-01-01T00:00:00.000Z"}


def test_the_state_of_devices_is_asked_for_without_a_search():
    assert "search" not in params(FEEDS["status"].ask(FIRST))


@pytest.mark.parametrize("name", FEEDS)
def test_each_type_counts_against_a_limit_of_its_own(name):
    feed = FEEDS[name]
    past = feed.past.ask(window()) if feed.past else None

    tiers = [one.tier for one in (feed.ask(FIRST), feed.ask(LIVE), past) if one]
    assert all(GEOTAB.limits.tiers[tier] <= 2000 / 60 for tier in tiers)
    if not feed.listing:
        assert GEOTAB.limits.tiers[tiers[0]] == 1.0


def test_logins_are_ten_a_minute():
    assert GEOTAB.limits.tiers["Authenticate"] == pytest.approx(10 / 60)


def rows(count: int, version: str = "0f", at: datetime = NOW) -> bytes:
    data = [
        {"id": f"b{n:05}", "device": {"id": "b2A"}, "latitude": 1, "longitude": 2,
         "dateTime": (at + timedelta(seconds=n)).isoformat()}
        for n in range(count)
    ]  # fmt: skip
    return json.dumps({"result": {"data": data, "toVersion": version}}).encode()


@pytest.mark.parametrize(
    ("count", "more"), [(0, False), (999, False), (1000, True), (5000, True)]
)
def test_a_page_with_many_rows_is_followed_at_once_whatever_the_server_clamps(
    count, more
):
    found = page("positions", rows(count), LIVE)

    assert len(found.records) == count
    assert found.more is more
    assert CAUGHT_UP == 1000


def test_a_server_that_stays_at_its_version_is_not_asked_round_in_a_circle():
    assert not page("positions", rows(2000, version=LIVE.bookmark), LIVE).more


# listings


def listed(ids: list[str]) -> bytes:
    return json.dumps({"result": [{"id": one} for one in ids]}).encode()


def walked(
    fleet: list[str], cap: int = 5000, *, seeks: bool = True
) -> tuple[list[str], bool, int]:
    """The ids of a listing at a server that ends any answer at its cap without a word."""
    feed, found, bookmark, calls = FEEDS["vehicles"], [], None, 0
    while True:
        turn = Turn(NOW, bookmark)
        ask = asked(feed, turn)
        calls += 1
        sort = params(ask).get("sort")
        after = sort["offset"] if sort and seeks else None
        there = [one for one in sorted(fleet) if after is None or one > after]
        answer = feed.unpack(ask, listed(there[:cap]), turn)
        found += [json.loads(one.body)["id"] for one in answer.records]
        bookmark = answer.bookmark
        if not answer.more:
            return found, answer.complete, calls


@pytest.mark.parametrize("size", [0, 1, 4999])
def test_a_listing_shorter_than_the_cap_is_whole_in_one_answer(size):
    fleet = [f"b{n:05}" for n in range(size)]

    assert walked(fleet) == (fleet, True, 1)


@pytest.mark.parametrize("size", [5000, 5001, 10_000, 12_345])
def test_a_listing_that_fills_an_answer_is_walked_to_its_empty_end(size):
    fleet = [f"b{n:05}" for n in range(size)]
    found, complete, _calls = walked(fleet)

    assert found == fleet
    assert complete


def test_a_server_that_cannot_go_on_never_makes_a_listing_complete():
    with pytest.raises(PayloadError, match="does not go on"):
        walked([f"b{n:05}" for n in range(6000)], seeks=False)


def test_a_listing_is_never_narrowed_so_that_all_groups_are_known():
    assert "search" not in params(FEEDS["vehicles"].ask(Turn(NOW, tags=("bF7C0D",))))


# the past


def window(days: float = 1, bookmark: str | None = None, part: str = "b2A") -> Turn:
    until = NOW - timedelta(days=3)
    return Turn(NOW, bookmark, until - timedelta(days=days), until, part=part)


def backfilled(
    name: str, fleet: list[datetime], turn: Turn, interpolated: str = "no"
) -> tuple[list[str], int]:
    """What a window's past gives at a server that makes points up at both its edges."""
    past = FEEDS[name].past
    assert past is not None
    found, calls = [], 0
    while True:
        ask = past.ask(turn)
        if ask is None:
            return found, calls
        search = params(ask)["search"]
        since, until = (
            datetime.fromisoformat(search[one]) for one in ("fromDate", "toDate")
        )
        there = [
            {
                "id": f"b{millis(at)}",
                "device": {"id": "b2A"},
                "dateTime": at.isoformat(),
                "latitude": 1,
                "longitude": 1,
            }
            for at in fleet
            if since <= at <= until
        ]
        for edge in (since, until) if interpolated != "no" else ():
            made = {
                "id": f"x{millis(edge)}",
                "device": {"id": "b2A"},
                "dateTime": edge.isoformat(),
            }
            there.append(made | ({"id": None} if interpolated == "unnamed" else {}))
        body = json.dumps({"result": there[:ROWS]}).encode()
        got = past.unpack(ask, body, turn)
        found += [json.loads(one.body)["id"] for one in got.records]
        calls += 1
        turn = msgspec.structs.replace(turn, bookmark=got.bookmark)
        if not got.more:
            return found, calls


@pytest.mark.parametrize("interpolated", ["no", "named", "unnamed"])
def test_a_window_of_the_past_is_read_whole_and_what_the_server_makes_up_is_not(
    interpolated,
):
    turn = window(3)
    assert turn.since is not None
    fixes = [turn.since + timedelta(seconds=7 * n) for n in range(3 * 86400 // 7 + 1)]

    found, calls = backfilled("positions", fixes, turn, interpolated)

    assert sorted(found) == sorted({f"b{millis(at)}" for at in fixes})
    assert len(found) == len(set(found))
    assert calls < 25


@few
@given(
    st.lists(st.integers(0, 86_399_999), max_size=60, unique=True),
    st.sampled_from(["no", "named", "unnamed"]),
)
def test_any_fixes_of_a_day_come_once_and_none_is_left_out(offsets, interpolated):
    turn = window(1)
    assert turn.since is not None
    fixes = [turn.since + timedelta(milliseconds=one) for one in offsets]

    found, _ = backfilled("positions", fixes, turn, interpolated)

    assert sorted(found) == sorted(f"b{millis(at)}" for at in fixes)


def test_a_point_at_the_end_of_a_window_belongs_to_the_next_one():
    turn = window(1)
    assert turn.since is not None
    assert turn.until is not None

    assert backfilled("positions", [turn.since, turn.until], turn) == (
        [f"b{millis(turn.since)}"],
        1,
    )


def test_a_burst_that_no_window_can_part_is_an_error_and_no_gap():
    turn = window(1)
    assert turn.since is not None
    at = turn.since + timedelta(hours=3)
    fixes = [at + timedelta(microseconds=n) for n in range(6000)]

    with pytest.raises(PayloadError, match="5000 rows or more"):
        backfilled("positions", fixes, turn)


def test_rows_that_cannot_be_read_are_left_to_be_set_aside():
    past, turn = FEEDS["positions"].past, window(1)
    assert past is not None
    bad = [
        {"id": "b1", "dateTime": "noon"},
        {"id": 7, "dateTime": None},
        "b3",
        [],
        None,
    ]
    body = json.dumps({"result": bad}).encode()

    found = past.unpack(past.ask(turn), body, turn)

    assert len(found.records) == len(bad)


def test_the_past_of_a_vehicle_is_asked_for_a_little_beyond_its_edges():
    past = FEEDS["positions"].past
    assert past is not None

    assert past.parts
    assert params(past.ask(window(1)))["search"] == {
        "deviceSearch": {"id": "b2A"},
        "fromDate": "2026-11-16T14:59:59.000Z",
        "toDate": "2026-11-17T15:00:01.000Z",
    }


def test_the_past_of_a_fleet_is_asked_for_as_it_is():
    past = FEEDS["safety"].past
    assert past is not None

    assert not past.parts
    assert params(past.ask(window(1, part="")))["search"] == {
        "fromDate": "2026-11-16T15:00:00.000Z",
        "toDate": "2026-11-17T15:00:00.000Z",
    }


def test_a_restart_in_the_middle_of_the_past_goes_on_with_the_very_next_window():
    past, turn = FEEDS["positions"].past, window(2)
    assert past is not None
    assert turn.since is not None
    half = turn.since + timedelta(days=1)
    stands = msgspec.structs.replace(turn, bookmark=written(Window(turn.since, half)))

    assert params(past.ask(stands))["search"]["fromDate"] == "2026-11-16T14:59:59.000Z"


# errors


def error(
    kind: str, text: str = "", *, old: bool = False, status: int = 200, **headers: str
) -> Answer:
    told: dict[str, Any] = {"message": text, "code": -32000}
    told |= (
        {"errors": [{"name": kind, "message": text}]}
        if old
        else {"data": {"type": kind}}
    )
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": told}).encode()
    return Answer(
        status, {key.replace("_", "-"): one for key, one in headers.items()}, body
    )


def verdict(answer: Answer, turn: Turn = LIVE) -> FleetdError | None:
    assert GEOTAB.judge is not None
    try:
        GEOTAB.judge(asked(FEEDS["positions"], turn), answer)
    except FleetdError as found:
        return found
    return None


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    ("kind", "text", "means"),
    [
        ("InvalidUserException", "Incorrect login credentials", HeldError),
        ("DbUnavailableException", "UnknownDatabase acme", HeldError),
        ("DbUnavailableException", "Unknown Database", HeldError),
        ("DbUnavailableException", "Initializing", TransientError),
        ("DbUnavailableException", "", TransientError),
        ("OverLimitException", "API calls quota exceeded. Maximum admitted 60 per 1m.", TransientError),
        ("OverLimitException", "Results limit (60000) exceeds the maximum", HeldError),
        ("ServiceUnavailableException", "", TransientError),
        ("ArgumentException", "search is wrong", PayloadError),
        ("MissingMethodException", "", PayloadError),
        ("JsonSerializerException", "", PayloadError),
        ("GenericException", "An undefined exception has occurred", TransientError),
        ("SecurityException", "no access to LogRecord", HeldError),
        ("", "", TransientError),
    ],
)  # fmt: skip
def test_each_error_comes_to_what_is_to_be_done(kind, text, means, old, status):
    assert type(verdict(error(kind, text, old=old, status=status))) is means


def test_an_answer_without_an_error_is_left_to_its_status():
    assert verdict(Answer(200, {}, (HERE / "positions.json").read_bytes())) is None
    assert verdict(Answer(429, {"retry-after": "3"}, b"")) is None
    assert verdict(Answer(502, {}, b"<html>an error</html>")) is None
    assert verdict(Answer(200, {}, b'{"result":{},"error":null}')) is None


def test_a_record_that_speaks_of_an_error_is_none():
    body = b'{"result":{"data":[{"id":"b1","error":"no fix"}],"toVersion":"1"}}'

    assert verdict(Answer(200, {}, body)) is None
    assert page("positions", body, LIVE).records


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"retry_after": "56"}, 56),
        ({"retry_after": "0.25"}, 0.25),
        ({"retry_after": "99999999"}, 3600),
        ({"retry_after": "Fri, 20 Nov 2026 15:00:30 GMT", "date": "Fri, 20 Nov 2026 15:00:00 GMT"}, 30),
        ({"x_rate_limit_reset": "2026-11-20T15:00:41Z", "date": "Fri, 20 Nov 2026 15:00:00 GMT"}, 41),
        ({"x_rate_limit_reset": "2026-11-20T14:00:00Z", "date": "Fri, 20 Nov 2026 15:00:00 GMT"}, 1),
        ({"x_rate_limit_reset": "2099-11-20T14:00:00Z", "date": "Fri, 20 Nov 2026 15:00:00 GMT"}, 60),
        ({"x_rate_limit_reset": "2026-11-20T15:00:41Z"}, 60),
        ({"retry_after": "soon"}, 60),
        ({}, 60),
    ],
)  # fmt: skip
def test_too_many_calls_pause_for_as_long_as_asked(headers, after):
    found = verdict(error("OverLimitException", "API calls quota exceeded.", **headers))

    assert isinstance(found, TransientError)
    assert found.after == after
    assert found.status == 429
    assert not found.counts


def test_a_version_that_is_no_longer_known_begins_anew():
    gone = error("ArgumentException", "The fromVersion is not valid")

    assert isinstance(verdict(gone), ExpiredError)
    assert isinstance(verdict(gone, FIRST), PayloadError)


def test_an_error_is_never_read_as_an_empty_list():
    for name in FEEDS:
        for body in (
            error("OverLimitException").body, error("X", old=True).body, b'{"error":null}',
            b"{}", b"[]", b"null", b"", b'{"result":[]' , b'{"result":{}}', b'{"result":null}',
            b'{"result":{"data":[]}}', b'{"result":{"toVersion":"1"}}', b'{"result":{"data":{},"toVersion":"1"}}',
            b'{"result":{"data":[],"toVersion":""}}', b'{"result":{"data":[],"toVersion":null}}', b"<html></html>",
        ):  # fmt: skip
            with pytest.raises(PayloadError):
                page(name, body, turn_of(name))


# the session


def login(body: Any, status: int = 200) -> Grant:
    assert GEOTAB.session is not None
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GEOTAB.session.read(Answer(status, {}, raw), NOW)


def granted(path: str | None) -> dict[str, Any]:
    whose = {
        "database": "acme_haul",
        "sessionId": "kM3q",
        "userName": "fleetd-service@acme.test",
    }
    return {"result": {"credentials": whose, "path": path}, "jsonrpc": "2.0", "id": 1}


def test_a_login_names_the_database_the_user_and_the_password():
    assert GEOTAB.session is not None

    ask = GEOTAB.session.login("s3cret", NOW)

    assert ask.json["method"] == "Authenticate"
    assert params(ask) == {
        "database": "acme_haul",
        "userName": "fleetd-service@acme.test",
        "password": "s3cret",
    }
    assert ask.host == ""
    assert ask.tier == "Authenticate"


@pytest.mark.parametrize(
    ("path", "host"),
    [("ThisServer", ""), ("thisserver", ""), ("", ""), (None, ""), ("my217.geotab.com", "my217.geotab.com"), ("127.0.0.1:9101", "127.0.0.1:9101")],
)  # fmt: skip
def test_a_login_says_which_server_to_go_on_with(path, host):
    assert login(granted(path)) == Grant("kM3q", host)


@pytest.mark.parametrize(
    "path",
    ["evil.test/x", "a b", "user@evil.test", "https://evil.test", "a\r\nb", "-x", ".."],
)
def test_a_server_that_is_no_host_is_not_gone_to(path):
    with pytest.raises(TransientError):
        login(granted(path))


def test_within_a_session_each_call_carries_it_to_its_server():
    assert GEOTAB.session is not None
    ask = asked(FEEDS["positions"], LIVE)

    put = GEOTAB.session.put(ask, Grant("kM3q", "my217.geotab.com"))

    assert put.host == "my217.geotab.com"
    assert params(put)["credentials"] == {
        "database": "acme_haul",
        "userName": "fleetd-service@acme.test",
        "sessionId": "kM3q",
    }
    assert "password" not in json.dumps(put.json)
    assert "credentials" not in params(ask)


@pytest.mark.parametrize("old", [False, True])
def test_refused_credentials_are_held_and_say_whose(old):
    with pytest.raises(HeldError, match="acme_haul"):
        login(
            error("InvalidUserException", "Incorrect login credentials", old=old).body
        )
    with pytest.raises(HeldError, match="no such database"):
        login(error("DbUnavailableException", "UnknownDatabase", old=old).body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (error("OverLimitException", "API calls quota exceeded. Maximum admitted 10 per 1m.").body, 200),
        (error("DbUnavailableException", "Initializing").body, 200),
        (b"<html>", 200), (b"", 503), ({}, 200), ({"result": {}}, 200), ({"result": None}, 200),
        ({"result": {"credentials": {"sessionId": " "}, "path": "ThisServer"}}, 200),
    ],
)  # fmt: skip
def test_a_login_that_says_nothing_of_the_credentials_is_tried_again(body, status):
    with pytest.raises(TransientError):
        login(body, status)


@pytest.mark.parametrize("old", [False, True])
def test_a_session_is_over_where_the_user_or_the_database_is_not_known_there(old):
    assert GEOTAB.session is not None
    ended = GEOTAB.session.ended

    assert ended(error("InvalidUserException", "Incorrect login credentials", old=old))
    assert ended(error("DbUnavailableException", "UnknownDatabase", old=old))
    assert not ended(error("DbUnavailableException", "Initializing", old=old))
    assert not ended(error("OverLimitException", "", old=old))
    assert not ended(Answer(200, {}, (HERE / "positions.json").read_bytes()))
    assert not ended(Answer(502, {}, b"<html>error</html>"))


def test_who_one_is_is_the_database_that_let_us_in():
    assert GEOTAB.whoami is not None

    assert GEOTAB.whoami.read(b'{"result":600}') == (
        "acme_haul",
        "fleetd-service@acme.test",
    )
    for bad in (b"<html>", b'{"result":null}', error("InvalidUserException").body):
        with pytest.raises(PayloadError):
            GEOTAB.whoami.read(bad)


@pytest.mark.parametrize("key", ["database", "user"])
def test_an_empty_database_or_user_is_refused_by_name(key):
    with pytest.raises(ConfigError, match=key):
        configured(msgspec.structs.replace(SOURCE, **{key: "  "}))


def test_names_of_rules_are_the_operators_own():
    provider = configured(
        msgspec.structs.replace(SOURCE, rules={"aV": "Hard braking, vans"})
    )
    body = b'{"id":"a1","rule":{"id":"aV"},"device":{"id":"b2A"},"activeFrom":"2026-11-20T13:41:00Z"}'

    (named,) = provider.normalize["safety"](body)
    (bare,) = GEOTAB.normalize["safety"](body)

    assert (named.type, named.text) == ("harsh_brake", "Hard braking, vans")
    assert (bare.type, bare.text) == ("rule", "aV")


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


@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_a_sample_with_anything_changed_is_read_or_set_aside(data):
    path = data.draw(st.sampled_from(READABLE))
    body = json.loads(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        body = changed(body, data)
    name = path.stem.partition("_")[0]

    swallow(name, json.dumps(body).encode(), turn_of(name))


@few
@given(value=ANY, status=st.sampled_from([200, 400, 401, 429, 500]))
def test_any_error_comes_to_one_of_our_verdicts(value, status):
    body = json.dumps({"error": value}).encode()

    verdict(Answer(status, {"retry-after": "x"}, body))
    assert GEOTAB.session is not None
    GEOTAB.session.ended(Answer(status, {}, body))
    with pytest.raises((HeldError, TransientError, PayloadError)):
        login(body, status)


@pytest.mark.parametrize("depth", [30, 60, 2_000, 100_000])
@pytest.mark.parametrize("name", FEEDS)
def test_however_deep_a_record_nests_it_is_read_or_a_payload_error(name, depth):
    deep = b'{"id":"b1","device":{"id":"b2"},"x":' + b"[" * depth + b"]" * depth + b"}"
    listing = bool(FEEDS[name].listing)
    body = (
        b'{"result":[%b]}' if listing else b'{"result":{"data":[%b],"toVersion":"1"}}'
    )

    swallow(name, body % deep, turn_of(name))
