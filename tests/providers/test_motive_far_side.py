"""Motive's feeds against a simulated Motive: everything that was driven, by any road."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from fleetd.errors import AbsentError, HeldError, PayloadError
from fleetd.event import MPH_PER_KPH, AnyEvent, Position, stamp
from fleetd.providers.contract import Answer, Ask, Page, Turn
from fleetd.providers.motive import PROVIDER
from fleetd.web import Request
from tests.vendors.base import DAY, Asked, Clock, Faults, Truth
from tests.vendors.motive import Motive
from tests.vendors.motive_words import EPOCH

FRIDAY = 1_763_683_200  # 2025-11-21T00:00:00Z
NOON = FRIDAY + DAY // 2
FEEDS = {feed.name: feed for feed in PROVIDER.feeds}
OF_TIME = [
    name
    for name, feed in FEEDS.items()
    if feed.past is not None and name not in ("positions", "deliveries")
]
Row = dict[str, Any]


class Probed(Motive):
    """One whose probes are answered here."""

    answers = 200

    def probe(self, hook: Any) -> int:
        self.probes = [*getattr(self, "probes", []), hook.url]
        return self.answers


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def motive(
    vehicles: int = 8, at: int = NOON, faults: Faults | None = None, **more: Any
) -> Probed:
    still = Clock(moment(at), steady=lambda: 0.0)
    return Probed(Truth(vehicles, 8), faults, still, limit=1e6, secret="s" * 20, **more)


def asked(sim: Motive, ask: Ask, key: str = "key") -> Answer:
    """The answer to what a feed asks, as the engine would get it."""
    query = {name: [str(value)] for name, value in ask.params.items()}
    headers = {"x-api-key": key}
    body = json.dumps(ask.json).encode() if ask.json is not None else b""
    found = sim.answer(Asked(ask.method, ask.path, query, headers, body))
    return Answer(found.status, dict(found.headers), found.body)


def page(sim: Motive, ways: Any, turn: Turn) -> Page | None:
    ask = ways.ask(turn)
    if ask is None:
        return None
    for _ in range(50):
        answer = asked(sim, ask)
        PROVIDER.judge(ask, answer) if answer.status != 429 else None
        if answer.status == 200:
            with suppress(PayloadError):
                return ways.unpack(ask, answer.body, turn)
        else:
            assert answer.status == 429 or answer.status >= 500, answer
    raise AssertionError(ask)


class Walker:
    """A feed as the engine walks it; parts have a bookmark each."""

    def __init__(self, sim: Motive, name: str) -> None:
        self.sim, self.name = sim, name
        self.bookmarks: dict[str, str | None] = {}
        self.events: list[AnyEvent] = []
        self.pages: list[Page] = []

    def round(self, since: float | None = None, until: float | None = None) -> Walker:
        feed = FEEDS[self.name]
        fleet = [self.sim.vehicle_id(n) for n in self.sim.fleet()]
        for part in fleet if feed.parts else [""]:
            self._walk(feed if until is None else feed.past, part, since, until)
        return self

    def _walk(self, ways: Any, part: str, since: Any, until: Any) -> None:
        more = True
        while more:
            turn = Turn(
                moment(self.sim.now()),
                self.bookmarks.get(part),
                None if since is None else moment(since),
                None if until is None else moment(until),
                lookback=FEEDS[self.name].lookback,
                part=part,
            )
            got = page(self.sim, ways, turn)
            if got is None:
                return
            self.pages.append(got)
            for record in got.records:
                with suppress(PayloadError):  # a poisoned fix
                    self.events += PROVIDER.normalize[record.feed](record.body)
            self.bookmarks[part], more = got.bookmark, got.more


def walked(sim: Motive, name: str, **window: Any) -> list[AnyEvent]:
    return Walker(sim, name).round(**window).events


def pushed(sim: Motive, since: int, until: int) -> Iterator[AnyEvent]:
    for sending in sim.sendings(since, until):
        request = Request("POST", "/", "", {}, sending.body, "127.0.0.1")
        for record in PROVIDER.webhook.unpack(request).records:
            yield from PROVIDER.normalize[record.feed](record.body)


def told(sim: Motive, fix: Position, *but: str) -> Row:
    """A fix as a row, its units settled as the directory would."""
    by = MPH_PER_KPH if sim.metric(int(fix.vehicle) - EPOCH) else 1
    row = {
        "latitude": fix.latitude,
        "longitude": fix.longitude,
        "speed_mph": None if fix.speed_mph is None else fix.speed_mph * by,
        "heading_degrees": fix.heading_degrees,
        "engine_state": fix.engine_state,
        "driver_id": fix.driver or None,
        "driver_name": fix.driver_name,
        "location_description": fix.location_description,
        "odometer": fix.odometer * by,
    }
    return {key: one for key, one in row.items() if key not in but}


def rows(sim: Motive, events: list[AnyEvent], *but: str) -> dict[Any, Row]:
    return {
        (one.vehicle, stamp(one.at)): told(sim, one, *but)
        for one in events
        if isinstance(one, Position)
    }


def driven(sim: Motive, since: int, until: int, *but: str) -> dict[Any, Row]:
    out = {"provider", "provider_vehicle_id", "vin", "fleet_number", "timestamp", *but}
    return {
        (row["provider_vehicle_id"], row["timestamp"]): {
            key: one for key, one in row.items() if key not in out
        }
        for row in sim.rows(since, until)
    }


# positions


def test_the_history_is_what_was_driven_to_the_last_digit():
    sim = motive(at=FRIDAY + DAY)
    found = walked(sim, "positions", since=FRIDAY - 5 * DAY, until=FRIDAY + DAY)

    assert rows(sim, found) == driven(sim, FRIDAY - 5 * DAY, FRIDAY + DAY)
    assert len(found) == len({one.id for one in found}) > 5000


def test_the_feed_brings_what_was_driven_also_late_twice_and_out_of_order():
    faults = Faults(
        late=0.2, late_s=5400, twice=0.05, shuffled=0.3, busy=0.05, cut=0.03, html=0.03,
        failing=0.03,
    )  # fmt: skip
    sim = motive(vehicles=5, faults=faults)
    walk = Walker(sim, "positions").round(since=NOON - 3600)
    for hours in (1, 2, 5, 9, 10, 16, 23, 30):
        sim.clock.set(NOON + hours * 3600)
        walk.round()

    truth = driven(sim, NOON - 3600, NOON + DAY)
    found = rows(sim, walk.events)
    assert {key: found.get(key) for key in truth} == truth
    assert len(truth) > 500


def test_after_an_outage_of_a_week_the_week_is_there():
    sim = motive(vehicles=4)
    walk = Walker(sim, "positions").round(since=NOON - 3600)
    sim.clock.set(NOON + 7 * DAY)
    walk.round()

    truth = driven(sim, NOON - 3600, NOON + 7 * DAY + 1)
    assert rows(sim, walk.events) == truth


def test_the_newest_point_of_each_active_vehicle_is_one_of_its_history():
    sim = motive(vehicles=25)
    newest = walked(sim, "locations")
    history = walked(sim, "positions", since=FRIDAY - DAY, until=NOON + 1)
    by_id = {one.id: one for one in history}

    assert len(newest) == sum(map(sim.is_active, sim.fleet())) == 24
    for one in newest:
        same = told(sim, one, "driver_id", "driver_name")
        assert told(sim, by_id[one.id], "driver_id", "driver_name") == same


def test_one_poisoned_fix_costs_itself_alone():
    at = Truth(8, 8).fixes(2, FRIDAY, NOON)[10].at
    good = walked(motive(), "positions", since=FRIDAY, until=NOON)
    sim = motive(faults=Faults(poison={2: [at]}))
    rest = walked(sim, "positions", since=FRIDAY, until=NOON)

    assert len(rest) == len(good) - 1
    whole = rows(sim, good)
    del whole[sim.vehicle_id(2), stamp(moment(at))]
    assert rows(sim, rest) == whole


def test_a_pushed_point_is_the_listed_one_wherever_both_say_a_column():
    sim = motive()
    push = [one for one in pushed(sim, FRIDAY, NOON) if isinstance(one, Position)]
    poll = walked(sim, "positions", since=FRIDAY, until=NOON)
    names = ("driver_id", "driver_name")

    assert {one.id for one in push} == {one.id for one in poll}
    assert rows(sim, push, *names) == rows(sim, poll, *names)


# what happens


def test_whatever_is_pushed_is_listed_under_the_same_id():
    sim = motive(vehicles=25, at=FRIDAY + 3 * DAY)
    push = [*pushed(sim, FRIDAY, FRIDAY + 2 * DAY)]
    listed: dict[str, set[str]] = {}
    for name in OF_TIME:
        for one in walked(sim, name, since=FRIDAY - 3 * DAY, until=FRIDAY + 3 * DAY):
            listed.setdefault(one.kind, set()).add(one.id)
    for one in walked(sim, "faults"):
        listed.setdefault("fault", set()).add(one.id)
    kinds = {"geofence", "fault", "duty", "inspection", "safety"}

    assert kinds <= {one.kind for one in push}
    for kind in kinds:
        ids = {one.id for one in push if one.kind == kind}
        assert ids <= listed[kind], kind


@pytest.mark.parametrize("name", OF_TIME)
def test_a_past_window_is_the_same_by_days_and_in_one(name):
    sim = motive(vehicles=25, at=FRIDAY + 20 * DAY)
    whole = walked(sim, name, since=FRIDAY, until=FRIDAY + 9 * DAY)
    days = [
        one
        for day in range(9)
        for one in walked(
            sim, name, since=FRIDAY + day * DAY, until=FRIDAY + (day + 1) * DAY
        )
    ]

    assert {one.id for one in whole} == {one.id for one in days}
    assert len(whole) > 5


@pytest.mark.parametrize("name", OF_TIME)
def test_a_feed_brings_everything_that_begins_while_it_runs(name):
    faults = Faults(
        busy=0.05, cut=0.05, html=0.02, failing=0.05, twice=0.05, shuffled=0.3
    )
    sim = motive(vehicles=20, faults=faults)
    walk = Walker(sim, name).round(since=NOON - DAY)
    for hours in (1, 3, 9, 12, 30, 31):
        sim.clock.set(NOON + hours * 3600)
        walk.round()
    sim.dice.faults = Faults()
    past = walked(sim, name, since=NOON - DAY, until=NOON + 30 * 3600)

    assert {one.id for one in past} <= {one.id for one in walk.events}


def test_a_trip_comes_open_and_then_whole():
    trip = Truth(8, 8).trips(1, FRIDAY, FRIDAY + DAY)[0]
    sim = motive(at=trip.start + 60)
    walk = Walker(sim, "trips").round(since=FRIDAY)
    sim.clock.set(trip.end + 60)
    walk.round()
    open_, *_, over = (one for one in walk.events if one.id == str(trip.id))

    assert (open_.ended_at, open_.distance_miles, open_.end_place) == (None, None, None)
    assert over.duration_s == trip.end - trip.start
    assert over.distance_miles == pytest.approx(trip.metres / 1609.344)


def test_everything_that_could_not_be_pushed_is_in_the_log_of_deliveries():
    sim = motive(vehicles=10)
    missed = {}
    for n, sending in enumerate(sim.sendings(NOON - 3600, NOON)):
        sim.posted(sending, (200, 0, 503, 201, 403)[n % 5])
        if n % 5 in (1, 2, 4):
            missed[sending.body] = n

    sim.clock.set(NOON + 60)
    walk = Walker(sim, "deliveries").round(since=NOON - 3600)
    secret = sim.secret.encode()

    assert len(walk.events) == len(missed) > 50
    assert not any(secret in r.body for p in walk.pages for r in p.records)


# the directory


def test_a_listing_is_whole_and_an_account_is_who_it_says():
    sim = motive(vehicles=230)
    for name, many in (("vehicles", 230), ("drivers", 278), ("places", 58)):
        walk = Walker(sim, name).round()
        assert len({one.id for one in walk.events}) == many
        assert [one.complete for one in walk.pages][-1:] == [True]
        assert not any(one.complete for one in walk.pages[:-1])
    answer = asked(sim, PROVIDER.whoami.ask)
    assert PROVIDER.whoami.read(answer.body) == ("40077", "PRAIRIE LINE LLC")


def test_a_listing_that_shrinks_on_the_way_is_never_complete():
    sim = motive(vehicles=250)
    walk = Walker(sim, "vehicles")
    turn = Turn(moment(NOON))
    shrunk = False
    while True:
        got = page(sim, FEEDS["vehicles"], turn)
        walk.pages.append(got)
        if not got.more:
            break
        sim.dice.faults.missing = 0.0 if shrunk else 0.01
        shrunk = not shrunk
        turn = Turn(moment(NOON), got.bookmark)

    assert not any(one.complete for one in walk.pages)


def test_metric_vehicles_say_so_and_name_who_drives():
    sim = motive(vehicles=25)
    units = {one.id: one for one in walked(sim, "vehicles")}

    for n in sim.fleet():
        unit = units[sim.vehicle_id(n)]
        driver = sim.aboard(n, NOON)
        assert unit.metric_units is sim.metric(n)
        assert unit.driver == (None if driver is None else sim.driver_id(driver))
        assert (unit.state == "active") is sim.is_active(n)


# what it refuses


@pytest.mark.parametrize(
    ("ask", "key", "status"),
    [
        (Ask("/v1/vehicles"), "wrong", 401),
        (Ask("/v1/vehicles"), "key-without-vehicles", 403),
        (Ask("/v1/users"), "key-without-vehicles", 200),
        (Ask("/v1/nothing"), "key", 404),
        (Ask("/v1/vehicles", {"page_no": "0"}), "key", 400),
        (Ask("/v1/driving_periods", {"start_date": "2025-01-01"}), "key", 400),
        (Ask("/v1/driving_periods", {"start_date": "soon"}), "key", 400),
        (Ask(f"/v3/vehicle_locations/{EPOCH}", {"start_date": "2025-01-01"}), "key", 400),
        (Ask("/v3/vehicle_locations/1"), "key", 404),
        (Ask("/v1/logs", {"end_date": "2099-01-01"}), "key", 400),
    ],
)  # fmt: skip
def test_it_refuses_as_motive_does(ask, key, status):
    answer = asked(motive(), ask, key)

    assert answer.status == status
    assert status == 200 or "error_message" in json.loads(answer.body)


def test_a_vehicle_that_is_unknown_and_a_window_too_wide_are_told_apart():
    sim = motive()
    gone = Ask("/v3/vehicle_locations/1")
    wide = Ask("/v1/driving_periods", {"start_date": "2025-01-01"})

    with pytest.raises(AbsentError):
        PROVIDER.judge(gone, asked(sim, gone))
    with pytest.raises(HeldError, match="greater than 30 days"):
        PROVIDER.judge(wide, asked(sim, wide))


# its webhooks


def test_webhooks_are_made_listed_changed_and_removed():
    sim, hooks = motive(), PROVIDER.hooks
    made = hooks.made(asked(sim, hooks.add("https://a.example", "x", "s" * 20)).body)
    changed = hooks.made(
        asked(sim, hooks.change(made.id, "https://b.example", "x", "t" * 20)).body
    )
    ask = hooks.listing(Turn(moment(NOON)))
    listed, onward = hooks.read(ask, asked(sim, ask).body, Turn(moment(NOON)))

    assert made.enabled
    assert (made.id, changed.url) == (changed.id, "https://b.example")
    assert [one.url for one in listed] == ["https://b.example"]
    assert onward is None
    assert sim.probes == ["https://a.example", "https://b.example"]
    assert sim.hooks[int(made.id)].secret == "t" * 20
    assert asked(sim, hooks.remove(made.id)).status == 200
    assert asked(sim, hooks.remove(made.id)).status == 404


def test_a_webhook_that_does_not_answer_its_probe_stays_off():
    sim, hooks = motive(), PROVIDER.hooks
    sim.answers = 503

    assert (
        hooks.made(asked(sim, hooks.add("https://a.example", "", "")).body).enabled
        is False
    )


def test_a_third_webhook_for_an_action_is_refused_and_why_is_said():
    sim, hooks = motive(), PROVIDER.hooks
    for name in "ab":
        assert asked(sim, hooks.add(f"https://{name}.example", "", "")).status == 201
    third = hooks.add("https://c.example", "", "")

    with pytest.raises(HeldError, match="Only 2 active webhooks per action"):
        PROVIDER.judge(third, asked(sim, third))


def test_its_pushes_are_signed_as_fleetd_verifies_them():
    sim = motive()
    sending = sim.sendings(NOON - 600, NOON)[0]
    headers = {key.lower(): one for key, one in sim.sign(sending.body, "abc").items()}
    request = Request("POST", "/", "", headers, sending.body, "127.0.0.1")

    PROVIDER.webhook.verify(request, ["abc"])
    body = json.loads(sending.body)
    assert list(body)[-1] == "action"


def test_a_log_of_deliveries_is_walked_page_by_page():
    sim = motive(vehicles=20)
    for sending in sim.sendings(NOON - 2 * 3600, NOON):
        sim.posted(sending, 0)
    total = len(sim.deliveries)
    sim.clock.set(NOON + timedelta(minutes=1).total_seconds())
    walk = Walker(sim, "deliveries").round(since=NOON - 60)

    assert len(walk.events) == total > 300
    assert len(walk.pages) == -(-total // 100)
    assert msgspec.json.decode(walk.bookmarks[""])[2] is None
