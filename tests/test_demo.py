"""The demo fleet: the same for everybody, without a jump, and never asleep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import PayloadError, SignatureError
from fleetd.event import VIN, AnyEvent, pack, stamp, unpack
from fleetd.providers.contract import Feed, Page, Turn
from fleetd.providers.demo import NORMALIZERS, PROVIDER
from fleetd.providers.demo.far import activity, track
from fleetd.providers.windows import Window, place, written
from fleetd.web import Request

GOLDEN = Path(__file__).parent / "providers" / "demo"
NOON = datetime(2026, 11, 21, 22, 5, 3, 120_000, tzinfo=UTC)
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
LONG = {"positions": timedelta(seconds=10), "activity": timedelta(minutes=10)}
MONDAY = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())
DAY = 86_400


def at(moment: datetime) -> str:
    return written(Window(moment, moment))


def poll(feed: Feed, bookmark: str | None, now: datetime) -> Page | None:
    turn = Turn(now, bookmark)
    ask = feed.ask(turn)
    if ask is None:
        return None
    assert PROVIDER.answer
    return feed.unpack(ask, PROVIDER.answer(ask, now), turn)


def drain(feed: Feed, bookmark: str | None, now: datetime) -> Iterator[Page]:
    """Poll until nothing more waits."""
    more = True
    while more:
        page = poll(feed, bookmark, now)
        if page is None:
            return
        yield page
        bookmark, more = page.bookmark, page.more


def events(pages: list[Page]) -> list[AnyEvent]:
    found = []
    for record in (one for page in pages for one in page.records):
        found += NORMALIZERS[record.feed](record.body)
    return found


def told(event: AnyEvent) -> dict[str, Any]:
    pairs = msgspec.structs.asdict(event).items()
    said = {key: value for key, value in pairs if value not in (None, ())}
    plain = {k: stamp(v) if isinstance(v, datetime) else v for k, v in said.items()}
    return {"kind": event.kind, **json.loads(json.dumps(plain))}


def answered(name: str) -> bytes:
    bookmark = at(NOON - LONG[name]) if name in LONG else None
    ask = FEEDS[name].ask(Turn(NOON, bookmark))
    assert ask
    assert PROVIDER.answer
    return PROVIDER.answer(ask, NOON)


def meaning(body: bytes) -> list[dict[str, Any]]:
    page = json.loads(body)
    items = [json.dumps(item).encode() for item in page["items"]]
    made = [event for item in items for event in NORMALIZERS[page["feed"]](item)]
    return [told(event) for event in made]


@pytest.mark.parametrize("name", sorted(FEEDS))
def test_a_window_of_the_demo_fleet_is_what_it_always_was(name):
    body = answered(name)

    assert body == (GOLDEN / f"{name}.json").read_bytes()
    assert meaning(body) == json.loads((GOLDEN / f"{name}.events.json").read_text())


def test_the_same_question_has_the_same_answer_whenever_it_is_asked():
    feed = FEEDS["positions"]
    ask = feed.ask(Turn(NOON, since=NOON - timedelta(minutes=8)))

    assert PROVIDER.answer(ask, NOON) == PROVIDER.answer(ask, NOON + timedelta(days=9))


def test_a_newcomer_sees_events_of_the_last_minutes_at_once():
    found = events([poll(FEEDS["positions"], None, NOON)])

    assert len(found) > 100
    assert all(timedelta(0) <= NOON - one.at <= timedelta(minutes=5) for one in found)
    assert len(poll(FEEDS["activity"], None, NOON).records) > 5


def test_a_feed_that_was_just_read_has_nothing_to_ask():
    assert FEEDS["positions"].ask(Turn(NOON, at(NOON))) is None


def test_hours_of_absence_are_read_page_by_page():
    start = NOON - timedelta(hours=2)
    pages = list(drain(FEEDS["positions"], at(start), NOON))

    assert len(pages) == 12
    assert [page.more for page in pages] == [True] * 11 + [False]
    assert place(pages[-1].bookmark).until == NOON.replace(microsecond=0)
    assert min(one.at for one in events(pages)) - start < timedelta(seconds=5)


def test_a_clock_that_ran_ahead_does_not_stop_the_fleet_for_good():
    ask = FEEDS["positions"].ask(Turn(NOON, at(NOON + timedelta(days=3650))))

    assert ask.params["until_ms"] == str(int(NOON.timestamp()) * 1000)
    assert FEEDS["positions"].ask(Turn(NOON, at(NOON - timedelta(days=3650))))
    assert FEEDS["positions"].ask(Turn(NOON, "not a time"))


@settings(max_examples=40, deadline=None)
@given(
    begin=st.integers(0, 5 * DAY * 1000),
    steps=st.lists(st.integers(1, 400_000), min_size=1, max_size=8),
)
@pytest.mark.parametrize("name", ["positions", "activity"])
def test_polls_at_any_moments_give_the_ids_of_one_long_poll(name, begin, steps):
    feed, first = FEEDS[name], NOON - timedelta(days=9) + timedelta(milliseconds=begin)
    bookmark, now, pages = at(first), first, []
    for step in steps:
        now += timedelta(milliseconds=step)
        found = list(drain(feed, bookmark, now))
        pages += found
        bookmark = found[-1].bookmark if found else bookmark

    whole = list(drain(feed, at(first), now))

    assert [one.body for page in pages for one in page.records] == [
        one.body for page in whole for one in page.records
    ]


def test_no_id_is_given_twice_within_two_days():
    since, ids = MONDAY, set()
    made = [NORMALIZERS["activity"](one) for one in activity(since, since + 2 * DAY)]
    for event in (event for one in made for event in one):
        assert (event.kind, event.id, event.revision) not in ids
        ids.add((event.kind, event.id, event.revision))
    for body in track(since, since + 3600):
        (event,) = NORMALIZERS["positions"](body)
        assert ("position", event.id, None) not in ids
        ids.add(("position", event.id, None))


def test_the_directory_has_valid_vins_numbers_and_drivers_that_drive():
    listed = {
        name: events([poll(FEEDS[name], None, NOON)])
        for name in ("vehicles", "drivers", "places")
    }
    numbers = [one.number for one in listed["vehicles"]]

    assert numbers == [f"T-{101 + n}" for n in range(25)]
    assert all(VIN.fullmatch(one.vin) for one in listed["vehicles"])
    for found in listed.values():
        assert len({one.id for one in found}) == len(found)
    assert len({one.driver_name for one in listed["drivers"]}) == len(listed["drivers"])
    known = {one.id for one in listed["drivers"]}
    track_ = track(MONDAY, MONDAY + DAY // 8)
    drove = {json.loads(body)["driverId"] for body in track_}
    assert drove - {None} <= known
    assert poll(FEEDS["vehicles"], None, NOON).complete


def test_every_event_of_a_day_survives_the_log():
    bodies = [("activity", b) for b in activity(MONDAY, MONDAY + DAY)]
    bodies += [("positions", b) for b in track(MONDAY, MONDAY + 60)]
    for feed, body in bodies:
        (event,) = NORMALIZERS[feed](body)
        assert unpack(pack(event)) == event


def request(body: bytes, **headers: str) -> Request:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", "/webhooks/demo", "", names, body, "127.0.0.1")


def test_a_sample_that_send_signed_is_taken_and_a_changed_one_refused():
    body, hook = answered("activity"), PROVIDER.webhook
    headers = dict(hook.sign(body, "s3cret", NOON))
    good = Request("POST", "/webhooks/demo", "", headers, body, "127.0.0.1")
    bad = Request("POST", "/webhooks/demo", "", headers, body + b" ", "127.0.0.1")

    assert hook.verify(good, ["old", "s3cret"]) is None
    assert len(hook.unpack(good).records) == len(json.loads(body)["items"])
    for wrong, secrets in (
        (bad, ["s3cret"]),
        (good, ["other"]),
        (good, []),
        (request(body), ["s3cret"]),
    ):
        with pytest.raises(SignatureError):
            hook.verify(wrong, secrets)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"feed":"nothing","items":[]}',
        b'{"feed":"positions"}',
        b"\xff",
    ],
)
def test_a_body_of_no_known_shape_is_a_payload_error(body):
    with pytest.raises(PayloadError):
        PROVIDER.webhook.unpack(request(body))


def test_a_note_of_an_unknown_type_is_kept_as_other():
    (event,) = NORMALIZERS["activity"](b'{"type":"yodel","loud":123456789012345678901}')

    assert (event.kind, event.type) == ("other", "yodel")
    assert unpack(pack(event)) == event


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
)
SAMPLES = [
    (feed, body)
    for feed, bodies in (
        ("positions", track(MONDAY, MONDAY + 5)[:1]),
        ("activity", activity(MONDAY, MONDAY + 1800)),
        (
            "vehicles",
            [json.dumps(json.loads(answered("vehicles"))["items"][0]).encode()],
        ),
    )
    for body in bodies
]


@settings(max_examples=200, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    changes=st.dictionaries(st.integers(0, 20), json_values | st.sampled_from(
        ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00"]
    ), min_size=1, max_size=3),
)  # fmt: skip
def test_a_spoilt_record_is_an_event_or_a_payload_error(sample, changes):
    feed, body = sample
    record = json.loads(body)
    names = list(record)
    for at_, value in changes.items():
        record[names[at_ % len(names)]] = value
    try:
        (event,) = NORMALIZERS[feed](json.dumps(record).encode())
    except PayloadError:
        return
    again = unpack(pack(event))

    assert again == event
    assert event.at is None or stamp(event.at)


def write_golden() -> None:
    """`python -m tests.test_demo` writes what stands beside the tests."""
    for name in FEEDS:
        body = answered(name)
        (GOLDEN / f"{name}.json").write_bytes(body)
        found = json.dumps(meaning(body), indent=1, ensure_ascii=False)
        (GOLDEN / f"{name}.events.json").write_text(found + "\n")


if __name__ == "__main__":
    write_golden()
