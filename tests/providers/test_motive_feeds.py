"""Motive's lists: what each sample means, how they are walked, and what is no page."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import AbsentError, HeldError, PayloadError
from fleetd.event import NOBODY, Position, Record, stamp
from fleetd.masking import mask_fields
from fleetd.providers.contract import Answer, Ask, Page, Turn
from fleetd.providers.motive import PROVIDER
from fleetd.providers.motive.feeds import day
from fleetd.providers.motive.paging import Walk, token_of, walk_of
from fleetd.providers.windows import Window, written
from tests.test_every_provider import assert_short, changed, sound
from tests.tries import tries

HERE = Path(__file__).parent / "motive"
NOW = datetime(2026, 5, 12, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
SAMPLES = sorted(
    path
    for path in HERE.glob("*.json")
    if not path.name.endswith(".events.json") and path.stem.partition("_")[0] in FEEDS
)
WHOLE = {"vehicles", "drivers", "places", "locations", "faults"}
few = settings(max_examples=tries(150), deadline=None)


def turn_of(feed: str, page: int = 1, **more: Any) -> Turn:
    """A turn in which the answer is the page of that number."""
    token = token_of(Walk(page))
    bookmark = None
    if feed in WHOLE:
        bookmark = token
    elif feed != "positions":
        bookmark = written(Window(NOW - DAY, NOW, token, last=True))
    said = {"bookmark": bookmark, "since": NOW - DAY, "part": "2060101"}
    return Turn(NOW, **(said | more))


def take(feed: str, body: bytes, turn: Turn | None = None) -> Page:
    turn = turn or turn_of(feed)
    ask = FEEDS[feed].ask(turn)
    assert ask is not None
    return FEEDS[feed].unpack(ask, body, turn)


def told(record: Record) -> list[Any]:
    """What a record becomes, or why it does not."""
    try:
        events = list(PROVIDER.normalize[record.feed](record.body))
    except PayloadError as bad:
        return [{"feed": record.feed, "dead": str(bad)}]
    return [{"feed": record.feed} | plain(one) for one in events] or [
        {"feed": record.feed, "empty": True}
    ]


def plain(event: Any) -> dict[str, Any]:
    fields = {"kind": event.kind} | msgspec.structs.asdict(event)
    kept = {key: one for key, one in fields.items() if one not in (None, (), {})}
    return {
        key: stamp(one) if isinstance(one, datetime) else one
        for key, one in kept.items()
    }


def meaning(sample: Path, body: bytes) -> dict[str, Any]:
    feed = sample.stem.partition("_")[0]
    number = int((re.search(r"_p(\d)", sample.stem) or "01")[1])
    page = take(feed, body, turn_of(feed, number))
    events = [one for record in page.records for one in told(record)]
    found = {"more": page.more, "complete": page.complete, "events": events}
    return json.loads(json.dumps(found))


@pytest.mark.parametrize("sample", SAMPLES, ids=[path.stem for path in SAMPLES])
def test_a_sample_means_what_its_golden_file_says(sample):
    golden = sample.with_suffix(".events.json")
    found = meaning(sample, sample.read_bytes())
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")

    assert found == json.loads(golden.read_text())


@pytest.mark.parametrize("sample", SAMPLES, ids=[path.stem for path in SAMPLES])
def test_a_sample_means_the_same_compact_and_in_any_order_of_keys(sample):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(one) for one in value] if isinstance(value, list) else value

    body = json.loads(sample.read_bytes())
    compact = json.dumps(turned(body), separators=(",", ":")).encode()

    assert meaning(sample, compact) == meaning(sample, sample.read_bytes())


def test_every_feed_has_samples_and_every_golden_its_sample():
    named = {path.stem.partition("_")[0] for path in SAMPLES}
    goldens = {path.name for path in HERE.glob("*.events.json")}
    samples = {path.stem + ".events.json" for path in SAMPLES}

    assert named == set(FEEDS)
    assert {one for one in goldens if not one.startswith("webhook_")} == samples


def items(feed: str, *ids: object, **more: Any) -> dict[str, Any]:
    plural, singular = {
        "vehicles": ("vehicles", "vehicle"),
        "drivers": ("users", "user"),
        "trips": ("driving_periods", "driving_period"),
    }[feed]
    began = {"start_time": "2026-05-12T10:00:00Z", "number": "x"}
    listed = [{singular: {"id": one} | began} for one in ids]
    said = {"per_page": 2, "page_no": 1, "total": len(ids)} | more
    return {plural: listed, "pagination": said}


def walked(feed: str, pages: list[dict[str, Any]], turn: Turn) -> list[Page]:
    """The pages of a walk, each asked for where the one before left off."""
    found = []
    for page in pages:
        ask = FEEDS[feed].ask(turn)
        assert ask is not None
        assert ask.params["page_no"] == str(page["pagination"]["page_no"])
        found.append(FEEDS[feed].unpack(ask, json.dumps(page).encode(), turn))
        turn = msgspec.structs.replace(turn, bookmark=found[-1].bookmark)
    return found


def test_a_listing_is_complete_when_its_distinct_ids_are_as_many_as_it_says():
    pages = [
        items("vehicles", 1, 2, total=5),
        items("vehicles", 3, 4, page_no=2, total=5),
        items("vehicles", 5, page_no=3, total=5),
    ]

    found = walked("vehicles", pages, Turn(NOW))

    assert [(page.more, page.complete) for page in found] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert found[-1].bookmark is None


def test_a_listing_that_shifted_between_pages_is_read_again_and_then_left_incomplete():
    shifted = [
        items("vehicles", 1, 2, total=4),
        items("vehicles", 2, 3, page_no=2, total=4),  # a new one pushed 2 over
    ]

    found = walked("vehicles", shifted * 3, Turn(NOW))

    assert [page.more for page in found] == [True, True, True, True, True, False]
    assert not any(page.complete for page in found)
    assert found[-1].bookmark is None


def test_a_listing_that_was_read_again_and_then_agreed_is_complete():
    pages = [
        items("vehicles", 1, 2, total=3),
        items("vehicles", 2, page_no=2, total=3),
        items("vehicles", 1, 2, total=3),
        items("vehicles", 3, page_no=2, total=3),
    ]

    found = walked("vehicles", pages, Turn(NOW))

    assert [page.complete for page in found] == [False, False, False, True]


@given(
    first=st.integers(0, 700),
    grown=st.lists(st.integers(0, 30), min_size=8, max_size=8),
)
@few
def test_a_list_that_only_grows_at_its_front_loses_nothing_that_was_there(first, grown):
    ids = [*range(first)]
    seen: set[int] = set()
    turn, steps = Turn(NOW), [*grown]
    for _ in range(200):
        at = (walk_of(turn.bookmark).page - 1) * 100
        some = [{"vehicle": {"id": one}} for one in ids[at : at + 100]]
        counts = {"per_page": 100, "page_no": at // 100 + 1, "total": len(ids)}
        body = json.dumps({"vehicles": some, "pagination": counts}).encode()
        page = FEEDS["vehicles"].unpack(Ask(""), body, turn)
        seen |= {json.loads(one.body)["id"] for one in page.records}
        if page.complete:
            assert seen == set(ids)
        if not page.more:
            break
        more = steps.pop() if steps else 0
        ids = [*range(len(ids), len(ids) + more), *ids]
        turn = Turn(NOW, page.bookmark)

    assert not page.more
    assert set(range(first)) <= seen
    assert page.complete or any(grown)


def test_a_listing_whose_total_changed_on_the_way_is_no_evidence():
    pages = [
        items("vehicles", 1, 2, total=5),  # 2 goes, 3 shifts to the first page: unseen
        items("vehicles", 4, 5, page_no=2, total=4),
    ]

    found = walked("vehicles", pages, Turn(NOW))

    assert not found[-1].complete


@pytest.mark.parametrize(
    "page",
    [
        items("vehicles", page_no=2, total=9),
        items("vehicles", 3, 4, page_no=1, total=9),
        items("vehicles", 3, 4, page_no=7, total=9),
    ],
)
def test_an_empty_or_another_page_than_was_asked_for_is_an_error_not_an_end(page):
    with pytest.raises(PayloadError):
        take("vehicles", json.dumps(page).encode(), turn_of("vehicles", 2))


def test_a_list_that_says_no_total_ends_with_a_short_page_and_proves_nothing():
    size = {"pagination": {"per_page": 100}}
    whole = {"vehicles": [{"vehicle": {"id": n}} for n in range(100)]} | size
    short = {"vehicles": [{"vehicle": {"id": 100}}]} | size

    first = take("vehicles", json.dumps(whole).encode())
    again = FEEDS["vehicles"].unpack(
        Ask(""), json.dumps(whole).encode(), Turn(NOW, first.bookmark)
    )
    last = FEEDS["vehicles"].unpack(
        Ask(""), json.dumps(short).encode(), Turn(NOW, first.bookmark)
    )

    assert (first.more, again.more, last.more) == (True, False, False)
    assert not any(page.complete for page in (first, again, last))


@pytest.mark.parametrize("said", [{"total": 60}, {}])
def test_a_far_side_that_gives_less_a_page_and_does_not_say_so_is_read_to_the_end(said):
    found, page, number = [], None, 0
    while page is None or page.more:
        some = range(60)[number * 25 : number * 25 + 25]
        body = {"vehicles": [{"vehicle": {"id": n}} for n in some], "pagination": said}
        turn = Turn(NOW, page.bookmark if page else None)
        page = take("vehicles", json.dumps(body).encode(), turn)
        found, number = [*found, *page.records], number + 1

    assert len({one.body for one in found}) == 60
    assert page.complete == bool(said)


def test_a_page_smaller_than_asked_for_goes_by_its_own_size():
    first = take("vehicles", json.dumps(items("vehicles", 1, 2, total=5)).encode())

    assert first.more
    assert walk_of(first.bookmark).page == 2


NO_PAGES = [
    b"<!DOCTYPE html><html>down</html>", b"", b"null", b"[]", b"{}", b'"x"', b"7",
    b'{"error_message":"Too many requests"}', b'{"success":false}', b'{"%s":null}',
    b'{"%s":{}}', b'{"%s":"none"}', b'{"%s":[{}', b"\xff\xfe", b'{"%s":[{"a":1}',
    b'{"pagination":{"total":0}}',
]  # fmt: skip
PLURALS = {
    "vehicles": "vehicles", "drivers": "users", "places": "geofences",
    "locations": "vehicles", "positions": "vehicle_locations",
    "trips": "driving_periods", "idling": "idle_events",
    "violations": "hos_violations", "duty": "logs", "faults": "fault_codes",
    "inspections": "inspection_reports", "safety": "driver_performance_events",
    "speeding": "speeding_events", "geofences": "geofence_events",
    "fuel": "fuel_purchases", "deliveries": "company_webhook_requests",
}  # fmt: skip


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("body", NO_PAGES)
def test_what_is_no_page_is_an_error_and_never_an_empty_list(feed, body):
    body = body.replace(b"%s", PLURALS[feed].encode())

    with pytest.raises(PayloadError) as bad:
        take(feed, body)

    assert len(str(bad.value)) < 200


def test_the_vendors_own_words_say_why_there_is_no_list():
    with pytest.raises(PayloadError, match="Too many requests"):
        take("vehicles", b'{"error_message":" Too many\\nrequests "}')


@pytest.mark.parametrize("feed", FEEDS)
def test_half_a_page_is_an_error(feed):
    whole = next(path for path in SAMPLES if path.stem.startswith(feed)).read_bytes()

    with pytest.raises(PayloadError):
        take(feed, whole[: len(whole) // 2])


@pytest.mark.parametrize("feed", [one for one in FEEDS if one not in WHOLE])
def test_a_window_ends_where_the_next_begins_and_its_bookmark_moves(feed):
    turn = Turn(NOW, since=NOW - 20 * DAY, part="2060101")
    empty = {
        PLURALS[feed]: [],
        "pagination": {"per_page": 100, "page_no": 1, "total": 0},
    }
    body, asked = json.dumps(empty).encode(), []
    for _ in range(30):
        ask = FEEDS[feed].ask(turn)
        asked.append(ask)
        page = FEEDS[feed].unpack(ask, body, turn)
        turn = Turn(NOW, page.bookmark, part="2060101")
        if not page.more:
            break

    assert not page.more
    assert len({json.dumps(dict(one.params)) for one in asked}) == len(asked)
    assert all("." not in one for ask in asked for one in ask.params.values())


def test_driving_periods_are_never_asked_for_more_than_30_days_or_the_future():
    for since in (HOUR, DAY, 40 * DAY, 400 * DAY):
        turn = Turn(NOW, since=NOW - since, lookback=90 * DAY)
        while (ask := FEEDS["trips"].ask(turn)) is not None:
            first, last = (
                datetime.fromisoformat(str(ask.params[one])).replace(tzinfo=UTC)
                for one in ("start_date", "end_date")
            )
            page = FEEDS["trips"].unpack(ask, b'{"driving_periods":[],"total":0}', turn)

            assert timedelta(0) <= last - first < timedelta(days=30)
            assert last <= NOW
            if not page.more:
                break
            turn = Turn(NOW, page.bookmark)


def test_company_days_are_asked_for_a_day_wider_on_each_side():
    turn = Turn(NOW, since=NOW - 5 * DAY, until=NOW - 3 * DAY)

    asked = FEEDS["idling"].ask(turn)

    assert asked.params["start_date"] == day(NOW - 6 * DAY)
    assert asked.params["end_date"] == day(NOW - 2 * DAY)


@pytest.mark.parametrize("feed", [one for one in FEEDS if FEEDS[one].past])
def test_a_past_window_keeps_only_what_lies_in_it_whatever_the_vendor_sends(feed):
    sample = HERE / f"{feed}.json"
    body = (sample if sample.exists() else HERE / f"{feed}_p1.json").read_bytes()
    past = FEEDS[feed].past
    within = Turn(NOW, since=NOW - 2 * DAY, until=NOW + DAY, part="2060101")
    without = Turn(NOW, since=NOW - 2 * DAY, until=NOW - 36 * HOUR, part="2060101")

    assert past.unpack(past.ask(within), body, within).records
    if feed != "fuel":
        assert not past.unpack(past.ask(without), body, without).records


PAIRS = [
    ("webhook_vehicle_upserted", "vehicles_p1", ()),
    ("webhook_user_upserted", "drivers", ("groups",)),  # pushed without its groups
    ("webhook_hos_violation_upserted", "violations", ()),
    ("webhook_fault_code_closed", "faults", ()),
    ("webhook_inspection_report_upserted", "inspections", ()),
    ("webhook_driver_performance_event_created", "safety", ()),
    ("webhook_speeding_event_created", "speeding", ("vin",)),
    ("webhook_vehicle_geofence_entry", "geofences", ()),
    ("webhook_vehicle_geofence_exit", "geofences", ()),
]
WHEN = {"at", "revision", "feed"}  # a list is dated by when it was read


@pytest.mark.parametrize(("pushed", "listed", "richer"), PAIRS)
def test_what_is_pushed_and_what_is_listed_is_one_event(pushed, listed, richer):
    push = json.loads((HERE / f"{pushed}.events.json").read_text())["events"][0]
    events = json.loads((HERE / f"{listed}.events.json").read_text())["events"]
    (poll,) = [one for one in events if one.get("id") == push["id"]]

    same = set(push) | set(poll) - set(richer) - {"driver", "driver_name"}
    directory = push["kind"] in ("vehicle", "driver")
    for key in same - set(richer) - (WHEN if directory else {"feed"}):
        assert push.get(key) == poll.get(key), key


def test_a_point_is_one_event_by_push_by_its_history_and_as_the_newest():
    point = {
        "id": "22129e7a-c027-5bd5-a3e9-2d4e957733bb", "located_at": "2026-05-12T14:00:02Z", "lat": 41.961665,
        "lon": -88.026063, "bearing": 272.4, "speed": 61.5, "odometer": 412883.42, "type": "vehicle_moving",
        "description": "1.4 mi SE of Itasca, IL",
    }  # fmt: skip
    push = point | {"action": "vehicle_location_received", "vehicle_id": 2060101}
    history = {"vehicle_locations": [{"vehicle_location": point}]}
    newest = {"vehicles": [{"vehicle": {"id": 2060101, "current_location": point}}]}

    (pushed,) = PROVIDER.normalize["positions"](json.dumps(push).encode())
    for feed, body in (("positions", history), ("locations", newest)):
        (record,) = take(feed, json.dumps(body).encode()).records
        assert list(PROVIDER.normalize[record.feed](record.body)) == [pushed]


def test_a_point_that_is_listed_without_a_driver_has_nobody_and_a_pushed_one_is_silent():
    point = {
        "id": "x",
        "located_at": "2026-05-12T14:00:02Z",
        "vehicle_id": 1,
        "driver": None,
    }
    quick, slow = point | {"lat": 1, "lon": 2}, point | {"lat": "1", "lon": "2"}

    for one in (quick, slow):
        pushed = one | {"action": "vehicle_location_received"}
        said = [
            next(
                iter(PROVIDER.normalize["positions"](json.dumps(body).encode()))
            ).driver
            for body in (one, pushed)
        ]
        assert said == [NOBODY, None]


def test_a_log_of_which_each_event_would_say_a_novel_stays_whole():
    log = b'{"logs":[{"log":{"driver":{"id":5,"x":"%b"},"events":[%b]}}]}'
    (whole,) = take("duty", log % (b"x" * 400_000, b",".join([b"{}"] * 90))).records
    apart = take("duty", log % (b"x" * 4000, b",".join([b"{}"] * 90))).records

    assert len(whole.body) < 500_000
    assert len(apart) == 90


@pytest.mark.parametrize(
    ("said", "miles"),
    [("1,204.5 mi", 1204.5), (".5MI", 0.5), ("1" * 100_000, None)],
    ids=["with a comma", "no zero", "no end"],
)
def test_a_distance_is_read_from_its_words_at_once(said, miles):
    span = {"start_time": "2026-05-12T13:04:09Z", "end_time": "2026-05-12T14:04:09Z"}
    told = {"id": 1, "distance": said} | span
    (trip,) = PROVIDER.normalize["trips"](json.dumps(told).encode())

    assert trip.distance_miles == miles  # of the last it would take minutes to say so


def test_a_driver_on_duty_is_named_alike_by_log_and_by_push():
    log = {
        "logs": [
            {
                "log": {
                    "driver": {"id": 5},
                    "events": [
                        {
                            "event": {
                                "type": "sleeper",
                                "start_time": "2026-05-12T13:04:09Z",
                            }
                        }
                    ],
                }
            }
        ]
    }
    push = {
        "action": "user_duty_status_updated",
        "id": 5,
        "duty_status": "sleeper",
        "updated_at": "2026-05-12T13:04:09Z",
    }
    (record,) = take("duty", json.dumps(log).encode()).records

    (listed,) = PROVIDER.normalize["duty"](record.body)
    (pushed,) = PROVIDER.normalize["records"](json.dumps(push).encode())

    assert listed == pushed


def test_a_listed_vehicle_with_another_driver_is_news_though_its_update_time_stood():
    unit = {"id": 7, "updated_at": "2026-05-12T11:59:30Z", "current_driver": {"id": 1}}
    first, later = (
        next(iter(PROVIDER.normalize["vehicles"](json.dumps(one).encode())))
        for one in (unit, unit | {"current_driver": {"id": 2}})
    )

    assert first.driver != later.driver
    assert (later.revision, later.at) == (None, None)


def test_the_delivery_logs_secret_is_in_no_record_and_no_page_that_is_kept():
    body = (HERE / "deliveries_traps.json").read_bytes()
    page = take("deliveries", body)
    secret = b"fleetdmotivefixture1"

    assert secret in body
    assert secret not in mask_fields(body, PROVIDER.secret_fields)
    for record in page.records:
        assert secret not in mask_fields(record.body, PROVIDER.secret_fields)
        assert secret.decode() not in json.dumps(told(record))


def test_only_what_motive_could_not_deliver_is_taken_from_its_log():
    page = take("deliveries", (HERE / "deliveries_traps.json").read_bytes())
    ids = [
        json.loads(one.body).get("id")
        for one in page.records
        if one.feed == "positions"
    ]

    assert ids == ["4", "6", "7a", "7b", "15"]


@pytest.mark.parametrize(
    ("path", "status", "body", "fault", "said"),
    [
        ("/v1/driving_periods", 400, "rest_error_400", HeldError, "greater than 30 days"),
        ("/v3/vehicle_locations/7", 404, "{}", AbsentError, "no such vehicle"),
        ("/v3/vehicle_locations/7", 400, "<html>", HeldError, "400"),
        ("/v1/vehicles", 404, '{"error_message":"Not found"}', HeldError, "404: Not found"),
        ("/v3/vehicle_locations", 404, "", HeldError, "404"),
    ],
)  # fmt: skip
def test_what_motive_refuses_is_said_in_its_own_words(path, status, body, fault, said):
    told = '{"error_message":"Date range cannot be greater than 30 days"}'
    answer = Answer(status, {}, (told if body == "rest_error_400" else body).encode())

    with pytest.raises(fault, match=said):
        PROVIDER.judge(Ask(path), answer)


@pytest.mark.parametrize(
    "status", [200, 201, 401, 403, 408, 425, 429, 500, 502, 503, 302]
)
def test_other_answers_are_judged_by_their_status(status):
    assert PROVIDER.judge(Ask("/v1/vehicles"), Answer(status, {}, b"<html>")) is None


@pytest.mark.parametrize(
    "body",
    [
        {"companies": [{"company": {"id": 40077, "name": "PRAIRIE LINE LLC"}}]},
        {"companies": [{"id": 40077, "name": "PRAIRIE LINE LLC"}]},
        {"company": {"company_id": "40077", "name": "PRAIRIE LINE LLC"}},
    ],
)
def test_a_key_says_whose_it_is(body):
    assert PROVIDER.whoami.read(json.dumps(body).encode()) == (
        "40077",
        "PRAIRIE LINE LLC",
    )


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"<html>", b'{"companies":[]}', b'{"companies":null}']
)
def test_an_account_that_says_nothing_is_an_error(body):
    with pytest.raises(PayloadError):
        PROVIDER.whoami.read(body)


def test_webhooks_are_listed_page_by_page_without_their_secrets():
    hooks = PROVIDER.hooks
    body = (HERE / "hooks_p1.json").read_bytes()
    first, onward = hooks.read(hooks.listing(Turn(NOW)), body, Turn(NOW))
    ask = hooks.listing(Turn(NOW, onward))

    assert [one.id for one in first] == ["42"]
    assert first[0].url == "https://edge.example.com/hooks/motive"
    assert first[0].actions == ("vehicle_location_received", "vehicle_geofence_event")
    assert first[0].enabled is True
    assert first[0].secret == ""
    assert ask.params["page_no"] == "2"


def test_a_webhook_is_made_changed_and_removed_with_a_secret_of_ours():
    hooks = PROVIDER.hooks
    made, changed = (
        hooks.add("https://a.example", "fleetd", "s" * 20),
        hooks.change("42", "https://b.example", "fleetd", ""),
    )
    answer = (HERE / "hooks_made.json").read_bytes()

    assert (made.method, made.path) == ("POST", "/v1/company_webhooks")
    assert made.json["secret"] == "s" * 20
    assert made.json["enabled"] is True
    assert "vehicle_location_updated" not in made.json["actions"]
    assert (changed.method, changed.path) == ("PUT", "/v1/company_webhooks/42")
    assert "secret" not in changed.json
    assert hooks.remove("42") == Ask("/v1/company_webhooks/42", method="DELETE")
    assert hooks.made(answer).id == "42"
    assert hooks.made(answer).secret == ""
    assert not hooks.chooses_secret  # it is ours to choose
    assert hooks.slots == 2
    with pytest.raises(PayloadError, match="already taken"):
        hooks.made(b'{"error_message":"already taken"}')


def test_the_numbers_of_a_point_in_unknown_units_are_left_until_its_vehicle_is_known():
    point = {"id": "p", "located_at": "2026-05-12T10:00:00Z", "lat": 1, "lon": 2,
             "speed": 90, "odometer": 5}  # fmt: skip
    units = [{"vehicle": {"id": n, "current_location": point}} for n in (1, 2, 3)]
    units[2]["vehicle"]["metric_units"] = True
    body = json.dumps({"vehicles": units, "pagination": {"total": 3}}).encode()
    speeds = {
        known: [
            (event.vehicle, event.speed_mph, event.units)
            for one in take("locations", body, Turn(NOW, vehicles=known)).records
            for event in PROVIDER.normalize[one.feed](one.body)
        ]
        for known in ((), ("2",))
    }

    assert speeds == {
        (): [("1", 90, "unknown"), ("2", 90, "unknown"), ("3", 90, "metric")],
        ("2",): [("1", None, "us"), ("2", 90, "unknown"), ("3", 90, "metric")],
    }


@pytest.mark.parametrize(
    "odd", ['{"vehicle":5}', "7", "null", '{"vehicle":null}', "{}"]
)
def test_a_location_of_no_vehicle_is_a_dead_letter_and_never_left_out(odd):
    body = b'{"vehicles":[%b],"pagination":{"total":1}}' % odd.encode()
    records = take("locations", body, Turn(NOW, vehicles=("2",))).records

    assert len(records) == 1
    with pytest.raises(PayloadError):
        list(PROVIDER.normalize[records[0].feed](records[0].body))


def test_every_feed_says_what_it_brings_and_which_scope_it_needs():
    for feed in PROVIDER.feeds:
        assert feed.kinds, feed.name
        assert feed.scope or feed.name in ("places", "geofences")
        assert feed.listing in ("", *feed.kinds)
        if not feed.listing and feed.name not in ("locations", "faults"):
            assert feed.past.call.startswith("GET /v")
    kinds = {kind for feed in PROVIDER.feeds for kind in feed.kinds}
    assert set(PROVIDER.webhook.kinds) <= kinds


@pytest.mark.parametrize("feed", FEEDS)
@few
@given(data=st.data())
def test_any_page_is_records_or_a_payload_error(feed, data):
    sample = data.draw(
        st.sampled_from([one for one in SAMPLES if one.stem.startswith(feed)])
    )
    body = json.loads(sample.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        body = changed(body, data)

    read_whole(feed, json.dumps(body).encode())


@pytest.mark.parametrize("feed", FEEDS)
@few
@given(body=st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_records_or_a_payload_error(feed, body):
    read_whole(feed, body)
    read_whole(feed, b'{"%b":[%b]}' % (PLURALS[feed].encode(), body))


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("depth", [30, 900, 200_000])
def test_however_deep_a_page_nests_it_is_read_or_a_payload_error(feed, depth):
    deep = b'{"vehicle":' * depth + b"1" + b"}" * depth

    read_whole(
        feed,
        b'{"%b":[{"id":1,"payload":%b,"events":[%b]}]}'
        % (PLURALS[feed].encode(), deep, deep),
    )


def read_whole(feed: str, body: bytes) -> None:
    try:
        page = take(feed, body)
    except PayloadError as bad:
        assert_short(bad)
        return
    for record in page.records:
        assert mask_fields(record.body, PROVIDER.secret_fields) is not None
        try:
            events = list(PROVIDER.normalize[record.feed](record.body))
        except PayloadError as bad:
            assert_short(bad)
            continue
        for event in events:
            nobody = isinstance(event, Position) and event.driver == NOBODY
            sound(msgspec.structs.replace(event, driver=None) if nobody else event)
