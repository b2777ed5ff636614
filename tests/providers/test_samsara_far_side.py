"""Samsara's feeds against a simulated Samsara: everything that was driven, once, by any road."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetd.errors import ExpiredError, HeldError, PayloadError, SignatureError
from fleetd.event import AnyEvent, Position, content_of, stamp
from fleetd.providers.contract import Answer, Ask, Page, Past, Turn
from fleetd.providers.samsara import Settings, configured
from fleetd.web import Request
from tests.vendors.base import DAY, Asked, Clock, Faults, Truth
from tests.vendors.samsara import SECRET, Samsara
from tests.vendors.samsara_told import PANIC, SPEED

FRIDAY = 1_763_683_200  # 2025-11-21T00:00:00Z
NOON = FRIDAY + DAY // 2
PROVIDER = configured(Settings(alert_configurations=(PANIC, SPEED)))
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
OF_TIME = [name for name, feed in FEEDS.items() if feed.past is not None]


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def samsara(
    vehicles: int = 8, at: int = NOON, faults: Faults | None = None, **more: Any
) -> Samsara:
    still = Clock(moment(at), steady=lambda: 0.0)
    return Samsara(Truth(vehicles), faults, still, limit=1e6, **more)


def asked(sim: Samsara, ask: Ask, key: str = "key") -> Answer:
    """The answer to what a feed asks, as the engine would get it."""
    query = {name: [str(value)] for name, value in ask.params.items()}
    headers = {"authorization": f"Bearer {key}"}
    body = json.dumps(ask.json).encode() if ask.json is not None else b""
    found = sim.answer(Asked(ask.method, ask.path, query, headers, body))
    return Answer(found.status, dict(found.headers), found.body)


def page(sim: Samsara, ways: Any, turn: Turn) -> Page | None:
    ask = ways.ask(turn)
    if ask is None:
        return None
    for _ in range(50):
        answer = asked(sim, ask)
        assert PROVIDER.judge is not None
        PROVIDER.judge(ask, answer)
        if answer.status == 200:
            try:
                return ways.unpack(ask, answer.body, turn)
            except PayloadError:
                continue
        assert answer.status == 429 or answer.status >= 500, answer
    raise AssertionError(ask)


def walked(
    sim: Samsara, name: str, bookmark: str | None = None, since: float | None = None
) -> tuple[list[AnyEvent], str | None]:
    """Everything that a feed has now, and its bookmark then."""
    feed, found, more = FEEDS[name], [], True
    start = None if since is None else moment(since)
    while more:
        turn = Turn(moment(sim.now()), bookmark, start, lookback=feed.lookback)
        got = page(sim, feed, turn)
        if got is None:
            break
        found += normalized(got)
        bookmark, more = got.bookmark, got.more
    return found, bookmark


def backfilled(sim: Samsara, name: str, since: int, until: int) -> list[AnyEvent]:
    past, found, bookmark, more = FEEDS[name].past, [], None, True
    assert isinstance(past, Past)
    while more:
        turn = Turn(moment(sim.now()), bookmark, moment(since), moment(until))
        got = page(sim, past, turn)
        assert got is not None
        found += normalized(got)
        bookmark, more = got.bookmark, got.more
    return found


def normalized(got: Page) -> list[AnyEvent]:
    found = []
    for record in got.records:
        with suppress(PayloadError):  # a poisoned fix
            found += PROVIDER.normalize[record.feed](record.body)
    return found


def latest(events: Iterable[AnyEvent]) -> dict[str, AnyEvent]:
    """What stands in a sink that upserts."""
    stands: dict[str, AnyEvent] = {}
    for one in events:
        before = stands.get(one.id)
        if before is None or (one.revision or 0) >= (before.revision or 0):
            stands[one.id] = one
    return stands


def rows(events: Iterable[AnyEvent]) -> dict[tuple[str | None, str | None], Any]:
    return {
        (one.vehicle, stamp(one.at)): (
            one.vin, one.number, one.latitude, one.longitude, one.speed_mph,
            one.heading_degrees, one.engine_state, one.location_description,
            one.odometer,
        )
        for one in events
        if isinstance(one, Position)
    }  # fmt: skip


def driven(sim: Samsara, since: int, until: int) -> dict[Any, Any]:
    return {
        (row["provider_vehicle_id"], row["timestamp"]): (
            row["vin"], row["fleet_number"], row["latitude"], row["longitude"],
            row["speed_mph"], row["heading_degrees"], row["engine_state"],
            row["location_description"], row["odometer"],
        )
        for row in sim.rows(since, until)
    }  # fmt: skip


# positions


def test_the_history_is_what_was_driven_to_the_last_digit():
    sim = samsara(at=FRIDAY + DAY)
    found = backfilled(sim, "positions", FRIDAY - DAY, FRIDAY + DAY)

    assert rows(found) == driven(sim, FRIDAY - DAY, FRIDAY + DAY)
    assert len(found) == len(rows(found)) > 2000


def test_the_feed_brings_what_was_driven_also_late_twice_and_out_of_order():
    faults = Faults(
        late=0.2, late_s=1800, twice=0.05, shuffled=0.3, busy=0.05, cut=0.03
    )
    sim = samsara(at=NOON, faults=faults)
    found, bookmark = walked(sim, "positions")
    for minutes in range(10, 24 * 60, 10):
        sim.clock.set(NOON + minutes * 60)
        more, bookmark = walked(sim, "positions", bookmark)
        found += more
    sim.clock.set(NOON + DAY + 4 * 3600)
    found += walked(sim, "positions", bookmark)[0]
    truth = driven(sim, NOON + 1, NOON + DAY)

    assert truth.items() <= rows(found).items()
    assert len(truth) > 1000


def test_a_feed_that_begins_a_day_ago_brings_that_day_and_goes_on():
    sim = samsara(at=NOON)
    found, bookmark = walked(sim, "positions", since=NOON - DAY)
    sim.clock.set(NOON + 3600)
    found += walked(sim, "positions", bookmark)[0]

    truth = driven(sim, NOON - DAY, NOON + 3600)
    assert truth.items() <= rows(found).items()


def test_after_an_outage_of_a_night_the_cursor_brings_the_night():
    sim = samsara(at=NOON)
    _, bookmark = walked(sim, "positions")
    sim.clock.set(NOON + 20 * 3600)
    found, _ = walked(sim, "positions", bookmark)

    assert rows(found) == driven(sim, NOON + 1, NOON + 20 * 3600 + 1)


def test_one_poisoned_fix_costs_itself_alone():
    at = Truth(8).fixes(2, FRIDAY, NOON)[10].at
    whole, poisoned = samsara(), samsara(faults=Faults(poison={2: [at]}))
    good = rows(backfilled(whole, "positions", FRIDAY, NOON))
    rest = rows(backfilled(poisoned, "positions", FRIDAY, NOON))

    assert len(rest) == len(good) - 1
    assert rest.items() < good.items()


# directories


def test_directories_are_listed_whole_drivers_of_both_statuses():
    sim = samsara(vehicles=600)
    units, people = walked(sim, "vehicles")[0], walked(sim, "drivers")[0]

    assert len({one.id for one in units}) == len(units) == 600
    assert len({one.id for one in people}) == len(people) == len(sim.truth.people)
    assert {one.state for one in people} == {"active", "deactivated"}
    assert [one.vin for one in units] == [one.vin for one in sim.truth.units]
    assert len(walked(sim, "places")[0]) == len(sim.truth.spots)


# what lasts and what happens


@pytest.mark.parametrize("name", OF_TIME)
def test_a_feed_that_is_asked_all_day_and_its_past_tell_the_same(name):
    sim = samsara(vehicles=25, at=FRIDAY)
    start = FRIDAY + 3600
    found, bookmark = walked(sim, name, since=FRIDAY)
    for hour in range(1, 37):
        sim.clock.set(FRIDAY + hour * 3600)
        more, bookmark = walked(sim, name, bookmark)
        found += more
    past = backfilled(sim, name, FRIDAY - DAY, FRIDAY + 36 * 3600)
    live, then = latest(found), latest(past)
    began = {key for key, one in live.items() if start_of(one, start, sim.now())}

    assert began
    assert began <= set(then)
    same = {key for key in began if live[key] == then[key]}
    assert same == began - {key for key in began if went_on(live[key], then[key])}
    assert {
        key for key, one in then.items() if start_of(one, start, sim.now())
    } == began


def start_of(one: AnyEvent, since: int, until: int) -> bool:
    """Whether it began in a window."""
    return one.at is not None and moment(since) <= one.at < moment(until)


def went_on(one: AnyEvent, other: AnyEvent) -> bool:
    """A copy that was taken earlier than the other, of a thing that changed since."""
    return (one.revision or 0) != (other.revision or 0)


def test_every_trip_ends_as_it_was_driven():
    sim = samsara(vehicles=10, at=NOON + DAY)
    found = latest(backfilled(sim, "trips", FRIDAY, NOON))
    trips = [one for n in range(10) for one in sim.truth.trips(n, FRIDAY, NOON)]

    assert len(found) == len(trips) > 20
    for one in trips:
        told = found[f"{sim.vehicle_id(one.vehicle)}@{one.start * 1000}@trip"]
        assert told.ended_at == moment(one.end)
        assert told.duration_s == one.end - one.start
        assert told.distance_miles == one.metres / 1609.344


def test_who_drove_is_told_and_no_passenger():
    sim = samsara(vehicles=10, at=NOON)
    found = latest(backfilled(sim, "assignments", FRIDAY, NOON))
    shifts = [
        one for n in range(10) for one in sim.truth.assignments(n, FRIDAY, NOON, NOON)
    ]

    told = {(one.vehicle, one.driver, one.at, one.ended_at) for one in found.values()}
    assert told == {
        (
            sim.vehicle_id(one.vehicle),
            sim.driver_id(one.driver),
            moment(one.start),
            None if one.end is None else moment(one.end),
        )
        for one in shifts
    }
    assert len(told) > 5


# pushed and polled


def pushed(sim: Samsara, since: int, until: int) -> list[AnyEvent]:
    found: list[AnyEvent] = []
    webhook = PROVIDER.webhook
    assert webhook is not None
    for sending in sim.sendings(since, until):
        headers = {**sending.headers, **sim.sign(sending.body, SECRET)}
        request = Request("POST", "/webhooks/north", "", headers, sending.body, "::1")
        webhook.verify(request, [SECRET])
        for record in webhook.unpack(request).records:
            found += PROVIDER.normalize[record.feed](record.body)
    return found


def test_what_comes_by_both_roads_has_one_id():
    sim = samsara(vehicles=60, at=NOON + DAY)
    since, until = FRIDAY, FRIDAY + DAY
    mine = [one for one in pushed(sim, since, until) if one.kind != "geofence"]
    speeding = {one.id for one in mine if one.id.endswith("@severe_speeding")}
    polled = {
        one.id
        for name in ("faults", "inspections", "incidents", "vehicles", "drivers")
        for one in (
            backfilled(sim, name, since - 60, until + DAY // 2)
            if FEEDS[name].past
            else walked(sim, name)[0]
        )
    }
    kinds = {one.kind for one in mine}

    assert kinds == {"fault", "inspection", "safety", "vehicle", "driver"}
    assert {one.id for one in mine} - speeding <= polled


def test_an_incident_and_a_directory_record_say_the_same_by_both_roads():
    sim = samsara(vehicles=60, at=NOON + DAY)
    mine = latest(pushed(sim, FRIDAY, FRIDAY + DAY))
    units = {one.id: one for one in walked(sim, "vehicles")[0]}
    incidents = latest(backfilled(sim, "incidents", FRIDAY, FRIDAY + DAY))
    both = set(mine) & set(incidents)

    assert len(both) > 5
    assert {key: mine[key] for key in both} == {key: incidents[key] for key in both}
    listed = [one for one in mine.values() if one.kind == "vehicle"]
    assert listed
    assert all(content_of(one) == content_of(units[one.id]) for one in listed)


def test_a_push_with_another_secret_is_refused():
    sim = samsara(secret="YW5vdGhlcg==")
    (first, *_) = sim.sendings(FRIDAY, NOON)
    request = Request(
        "POST", "/", "", dict(sim.sign(first.body, sim.secret)), first.body, ""
    )
    webhook = PROVIDER.webhook
    assert webhook is not None

    with pytest.raises(SignatureError):
        webhook.verify(request, [SECRET])


# being refused


@pytest.mark.parametrize("name", OF_TIME)
def test_a_cursor_of_last_month_is_an_expired_one_and_a_new_walk_goes_on(name):
    sim = samsara(vehicles=60, at=NOON)
    feed, turn = FEEDS[name], Turn(moment(NOON), since=moment(NOON - 40 * DAY))
    got = page(sim, feed, turn)
    assert got is not None
    sim.clock.set(NOON + 31 * DAY)
    later = Turn(moment(sim.now()), got.bookmark)
    ask = feed.ask(later)
    assert ask is not None
    if "after" in ask.params:
        with pytest.raises(ExpiredError):
            page(sim, feed, later)
    assert page(sim, feed, Turn(moment(sim.now()), since=moment(sim.now() - 3600)))


def test_a_cursor_is_only_good_with_what_it_was_given_for():
    sim = samsara()
    got = page(sim, FEEDS["positions"], Turn(moment(NOON)))
    assert got is not None

    with pytest.raises(ExpiredError):
        page(sim, FEEDS["engine"], Turn(moment(NOON), got.bookmark))


@pytest.mark.parametrize("name", FEEDS)
def test_a_wrong_token_is_401_and_a_narrow_one_403(name):
    sim = samsara()
    ask = FEEDS[name].ask(Turn(moment(NOON), since=moment(NOON - 3600)))
    assert ask is not None
    narrow = asked(sim, ask, key="key-narrow").status

    assert asked(sim, ask, key="wrong").status == 401
    assert narrow == (200 if ask.path.startswith("/fleet/vehicles") else 403)


def test_a_wrong_parameter_is_told_in_samsaras_words():
    sim = samsara()
    answer = asked(
        sim, Ask("/fleet/vehicles/stats/feed", params={"types": "bogusType"})
    )

    assert PROVIDER.judge is not None
    with pytest.raises(HeldError, match="bogusType"):
        PROVIDER.judge(Ask("/x"), answer)


def test_a_limit_that_is_reached_says_when_with_fractions():
    sim = Samsara(Truth(3), None, Clock(moment(NOON), steady=lambda: 0.0))
    answers = [asked(sim, Ask("/webhooks")) for _ in range(6)]

    assert [one.status for one in answers] == [200] * 5 + [429]
    assert 0 < float(answers[-1].headers["retry-after"]) <= 1


def test_webhooks_are_made_changed_and_removed_there():
    sim, hooks = samsara(), PROVIDER.hooks
    assert hooks is not None
    made = hooks.made(asked(sim, hooks.add("https://a.example/x", "fleetd", "")).body)
    assert hooks.change is not None
    changed = asked(sim, hooks.change(made.id, "https://b.example/x", "fleetd", ""))
    listing = hooks.listing(Turn(moment(NOON)))
    assert listing is not None
    (found,), after = hooks.read(listing, asked(sim, listing).body, Turn(moment(NOON)))
    gone = asked(sim, hooks.remove(made.id))

    assert made.secret == sim.secret
    assert changed.status == 200
    assert (found.id, found.url, after) == (made.id, "https://b.example/x", None)
    assert gone.status < 300
    assert hooks.read(listing, asked(sim, listing).body, Turn(moment(NOON)))[0] == []


def test_it_tells_whose_token_it_is():
    probe = PROVIDER.whoami
    assert probe is not None

    assert probe.read(asked(samsara(), probe.ask).body) == [
        "4100237",
        "Delta Basin Haulage",
    ]
