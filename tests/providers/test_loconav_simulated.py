"""LocoNav's file before its simulator: a day by push and by list, paging, faults, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from fleetd.errors import HeldError, PayloadError, TransientError
from fleetd.event import MPH_PER_KPH, AnyEvent, Record, stamp, tag_of
from fleetd.providers.contract import Answer, Ask, Feed, Provider, Turn
from fleetd.providers.loconav import PROVIDER, Settings, configured, unpack
from fleetd.web import Request
from fleetd.when import Zone
from tests.vendors.base import DAY, Clock, Faults, Reply, Truth
from tests.vendors.loconav import LocoNav
from tests.vendors.wire import asked

NOON = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
EVERY = timedelta(days=1)


class Lagos(LocoNav):
    """One whose naive times are local to a zone."""

    zone = "Africa/Lagos"


class Apart(LocoNav):
    """One whose speeds are often younger than its places."""

    apart = 0.5


def simulated(kind: type[LocoNav] = LocoNav, **faults: Any) -> LocoNav:
    return kind(Truth(7), Faults(**faults), Clock(NOON, speed=0.0), limit=1000.0)


def send(sim: LocoNav, provider: Provider, ask: Ask, token: str = "key") -> Reply:
    assert provider.authorize is not None
    headers = {key.lower(): one for key, one in provider.authorize(token).items()}
    target = f"/integration/api/v1{ask.path}?{urlencode(ask.params, doseq=True)}"
    body = b"" if ask.json is None else json.dumps(ask.json).encode()
    return sim.answer(asked(ask.method, target, headers, body))


def poll(
    sim: LocoNav, name: str, turn: Turn, provider: Provider = PROVIDER
) -> Iterator[Record]:
    """Every record of a feed from one turn to its end, as the engine would ask."""
    feed = {one.name: one for one in provider.feeds}[name]
    if turn.until is not None:
        assert feed.past is not None
        feed = msgspec.structs.replace(feed, ask=feed.past.ask, unpack=feed.past.unpack)
    while (ask := feed.ask(turn)) is not None:
        page = feed.unpack(ask, answered(sim, provider, ask), turn)
        yield from page.records
        turn = msgspec.structs.replace(turn, bookmark=page.bookmark)
        if not page.more:
            return


def answered(sim: LocoNav, provider: Provider, ask: Ask) -> bytes:
    found = send(sim, provider, ask)
    assert found.status == 200, found.body
    assert provider.judge is not None
    provider.judge(ask, Answer(200, found.headers, found.body))
    return found.body


def read(records: Any, provider: Provider = PROVIDER) -> list[AnyEvent]:
    return [one for rec in records for one in provider.normalize[rec.feed](rec.body)]


def pushed(sim: LocoNav, since: int, until: int, provider: Provider = PROVIDER) -> Any:
    bodies = [one.body for one in sim.sendings(since, until) if one.at < until]
    requests = [Request("POST", "/webhooks/x", "", {}, one, "") for one in bodies]
    return read([rec for one in requests for rec in unpack(one).records], provider)


def alerts_of(events: Any, since: int, until: int) -> set[tuple[str, str, str]]:
    return {
        (one.kind, one.id, tag_of(one))
        for one in events
        if one.kind != "position" and since <= one.at.timestamp() < until
    }


@pytest.mark.parametrize("per_page", [3, 100])
@pytest.mark.parametrize("kind", [LocoNav, Lagos])
def test_a_day_of_alerts_is_the_same_by_push_and_by_list(kind, per_page):
    zone = Zone("Africa/Lagos") if kind is Lagos else None
    provider = configured(Settings(zone=zone, per_page=per_page))
    sim = simulated(kind, twice=0.1, shuffled=0.5)
    until = int(NOON.timestamp())
    since = until - DAY
    turn = Turn(NOON, since=NOON - 2 * EVERY, until=NOON)
    by_list = read(poll(sim, "alerts", turn, provider), provider)
    by_push = pushed(sim, since - DAY, until, provider)

    assert alerts_of(by_list, since, until) == alerts_of(by_push, since, until)
    assert len(alerts_of(by_list, since, until)) > 30
    assert {one.kind for one in by_list} == {"safety", "engine", "geofence"}


def test_an_alert_that_ends_after_it_was_listed_is_read_to_its_end():
    sim = simulated()
    feed = {one.name: one for one in PROVIDER.feeds}["late_alerts"]
    begins = {
        one.id for one in read(poll(sim, "alerts", Turn(NOON, since=NOON - EVERY)))
    }
    first = Turn(NOON, lookback=feed.lookback, since=NOON - 9 * EVERY)
    page = feed.unpack(*whole(sim, PROVIDER, feed, first), first)
    sim.clock.set(NOON.timestamp() + 6 * 3600)
    turn = Turn(NOON + timedelta(hours=6), page.bookmark, lookback=feed.lookback)
    later = {one.id for one in read(poll(sim, "late_alerts", turn))}
    open_ = {one for one in begins if ":end" not in one and f"{one}:end" not in begins}

    assert not page.more  # nothing is late at first
    assert begins <= later
    assert any(f"{one}:end" in later for one in open_)


@pytest.mark.parametrize("per_page", [2, 100])
def test_the_newest_fix_of_every_vehicle_is_what_was_driven(per_page):
    provider = configured(Settings(odometer=True, per_page=per_page))
    sim = simulated()
    found = {
        one.vehicle: one for one in read(poll(sim, "positions", Turn(NOON), provider))
    }

    assert len(found) == 7
    for vehicle in range(7):
        fix = sim.last(vehicle)
        row, one = sim.row(fix), found[sim.vehicle_id(vehicle)]
        assert stamp(one.at) == row["timestamp"]
        assert (one.latitude, one.longitude) == (row["latitude"], row["longitude"])
        assert one.speed_mph == pytest.approx(row["speed_mph"])
        assert one.heading_degrees == row["heading_degrees"] % 360
        assert one.engine_state == row["engine_state"]
        assert one.odometer == pytest.approx(fix.odometer_m / 1000 * MPH_PER_KPH)
        assert one.number == row["fleet_number"]


def test_a_fix_by_push_and_by_poll_is_the_same_event():
    sim = simulated()
    now = int(NOON.timestamp())
    by_push = {one.id: one for one in pushed(sim, now - DAY, now + 1)}
    by_poll = read(poll(sim, "positions", Turn(NOON)))

    for one in by_poll:
        twin = msgspec.structs.replace(by_push[one.id], flags=())
        assert twin == one


def test_a_speed_of_another_time_is_left_out_and_the_place_kept():
    sim = simulated(Apart)
    found = {one.vehicle: one for one in read(poll(sim, "positions", Turn(NOON)))}
    apart = [n for n in range(7) if sim.is_apart(sim.last(n))]

    assert 0 < len(apart) < 7
    for n in range(7):
        one = found[sim.vehicle_id(n)]
        assert (one.speed_mph is None) == (n in apart)
        assert one.latitude == sim.last(n).lat


@pytest.mark.parametrize(
    ("name", "many"), [("vehicles", 7), ("drivers", 9), ("places", 13)]
)
@pytest.mark.parametrize("per_page", [1, 4, 100])
def test_a_listing_is_read_whole_and_ends_complete(name, many, per_page):
    provider = configured(Settings(per_page=per_page))
    feed = {one.name: one for one in provider.feeds}[name]
    sim, turn = simulated(), Turn(NOON)
    while True:
        page = feed.unpack(*whole(sim, provider, feed, turn), turn)
        turn = msgspec.structs.replace(turn, bookmark=page.bookmark)
        if not page.more:
            break
        assert not page.complete

    assert page.complete
    assert turn.bookmark is None
    assert len({one.id for one in read(poll(sim, name, Turn(NOON), provider))}) == many


def whole(
    sim: LocoNav, provider: Provider, feed: Feed, turn: Turn
) -> tuple[Ask, bytes]:
    ask = feed.ask(turn)
    assert ask is not None
    return ask, answered(sim, provider, ask)


def test_a_listed_vehicle_is_named_as_its_fixes_and_alerts_are():
    sim = simulated()
    units = {one.id: one for one in read(poll(sim, "vehicles", Turn(NOON)))}
    others = read(poll(sim, "positions", Turn(NOON)))
    others += read(poll(sim, "alerts", Turn(NOON, since=NOON - EVERY)))
    others += read(poll(sim, "trips", Turn(NOON, since=NOON - EVERY)))
    others += pushed(sim, int(NOON.timestamp()) - DAY, int(NOON.timestamp()))

    assert {one.vehicle for one in others} == set(units)
    assert units["T-101"].vin == sim.truth.unit(0).vin


def test_one_fix_that_nobody_can_read_spoils_no_other():
    sim = simulated()
    sim.dice.faults.poison = {3: [sim.last(3).at]}
    good, bad = [], []
    for record in poll(sim, "positions", Turn(NOON)):
        try:
            good += list(PROVIDER.normalize[record.feed](record.body))
        except PayloadError as fault:
            bad.append(str(fault))

    assert len(good) == 6
    assert bad == [
        f"latitude is no number: 'north' (vehicle T-104, {stamp(told(sim, 3))})"
    ]


def told(sim: LocoNav, vehicle: int) -> datetime:
    return datetime.fromtimestamp(sim.last(vehicle).at, UTC)


def test_a_page_for_people_or_half_a_page_is_never_an_empty_list():
    for fault in ({"html": 1.0}, {"cut": 1.0}):
        sim = simulated(**fault)
        for feed in PROVIDER.feeds:
            turn = Turn(NOON, since=NOON - EVERY)
            ask = feed.ask(turn)
            assert ask is not None
            found = send(sim, PROVIDER, ask)
            assert found.status == 200
            PROVIDER.judge(ask, Answer(200, {}, found.body))
            with pytest.raises(PayloadError):
                feed.unpack(ask, found.body, turn)


def test_a_wrong_token_and_too_many_requests_are_what_they_are():
    sim = LocoNav(Truth(3), Faults(), Clock(NOON, speed=0.0, steady=lambda: 0.0))
    ask = PROVIDER.feeds[0].ask(Turn(NOON))
    assert ask is not None
    refused = send(sim, PROVIDER, ask, "another")
    found = [send(sim, PROVIDER, ask) for _ in range(21)]

    assert refused.status == 401
    assert b'"errors":["Authentication failed"]' in refused.body
    assert [one.status for one in found] == [200] * 20 + [429]
    with pytest.raises(TransientError) as busy:
        PROVIDER.judge(ask, Answer(429, found[-1].headers, found[-1].body))
    assert busy.value.after == 60.0


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/alerts?startTime=1&endTime=9", "over a minute"),
        ("/vehicles?page=0", "must be greater than 0"),
        ("/trips?sortColumn=colour", "sortColumn"),
        ("/nowhere", "no such path"),
    ],
)
def test_what_the_vendor_refuses_is_said_in_its_words(path, says):
    sim = simulated()
    found = send(sim, PROVIDER, Ask(path.partition("?")[0], params=dict(
        one.split("=") for one in path.partition("?")[2].split("&") if one)))  # fmt: skip

    with pytest.raises(HeldError, match=says):
        PROVIDER.judge(Ask(path), Answer(found.status, {}, found.body))


def test_the_account_behind_a_token_is_told():
    sim = simulated()
    probe = PROVIDER.whoami

    assert probe.read(answered(sim, PROVIDER, probe.ask)) == [
        "77",
        "Test Haulage",
        "5521",
        "Ops",
    ]
