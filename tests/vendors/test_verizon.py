"""Reveal's simulator, and the vendor's file held against it, call by call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from fleetd.errors import AbsentError, FleetdError, HeldError, PayloadError
from fleetd.event import NOBODY, AnyEvent, Position, Trip
from fleetd.providers.contract import Answer, Ask, Grant, Turn
from fleetd.providers.verizon import Settings, configured
from fleetd.providers.windows import place
from fleetd.web import Request
from tests.providers.verizon_sns import certificate
from tests.vendors.base import Clock, Faults, Truth
from tests.vendors.truth import DAY, moment
from tests.vendors.verizon import APP, LIFE, USER, Verizon

FRIDAY = 1_763_683_200  # 2025-11-21T00:00:00Z
NOON = FRIDAY + DAY // 2
HOUR = 3600
LATE = Faults(late=1e-9)  # the test itself says what is late


def simulator(
    faults: Faults | None = None, vehicles: int = 3, at: int = NOON
) -> Verizon:
    still = Clock(moment(at), steady=lambda: 0.0)
    return Verizon(Truth(vehicles), faults or Faults(), still, key="key", limit=1e6)


class Client:
    """A patient client that has only what the vendor's file says, over httpx."""

    def __init__(self, sim: Verizon, password: str = "key", **keys: Any) -> None:
        self.sim, self.password = sim, password
        self.provider = configured(Settings(**{"user": USER, "app_id": APP, **keys}))
        self.feeds = {feed.name: feed for feed in self.provider.feeds}
        self.http = httpx.Client(
            transport=sim.transport(), base_url="https://reveal.test"
        )
        self.grant: Grant | None = None
        self.marks: dict[str, str | None] = {}
        self.fleet = tuple(sim.named)

    def send(self, ask: Ask) -> Answer:
        content = None if ask.json is None else msgspec.json.encode(ask.json)
        params = dict(ask.params) or None
        found = self.http.request(
            ask.method,
            ask.path,
            params=params,
            headers=dict(ask.headers),
            content=content,
        )
        return Answer(found.status_code, dict(found.headers), found.content)

    def login(self) -> Grant:
        session, now = self.provider.session, moment(self.sim.now())
        self.grant = session.read(self.send(session.login(self.password, now)), now)
        return self.grant

    def asked(self, ask: Ask) -> Answer:
        session = self.provider.session
        answer = self.send(session.put(ask, self.grant or self.login()))
        if session.ended(answer):
            answer = self.send(session.put(ask, self.login()))
        self.provider.judge(ask, answer)
        return answer

    def round(self, name: str, **more: Any) -> list[AnyEvent]:
        """All that waits of a feed now, as events; a page that fails is asked again."""
        feed = self.feeds[name]
        parts = self.fleet if feed.parts else ("",)
        return [one for part in parts for one in self.walk(name, part, **more)]

    def walk(self, name: str, part: str, **more: Any) -> Iterator[AnyEvent]:
        feed, mark = self.feeds[name], f"{name}/{part}"
        which = feed.past if more.get("until") else feed
        seen: set[str | None] = {self.marks.get(mark)}
        while True:
            now = moment(self.sim.now())
            since = now - (feed.begins or timedelta(0))
            given = {"since": since, "lookback": feed.lookback, **more}
            turn = Turn(
                now, self.marks.get(mark), part=part, vehicles=self.fleet, **given
            )
            ask = which.ask(turn)
            if ask is None:
                return
            answer = self.patient(ask, which, turn)
            for record in answer.records:
                yield from self.read(record)
            self.marks[mark] = answer.bookmark
            if not answer.more:
                return
            assert answer.bookmark not in seen, "it goes in circles"
            seen.add(answer.bookmark)

    def patient(self, ask: Ask, which: Any, turn: Turn) -> Any:
        for _ in range(50):
            try:
                answer = self.asked(ask)
                if answer.status == 200:
                    return which.unpack(ask, answer.body, turn)
            except (FleetdError, httpx.HTTPError) as bad:
                if isinstance(bad, AbsentError):
                    raise
        raise AssertionError(f"{ask.path} never answers")

    def read(self, record: Any) -> Iterator[AnyEvent]:
        try:
            yield from self.provider.normalize[record.feed](record.body)
        except PayloadError:
            return


def truth_of(sim: Verizon, since: int, until: int) -> dict[str, Any]:
    return {
        f"{sim.vehicle_id(fix.vehicle)}@{fix.at}": fix
        for vehicle in range(sim.truth.vehicles)
        for fix in sim.truth.fixes(vehicle, since, until)
    }


def same(event: Position, sim: Verizon, fix: Any) -> None:
    assert event.vehicle == event.number == sim.vehicle_id(fix.vehicle)
    assert (event.latitude, event.longitude) == (fix.lat, fix.lon)
    assert event.speed_mph == pytest.approx(fix.kph / 1.609344)
    assert event.at == moment(fix.at)
    assert event.location_description == fix.place
    assert event.driver == (NOBODY if fix.driver is None else f"D-{fix.driver}")


# what a call brings


def test_a_days_tracks_are_what_was_driven():
    sim = simulator(vehicles=6)
    found = Client(sim).round("track", since=moment(FRIDAY - DAY), until=moment(FRIDAY))
    driven = truth_of(sim, FRIDAY - DAY, FRIDAY)

    assert {one.id for one in found} - {f"{n}@{FRIDAY}" for n in sim.named} == set(
        driven
    )
    for one in found:
        if one.id in driven:
            same(one, sim, driven[one.id])
            assert one.heading_degrees == driven[one.id].heading
            assert one.engine_state == driven[one.id].engine


def test_the_bulk_call_has_the_last_of_everybody_with_odometer_and_name():
    sim = simulator(vehicles=230)
    found = Client(sim).round("positions")

    assert len(found) == 230
    for one in found:
        vehicle = sim.named[one.vehicle]
        fix = sim.truth.last(vehicle, NOON)
        same(one, sim, fix)
        assert one.odometer == pytest.approx(fix.odometer_m / 1609.344)
        if fix.driver is not None:
            assert one.driver_name == sim.truth.people[fix.driver].name


def test_directories_hold_everybody_in_both_forms_of_the_listing():
    sim = simulator(vehicles=6)
    client = Client(sim)
    first, second = client.round("vehicles"), client.round("vehicles")

    assert first == second
    assert [one.id for one in first] == [*sim.named, "unnumbered/Not installed"]
    assert [one.vin for one in first[:-1]] == [one.vin for one in sim.truth.units]
    drivers = client.round("drivers")
    assert [one.driver_name for one in drivers] == [x.name for x in sim.truth.people]


def test_what_is_pushed_is_what_is_polled():
    sim = simulator(vehicles=3)
    client = Client(sim)
    polled = client.round("track", since=moment(NOON - 4 * HOUR), until=moment(NOON))
    pushed = []
    for wrapped in (False, True):
        sim.wrapped = wrapped
        for one in sim.sendings(NOON - 4 * HOUR, NOON):
            headers = {name.lower(): text for name, text in one.headers.items()}
            request = Request("POST", "/webhooks/x", "", headers, one.body, "::1")
            asks = client.provider.webhook.needs(request)
            proof = [Answer(200, {}, certificate()) for _ in asks]
            client.provider.webhook.prove(request, proof)
            for record in client.provider.webhook.unpack(request).records:
                pushed += list(client.read(record))
    by_id = {one.id: one for one in polled if isinstance(one, Position)}
    fixes = [one for one in pushed if isinstance(one, Position)]

    assert {one.id for one in fixes} | {f"{n}@{NOON}" for n in sim.named} >= set(by_id)
    assert fixes
    assert [one for one in fixes if by_id.get(one.id) != one] == []


def test_codes_go_on_and_off_again():
    sim = simulator(vehicles=40, at=NOON + 6 * HOUR)
    client = Client(sim)
    on = {one.id for one in client.round("faults")}
    history = client.round("fault_history")
    states = {one.id: one.type for one in sorted(history, key=lambda one: one.revision)}

    assert on == {one for one, state in states.items() if state == "on"}
    assert "off" in states.values()


def test_hours_and_odometers_of_both_calls_agree_with_the_bulk_places():
    sim = simulator(vehicles=3)
    client = Client(sim)
    places = {one.vehicle: one for one in client.round("positions")}
    for name in ("statuses", "ecm"):
        engines = [one for one in client.round(name) if one.kind == "engine"]
        assert len(engines) == 3
        for one in engines:
            assert one.odometer == pytest.approx(places[one.vehicle].odometer)
            assert one.id == places[one.vehicle].id
            assert one.hours > 0


# over time


def test_rounds_under_faults_and_late_data_miss_nothing():
    faults = Faults(
        late=0.3, late_s=5400, twice=0.1, shuffled=0.5, failing=0.1, html=0.05, cut=0.05
    )
    sim = simulator(faults, vehicles=3, at=FRIDAY + 6 * HOUR)
    client, seen = Client(sim), set()
    for at in range(FRIDAY + 6 * HOUR, FRIDAY + 20 * HOUR, 900):
        sim.clock.set(at)
        seen |= {one.id for one in client.round("track")}
    since, until = FRIDAY + 5 * HOUR, FRIDAY + 17 * HOUR

    assert set(truth_of(sim, since, until)) <= seen


def test_a_silent_vehicle_that_comes_back_with_days_of_late_data_is_taken_in_whole():
    sim = simulator(LATE, vehicles=1, at=FRIDAY)
    client, seen = Client(sim), set()
    gone, back = FRIDAY + 2 * HOUR, FRIDAY + 5 * DAY + 2 * HOUR
    sim.dice.known_at = lambda _v, at: back if gone <= at < back else at
    asked = []
    for at in range(FRIDAY + HOUR, FRIDAY + 6 * DAY, HOUR):
        sim.clock.set(at)
        before = len(sim.log)
        seen |= {one.id for one in client.round("track")}
        asked.append(
            sum(
                status == 200 and "history" in path
                for _, path, status in sim.log[before:]
            )
        )

    assert set(truth_of(sim, FRIDAY + HOUR, FRIDAY + 6 * DAY - HOUR)) <= seen
    assert sum(asked) < 1.2 * len(asked), "and a parked vehicle costs a call a round"


def test_what_a_vehicle_sends_after_newer_points_is_found_within_a_day():
    sim = simulator(LATE, vehicles=1, at=FRIDAY)
    client, seen = Client(sim), set()
    hole = range(FRIDAY + 8 * HOUR, FRIDAY + 12 * HOUR)
    sim.dice.known_at = lambda _v, at: FRIDAY + 30 * HOUR if at in hole else at
    for at in range(FRIDAY + HOUR, FRIDAY + 60 * HOUR, HOUR):
        sim.clock.set(at)
        seen |= {one.id for one in client.round("track")}

    assert set(truth_of(sim, FRIDAY + HOUR, FRIDAY + 58 * HOUR)) <= seen


def test_a_night_switched_off_is_caught_up_from_the_bookmark():
    sim = simulator(vehicles=2, at=FRIDAY + 6 * HOUR)
    client = Client(sim)
    seen = {one.id for one in client.round("track")}
    sim.clock.set(FRIDAY + 3 * DAY + 7 * HOUR)
    seen |= {one.id for one in client.round("track")}
    whole = set(truth_of(sim, FRIDAY + 5 * HOUR, FRIDAY + 3 * DAY + 7 * HOUR))

    assert whole <= seen


def test_a_bookmark_is_a_window_to_whoever_asks_how_old_it_is():
    sim = simulator(vehicles=1)
    client = Client(sim)
    client.round("track")
    client.round("trips")

    for mark in client.marks.values():
        assert place(mark) is not None
        assert place(mark).until <= moment(NOON)


def trips_of(found: list[AnyEvent]) -> dict[str, Trip]:
    return {one.id: one for one in found if isinstance(one, Trip)}


def test_trips_are_whole_in_the_end_and_none_is_cut_at_an_edge():
    sim = simulator(vehicles=3, at=FRIDAY)
    client, kept = Client(sim), {}
    for at in range(FRIDAY, FRIDAY + 3 * DAY, HOUR):
        sim.clock.set(at)
        kept |= trips_of(client.round("trips"))
    since, until = FRIDAY, FRIDAY + 3 * DAY - 2 * HOUR
    driven = {
        f"{sim.vehicle_id(one.vehicle)}@{one.start}": one
        for vehicle in range(3)
        for one in sim.truth.trips(vehicle, since, until)
        if one.end < FRIDAY + 3 * DAY - HOUR
    }

    assert driven.keys() <= kept.keys()
    for name, one in driven.items():
        assert kept[name].ended_at == moment(one.end)
        assert kept[name].distance_miles == pytest.approx(
            one.metres / 1609.344, rel=1e-3
        )
    starts = {
        f"{sim.vehicle_id(one.vehicle)}@{one.start}"
        for vehicle in range(3)
        for one in sim.truth.trips(vehicle, FRIDAY - 23 * HOUR, FRIDAY + 3 * DAY)
    }
    assert kept.keys() <= starts


@pytest.mark.parametrize("offset", [0, 7 * HOUR + 13, 15 * HOUR])
def test_past_trips_are_the_same_whatever_the_windows_edge_cuts(offset):
    sim = simulator(vehicles=4, at=FRIDAY + 9 * DAY)
    since, until = FRIDAY + offset, FRIDAY + 4 * DAY + offset
    found = Client(sim).round("trips", since=moment(since), until=moment(until))
    kept = trips_of(found)
    driven = {
        f"{sim.vehicle_id(one.vehicle)}@{one.start}": one
        for vehicle in range(4)
        for one in sim.truth.trips(vehicle, since, until)
    }

    assert driven.keys() <= kept.keys()
    for name, one in driven.items():
        assert kept[name].ended_at == moment(one.end)
    starts = {
        one.start
        for v in range(4)
        for one in sim.truth.trips(v, since - DAY, until + DAY)
    }
    assert {int(one.started_at.timestamp()) for one in kept.values()} <= starts


def test_an_open_trip_comes_again_until_it_is_over():
    sim = simulator(vehicles=1, at=NOON)
    trip = next(iter(sim.truth.trips(0, NOON, NOON + DAY)))
    client, ends = Client(sim), []
    for at in range(trip.start + 60, trip.end + 2 * HOUR, 600):
        sim.clock.set(at)
        found = trips_of(client.round("trips"))
        mine = found.get(f"{sim.vehicle_id(0)}@{trip.start}")
        if mine is not None:
            ends.append(mine.ended_at)

    assert ends[0] is None
    assert ends[-1] == moment(trip.end)


# what is refused


def test_a_token_of_twenty_minutes_is_renewed_once_it_ends_as_a_400():
    sim = simulator()
    client = Client(sim)
    client.round("vehicles")
    for at in (NOON + LIFE - 1, NOON + LIFE, NOON + 3 * LIFE):
        sim.clock.set(at)
        assert len(client.round("positions")) == 3

    assert sim.logins == 3
    assert any("400" in one for one in sim.counts)


def test_a_wrong_password_holds_and_a_wrong_app_never_begins():
    sim = simulator()
    with pytest.raises(HeldError, match="region"):
        Client(sim, "other").login()
    client = Client(sim, app_id="fleetmatics-p-us-other")

    assert client.asked(Ask("/cmd/v1/vehicles")).status == 401


def test_a_narrow_app_is_forbidden_what_it_has_no_access_to():
    client = Client(simulator(), "key-narrow")

    assert client.asked(client.feeds["faults"].ask(Turn(moment(NOON)))).status == 403
    assert len(client.round("positions")) == 3


def test_an_unknown_number_and_a_window_beyond_the_plan_concern_one_vehicle():
    client = Client(simulator())
    for part, years in (("T-9/9", 0), (client.fleet[1], 2)):
        turn = Turn(
            moment(NOON), since=moment(NOON - years * 365 * DAY - HOUR), part=part,
            until=moment(NOON),
        )  # fmt: skip
        ask = client.feeds["track"].past.ask(turn)
        if years:
            ask = msgspec.structs.replace(
                ask, params={"startdatetimeutc": "2023-01-01T00:00:00",
                             "enddatetimeutc": "2023-01-02T00:00:00"},
            )  # fmt: skip
        with pytest.raises(AbsentError):
            client.asked(ask)


@pytest.mark.parametrize(
    ("path", "params", "body"),
    [
        ("/rad/v1/vehicles/T-101/segments", {"startdateutc": "2025-11-21T00:00:00Z"}, None),
        ("/rad/v1/vehicles/T-101/segments", {}, None),
        ("/rad/v1/vehicles/T-101/status/history",
         {"startdatetimeutc": "2025-11-21T01:00:00", "enddatetimeutc": "2025-11-21T00:00:00"}, None),
        ("/rad/v1/vehicles/locations", {}, ["T-101"] * 101),
        ("/rad/v1/vehicles/locations", {}, []),
        ("/rad/v1/vehicles/locations", {}, {"numbers": ["T-101"]}),
        ("/rad/v1/vehicles/T-101%20%2F%20no/location", {}, None),
    ],
)  # fmt: skip
def test_the_simulator_is_strict_where_reveal_is(path, params, body):
    client = Client(simulator())
    method = "GET" if body is None else "POST"
    ask = client.provider.session.put(Ask(path, params, method, body), client.login())

    assert client.send(ask).status == 400
    assert "Message" in json.loads(client.send(ask).body)
