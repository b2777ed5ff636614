"""Geotab's simulator, and the vendor's file held against it page by page."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from fleetd.errors import ExpiredError, HeldError, PayloadError, TransientError
from fleetd.event import AnyEvent, Position, has_fix, merged, tag_of
from fleetd.providers.contract import Answer, Ask, Grant, Page, Turn
from fleetd.providers.geotab import Settings, configured
from tests.vendors.base import Asked, Clock, Faults, Truth
from tests.vendors.geotab import LOCKED_AFTER, SESSION_CALLS, Geotab
from tests.vendors.truth import DAY, moment

FRIDAY = 1_763_683_200  # 2025-11-21T00:00:00Z
NOON = FRIDAY + DAY // 2
USER = "fleetd-service@acme.test"


def simulator(
    faults: Faults | None = None, vehicles: int = 4, at: int = NOON, **more: Any
) -> Geotab:
    still = Clock(moment(at), steady=more.pop("steady", lambda: 0.0))
    return Geotab(
        Truth(vehicles), faults or Faults(), still, key="key", limit=1e6, **more
    )


class Client:
    """A patient client that has only what the vendor's file says."""

    def __init__(
        self, sim: Geotab, database: str = "acme_haul", user: str = USER
    ) -> None:
        self.sim = sim
        self.provider = configured(Settings(database=database, user=user))
        self.feeds = {feed.name: feed for feed in self.provider.feeds}
        self.grant: Grant | None = None
        self.host = "127.0.0.1:9100"

    def send(self, ask: Ask) -> Answer:
        body = msgspec.json.encode(ask.json)
        headers = {"host": ask.host or self.host, **ask.headers}
        found = self.sim.answer(Asked(ask.method, ask.path, {}, headers, body))
        return Answer(found.status, dict(found.headers), found.body)

    def login(self, password: str = "key") -> Grant:
        session = self.provider.session
        assert session is not None
        now = moment(self.sim.now())
        self.grant = session.read(self.send(session.login(password, now)), now)
        return self.grant

    def asked(self, ask: Ask) -> bytes:
        session, judge = self.provider.session, self.provider.judge
        assert session is not None
        assert judge is not None
        answer = self.send(session.put(ask, self.grant or self.login()))
        if session.ended(answer):
            answer = self.send(session.put(ask, self.login()))
        judge(ask, answer)
        if answer.status != 200:
            raise TransientError("status", status=answer.status)
        return answer.body

    def page(self, name: str, turn: Turn) -> Page:
        feed = self.feeds[name]
        which = feed if turn.until is None else feed.past
        assert which is not None
        for _ in range(60):
            ask = which.ask(turn)
            assert ask is not None
            try:
                return which.unpack(ask, self.asked(ask), turn)
            except (TransientError, PayloadError):
                continue
        raise AssertionError(name)

    def walk(self, name: str, turn: Turn) -> tuple[list[AnyEvent], Page]:
        """Everything there is from a turn on, and the last page."""
        events: list[AnyEvent] = []
        while True:
            page = self.page(name, turn)
            for record in page.records:
                events += self.provider.normalize[record.feed](record.body)
            turn = msgspec.structs.replace(turn, bookmark=page.bookmark)
            if not page.more:
                return events, page

    def turn(self, since: int | None = None, **more: Any) -> Turn:
        now = moment(self.sim.now() + 1)
        return Turn(now, since=None if since is None else moment(since), **more)


def driven(
    sim: Geotab, since: int, until: int
) -> dict[tuple[str, str], dict[str, Any]]:
    rows = sim.rows(since, until)
    return {(one["provider_vehicle_id"], one["timestamp"]): one for one in rows}


def seen(events: list[AnyEvent]) -> dict[tuple[str, str], Position]:
    fixes = [one for one in events if isinstance(one, Position) and has_fix(one)]
    return {
        (str(one.vehicle), one.at.isoformat(timespec="milliseconds")[:-6] + "Z"): one
        for one in fixes
        if one.at
    }


def latest(events: list[AnyEvent]) -> dict[str, AnyEvent]:
    """The newest revision of each."""
    found: dict[str, AnyEvent] = {}
    for one in events:
        if one.id not in found or (one.revision or 0) >= (found[one.id].revision or 0):
            found[one.id] = one
    return found


def check_track(sim: Geotab, events: list[AnyEvent], since: int, until: int) -> None:
    span = (moment(since), moment(until))  # rows from shortly before may come along
    within = [one for one in events if one.at and span[0] <= one.at < span[1]]
    ours, theirs = seen(within), driven(sim, since, until)
    assert ours.keys() == theirs.keys()
    for key, fix in ours.items():
        row = theirs[key]
        assert (fix.latitude, fix.longitude) == (row["latitude"], row["longitude"])
        assert fix.speed_mph == pytest.approx(row["speed_mph"])


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(
            twice=0.2,
            shuffled=1.0,
            late=0.3,
            late_s=900,
            failing=0.2,
            html=0.1,
            cut=0.1,
            busy=0.2,
        ),
    ],
)
def test_the_track_is_what_was_driven(faults):
    sim = simulator(faults)
    client = Client(sim)

    events, page = client.walk("positions", client.turn(FRIDAY - 3 * DAY))

    check_track(sim, events, FRIDAY - 3 * DAY, NOON + 1)
    assert not page.complete


def test_late_records_come_behind_the_version_when_they_become_known():
    sim = simulator(Faults(late=0.4, late_s=3600), at=NOON - 6 * 3600)
    client = Client(sim)
    events, page = client.walk("positions", client.turn(FRIDAY))
    for hour in range(5, -1, -1):
        sim.clock.set(NOON - hour * 3600)
        more, page = client.walk("positions", client.turn(bookmark=page.bookmark))
        events += more

    check_track(sim, events, FRIDAY, NOON + 1)
    assert len(events) == len({one.id for one in events})
    times = [one.at for one in events]
    assert times != sorted(times)


def test_no_row_comes_twice_or_is_skipped_from_page_to_page():
    sim = simulator(vehicles=150)
    client = Client(sim)

    events, _ = client.walk("positions", client.turn(NOON - 5 * 3600))

    assert len(events) == len({one.id for one in events}) > 5000
    check_track(sim, events, NOON - 5 * 3600, NOON + 1)


def test_the_past_by_vehicle_is_the_same_as_the_feed():
    sim = simulator(Faults(twice=0.1))
    client = Client(sim)
    since, until = FRIDAY - 2 * DAY, FRIDAY
    events: list[AnyEvent] = []
    for vehicle in range(4):
        part = sim.vehicle_id(vehicle)
        turn = client.turn(since, until=moment(until), part=part)
        events += client.walk("positions", turn)[0]

    check_track(sim, events, since, until)


@pytest.mark.parametrize(
    "name", ["trips", "safety", "faults", "duty", "inspections", "assignments"]
)
def test_what_the_feed_told_is_what_the_past_holds(name):
    sim = simulator()
    client = Client(sim)
    since, until = moment(FRIDAY - DAY), moment(FRIDAY)

    live, _ = client.walk(name, client.turn(FRIDAY - 2 * DAY))
    past, _ = client.walk(name, client.turn(FRIDAY - DAY, until=until))

    then = {
        key: tag_of(one)
        for key, one in latest(live).items()
        if one.at and since <= one.at < until
    }
    assert then
    for key in then:
        assert key in latest(past)


def test_the_state_of_a_vehicle_joins_its_track():
    sim = simulator(at=NOON)
    client = Client(sim)
    track, _ = client.walk("positions", client.turn(NOON - DAY))
    states, page = client.walk("status", client.turn())

    known = {one.id: one for one in track}
    assert len(states) == 4
    for one in states:
        assert one.id in known
        whole = merged(known[one.id], one)
        assert whole.heading_degrees is not None
    again, _ = client.walk("status", client.turn(bookmark=page.bookmark))
    assert again == []


def test_engine_readings_say_when_it_ran():
    sim = simulator()
    client = Client(sim)

    events, _ = client.walk("engine", client.turn(FRIDAY))

    kinds = {one.type for one in events}
    assert kinds == {"on", "off", "odometer"}


def test_trips_end_once_and_keep_their_name():
    sim = simulator(at=FRIDAY + DAY - 1)
    client = Client(sim)

    events, _ = client.walk("trips", client.turn(FRIDAY))

    trips = sum(len(sim.truth.trips(n, FRIDAY, FRIDAY + DAY - 400)) for n in range(4))
    ended = [one for one in latest(events).values() if one.ended_at]
    assert len(ended) == trips
    assert len(events) > trips


def test_listings_are_whole():
    sim = simulator(vehicles=20)
    client = Client(sim)

    for name, many in (
        ("vehicles", 20),
        ("drivers", len(sim.truth.people) + 1),
        ("places", len(sim.truth.spots)),
    ):
        events, page = client.walk(name, client.turn())
        assert page.complete
        assert len({one.id for one in events}) == many
    units, _ = client.walk("vehicles", client.turn())
    assert {one.vin for one in units} == {one.vin for one in sim.truth.units}


def test_a_fleet_beyond_the_silent_cap_is_listed_whole():
    sim = simulator(vehicles=5200)
    client = Client(sim)

    events, page = client.walk("vehicles", client.turn())

    assert page.complete
    assert len({one.id for one in events}) == 5200


def test_a_session_that_ends_is_renewed_once_and_nothing_is_lost():
    sim = simulator()
    client = Client(sim)
    for _ in range(SESSION_CALLS + 5):
        client.page("duty", client.turn())

    assert sim.logins == 2


def test_a_database_that_moved_is_gone_on_with_at_its_server():
    client = Client(simulator(), "acme_moved")

    client.page("duty", client.turn())

    assert client.grant is not None
    assert client.grant.host == "localhost:9100"


def test_wrong_credentials_are_said_at_once_and_the_account_is_locked_after_some():
    sim = simulator()
    for _ in range(LOCKED_AFTER):
        with pytest.raises(HeldError, match="acme_haul"):
            Client(sim).login("wrong")

    with pytest.raises(HeldError):
        Client(sim).login("key")
    with pytest.raises(HeldError, match="no such database"):
        Client(sim, "acme").login()


def test_a_database_that_wakes_up_is_waited_for():
    client = Client(simulator(), "acme_waking")
    for _ in range(3):
        with pytest.raises(TransientError):
            client.login()

    client.login()


def test_a_user_without_the_clearance_holds_that_feed_alone():
    client = Client(simulator(), user="limited@acme.test")
    client.login()
    ask = client.feeds["safety"].ask(client.turn())
    assert ask is not None

    with pytest.raises(HeldError) as found:
        client.asked(ask)
    assert found.value.status == 403
    client.page("positions", client.turn())


def test_a_version_from_long_ago_begins_anew():
    client = Client(simulator())
    client.login()
    turn = client.turn(bookmark="00000000000a41c7")
    ask = client.feeds["positions"].ask(turn)
    assert ask is not None

    with pytest.raises(ExpiredError):
        client.asked(ask)


def test_over_its_limit_it_says_so_in_a_200_and_in_a_429():
    sim = simulator()
    sim.limit = 1.0
    client = Client(sim)
    client.login()
    session = client.provider.session
    assert session is not None
    assert client.grant is not None
    ask = client.feeds["positions"].ask(client.turn())
    assert ask is not None
    for _ in range(60):
        client.asked(ask)

    answers = [client.send(session.put(ask, client.grant)) for _ in range(2)]
    for answer in answers:
        judge = client.provider.judge
        assert judge is not None
        with pytest.raises(TransientError) as found:
            judge(ask, answer)
        assert found.value.after == 60
    assert {one.status for one in answers} == {200, 429}
    client.page("status", client.turn())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "JsonSerializerException"), ({"method": "Nope", "params": {}}, "MissingMethodException"),
        ({"method": "Get", "params": {"typeName": "Device"}}, "InvalidUserException"),
    ],
)  # fmt: skip
def test_it_is_as_strict_as_the_vendor(body, kind):
    sim = simulator()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    found = sim.answer(Asked("POST", "/apiv1", {}, {}, raw))

    assert found.status == 200
    assert kind in found.body.decode()


def test_what_is_asked_wrongly_is_an_argument_exception():
    client = Client(simulator())
    client.login()
    for method, params in (
        ("GetFeed", {"typeName": "DeviceStatusInfo", "search": {"fromDate": "2025-11-21T00:00:00Z"}}),
        ("GetFeed", {"typeName": "LogRecord", "fromVersion": "z"}),
        ("GetFeed", {"typeName": "LogRecord", "search": {"toDate": "2025-11-21T00:00:00Z"}}),
        ("Get", {"typeName": "LogRecord", "search": {"fromDate": "2025-11-21T00:00:00Z", "toDate": "2025-11-21T01:00:00Z"}}),
        ("Get", {"typeName": "Trip"}),
        ("Get", {"typeName": "Device", "resultsLimit": "many"}),
    ):  # fmt: skip
        ask = Ask(
            "/apiv1", method="POST", json={"method": method, "params": params, "id": 1}
        )
        with pytest.raises((PayloadError, ExpiredError)):
            client.asked(ask)


def test_poison_is_set_aside_alone():
    fix = Truth(4).fixes(1, FRIDAY, FRIDAY + DAY)[5]
    sim = simulator(Faults(poison={1: [fix.at]}), at=FRIDAY + DAY)
    client = Client(sim)
    page, dead, good = client.page("positions", client.turn(FRIDAY)), [], 0
    for record in page.records:
        try:
            good += len(list(client.provider.normalize["positions"](record.body)))
        except PayloadError as bad:
            dead.append(str(bad))

    assert len(dead) == 1
    assert sim.vehicle_id(1) in dead[0]
    assert "latitude" in dead[0]
    assert good == len(page.records) - 1


def test_a_window_wider_than_a_day_is_walked():
    sim = simulator(vehicles=1)
    client = Client(sim)
    turn = client.turn(FRIDAY - 20 * DAY, until=moment(FRIDAY), part=sim.vehicle_id(0))

    events, _ = client.walk("positions", turn)

    check_track(sim, events, FRIDAY - 20 * DAY, FRIDAY)
