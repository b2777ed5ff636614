"""The simulators' base: what was driven, how it is served, what goes wrong, what is counted."""

from __future__ import annotations

import json
import socket
from collections import Counter
from itertools import pairwise

import httpx
import pytest
import trio

from fleetd.event import vin_of
from tests.vendors.base import COLUMNS, Asked, Clock, Faults, Reply, Tier, Truth
from tests.vendors.example import Example
from tests.vendors.limits import Limiter
from tests.vendors.pushing import push
from tests.vendors.running import Running
from tests.vendors.server import serve
from tests.vendors.truth import DAY, moment

FRIDAY = 1_763_683_200  # 2025-11-21T00:00:00Z
NOON = FRIDAY + DAY // 2
KEY = {"authorization": "Token key"}


def example(
    faults: Faults | None = None, vehicles: int = 5, at: int = NOON, **more
) -> Example:
    still = Clock(moment(at), steady=lambda: 0.0)
    return Example(Truth(vehicles), faults or Faults(), still, **more)


def ask(sim: Example, path: str, key: str = "key", **query: object) -> Reply:
    params = {name: [str(one)] for name, one in query.items()}
    return sim.answer(Asked("GET", path, params, {"authorization": f"Token {key}"}))


def walked(sim: Example, since: int) -> list[dict]:
    """Everything the feed has, asked for as a patient client would."""
    found, cursor, more = [], str(since), True
    while more:
        answer = ask(sim, "/v1/fixes", after=cursor)
        try:
            page = json.loads(answer.body)
            found += page["fixes"]
        except (ValueError, KeyError):
            continue
        cursor, more = page["next"], page["more"]
    return found


# what was driven


@pytest.mark.parametrize("every", [10, 60, 300])
def test_any_window_holds_what_the_whole_holds_of_it(every):
    truth = Truth(7, every=every)
    for vehicle in range(7):
        whole = truth.fixes(vehicle, FRIDAY, FRIDAY + 2 * DAY)
        parts = [
            fix
            for at in range(FRIDAY, FRIDAY + 2 * DAY, 5000)
            for fix in truth.fixes(vehicle, at, min(at + 5000, FRIDAY + 2 * DAY))
        ]

        assert parts == whole
        assert len({fix.at for fix in whole}) == len(whole) > 50


def test_the_same_seed_drives_the_same_and_another_does_not():
    one, two, other = Truth(3, 5), Truth(3, 5), Truth(3, 6)

    assert one.fixes(1, FRIDAY, FRIDAY + DAY) == two.fixes(1, FRIDAY, FRIDAY + DAY)
    assert one.fixes(1, FRIDAY, FRIDAY + DAY) != other.fixes(1, FRIDAY, FRIDAY + DAY)


def test_with_one_pace_every_day_has_the_same_number_of_fixes():
    truth = Truth(20, every=300, parked=300)

    for vehicle in range(20):
        assert len(truth.fixes(vehicle, FRIDAY, FRIDAY + 3 * DAY)) == 3 * 288


def test_odometers_count_what_was_driven_over_weeks():
    truth = Truth(4)
    for vehicle in range(4):
        drives = truth.trips(vehicle, FRIDAY - 20 * DAY, FRIDAY + 20 * DAY)
        for one, two in pairwise(drives):
            assert abs(one.odometer_m + one.metres - two.odometer_m) <= 2
        for one, two in pairwise(truth.fixes(vehicle, FRIDAY, FRIDAY + 8 * DAY)):
            assert two.odometer_m >= one.odometer_m
            assert abs(two.lat - one.lat) < 0.03 or two.at - one.at > 60


def test_speed_heading_and_engine_agree_with_what_happens():
    truth = Truth(9)
    fixes = [fix for v in range(9) for fix in truth.fixes(v, FRIDAY, FRIDAY + DAY)]

    assert {fix.engine for fix in fixes} == {"On", "Idle", "Off"}
    assert all(0 <= fix.heading < 360 for fix in fixes)
    assert all(fix.kph == 0 for fix in fixes if fix.why != "moving")
    assert 60 < max(fix.kph for fix in fixes) < 90


def test_nobody_drives_two_vehicles_at_once():
    truth = Truth(25)
    spans: dict[int, list] = {}
    for vehicle in range(25):
        for one in truth.assignments(vehicle, FRIDAY, FRIDAY + 5 * DAY):
            spans.setdefault(one.driver, []).append(one)
            half = (one.start + one.end) // 2
            assert truth.driver(vehicle, half) == one.driver
    for mine in spans.values():
        mine.sort(key=lambda one: one.start)
        assert all(a.end <= b.start for a, b in pairwise(mine))
    assert any(len({one.vehicle for one in mine}) > 1 for mine in spans.values())


def test_what_has_not_happened_yet_is_not_told():
    truth, now = Truth(25), NOON
    for vehicle in range(25):
        for what in (truth.trips, truth.assignments, truth.idlings, truth.visits):
            whole = what(vehicle, FRIDAY, FRIDAY + DAY)
            told = what(vehicle, FRIDAY, FRIDAY + DAY, now)
            assert [one.id for one in told] == [
                one.id for one in whole if one.start <= now
            ]
            assert all(one.end is None or one.end <= now for one in told)
        for drive in truth.harsh(vehicle, FRIDAY, FRIDAY + DAY, now):
            assert drive.end <= now


def test_a_fleet_has_proper_names():
    truth = Truth(300)

    assert all(vin_of(one.vin) == one.vin for one in truth.units)
    assert len({one.vin for one in truth.units}) == 300
    assert len({one.number for one in truth.units}) == 300
    assert len({one.username for one in truth.people}) == len(truth.people)


# how it is served


def test_what_is_served_is_what_was_driven():
    sim = example()
    served = {(one["vehicle"], one["time"]) for one in walked(sim, FRIDAY)}
    driven = {
        (row["provider_vehicle_id"], row["timestamp"].replace(".000", ""))
        for row in sim.rows(FRIDAY, NOON + 1)
    }

    assert served == driven
    assert len(driven) > 500


def test_rows_hold_what_the_vendor_carries_and_no_more():
    row = next(example().rows(FRIDAY, NOON))

    assert set(row) == COLUMNS
    assert row["provider"] == "example"
    assert row["location_description"] is row["driver_id"] is None


def test_late_records_come_later_and_once():
    sim = example(Faults(late=0.3, late_s=1800))
    seen: Counter = Counter()
    early = {(one["vehicle"], one["time"]) for one in walked(sim, FRIDAY)}
    sim.clock.set(NOON + 3 * 3600)
    since = FRIDAY
    for one in walked(sim, since):
        seen[one["vehicle"], one["time"]] += 1
    driven = {
        (row["provider_vehicle_id"], row["timestamp"].replace(".000", ""))
        for row in sim.rows(FRIDAY, NOON)
    }

    assert early < set(seen)
    assert driven <= set(seen)
    assert set(seen.values()) == {1}


def test_a_page_may_bring_records_twice_and_out_of_order():
    plain, mixed = example(), example(Faults(twice=0.2, shuffled=0.5))
    one, two = walked(plain, FRIDAY), walked(mixed, FRIDAY)

    assert len(two) > len(one)
    assert {json.dumps(x) for x in one} == {json.dumps(x) for x in two}


def test_a_poisoned_fix_cannot_be_read_and_is_no_truth():
    at = Truth(5).fixes(2, FRIDAY, NOON)[10].at
    sim = example(Faults(poison={2: [at]}))

    assert [x["vehicle"] for x in walked(sim, FRIDAY) if x["lat"] == "north"] == ["2"]
    assert (
        len(list(sim.rows(FRIDAY, NOON))) == len(list(example().rows(FRIDAY, NOON))) - 1
    )


def test_a_listing_may_shrink():
    whole, some = example(vehicles=80), example(Faults(missing=0.2), vehicles=80)
    many = len(json.loads(ask(some, "/v1/vehicles").body)["vehicles"])

    assert len(json.loads(ask(whole, "/v1/vehicles").body)["vehicles"]) == 80
    assert 50 < many < 78
    assert len(json.loads(ask(some, "/v1/vehicles").body)["vehicles"]) == many


def test_a_wrong_key_is_refused_before_anything_else():
    sim = example(Faults(failing=1.0))

    assert ask(sim, "/v1/vehicles", key="wrong").status == 401


def test_every_fault_comes_in_its_share():
    knobs = {
        "busy": 0.1,
        "failing": 0.1,
        "html": 0.1,
        "cut": 0.1,
        "reset": 0.1,
        "slow": 0.1,
    }
    sim = example(Faults(**knobs), limit=1000)
    answers = [ask(sim, "/v1/vehicles") for _ in range(1000)]
    kinds = Counter(kind_of(one) for one in answers)

    assert set(kinds) == {*knobs, "good"}
    assert all(60 < kinds[name] < 140 for name in knobs)
    assert sim.limiter.over() == 0


def kind_of(answer: Reply) -> str:
    if answer.status == 429:
        assert 0 < float(answer.headers["retry-after"]) < 1
        return "busy"
    if answer.status >= 500:
        return "failing"
    if answer.broken:
        return "reset"
    if answer.body.startswith(b"<"):
        return "html"
    if answer.wait:
        return "slow"
    return "good" if answer.body.endswith(b"}") else "cut"


def test_a_page_fails_so_many_times_and_then_no_more():
    sim = example(Faults(fails={r"^/v1/vehicles\?page=2": 3}), limit=10)
    said = [ask(sim, "/v1/vehicles", page=2).status for _ in range(5)]

    assert [one >= 500 for one in said] == [True, True, True, False, False]
    assert ask(sim, "/v1/vehicles", page=1).status == 200


def test_an_outage_lasts_from_then_to_then():
    sim = example(Faults(outages=[(NOON - 60, NOON + 60)]))
    during = ask(sim, "/v1/vehicles")
    sim.clock.set(NOON + 60)

    assert (during.status, during.broken) == (0, True)
    assert ask(sim, "/v1/vehicles").status == 200


def test_limits_hold_within_every_window_and_remember_what_was_over():
    limiter, tier = Limiter(), [Tier("all", 10, 1.0), Tier("some", 4, 2.0)]
    said = [limiter.ask("key", tier, at / 8) for at in range(40)]

    assert said[:5] == [0, 0, 0, 0, pytest.approx(1.5)]
    assert sum(not one for one in said) == 12
    assert limiter.over() == 28 - 2 * 2  # the last of each wait might be jitter
    told = {one["tier"]: one for one in limiter.told()}
    assert (told["all"]["taken"], told["all"]["refused"]) == (12, 0)
    assert told["some"]["most"] == 16


def test_only_a_window_counts_and_each_credential_has_its_own():
    limiter, tier = Limiter(), [Tier("all", 2)]
    first = [limiter.ask("one", tier, at) for at in (0.0, 0.5, 0.9, 1.0, 1.1)]

    assert [bool(one) for one in first] == [False, False, True, False, True]
    assert limiter.ask("two", tier, 1.1) == 0


# over a socket


async def test_faults_over_a_socket_look_like_faults(nursery):
    sim = example()
    port = await nursery.start(serve, sim)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=KEY
    ) as http:
        good = await http.get("/v1/vehicles")
        await http.post("/_sim/faults", json={"reset": 1.0})
        with pytest.raises(httpx.HTTPError):
            await http.get("/v1/vehicles")
        await http.post("/_sim/faults", json={"reset": 0.0, "outages": [[0, 9e9]]})
        with pytest.raises(httpx.HTTPError):
            await http.get("/v1/vehicles")
        await http.post("/_sim/faults", json={"outages": []})
        again = await http.get("/v1/vehicles")

    assert good.json() == again.json()
    assert len(good.json()["vehicles"]) == 5


async def test_a_connection_serves_many_requests_and_big_pages(nursery):
    sim = example(vehicles=200, limit=1000)
    port = await nursery.start(serve, sim)
    line = (
        b"GET /v1/fixes?after=%d HTTP/1.1\r\nauthorization: Token key\r\n\r\n" % FRIDAY
    )
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(line * 3)
        found = b""
        while found.count(b'"more"') < 3:
            found += await stream.receive_some(1 << 20)

    assert found.count(b"HTTP/1.1 200 OK") == 3


async def test_a_day_is_pushed_signed_and_tried_again(nursery):
    sim, seen = example(at=FRIDAY + 6 * 3600, secret="s3cret"), []
    told_off = iter([500, 503])

    async def answer(stream):
        async with stream:
            got = b""
            while b"\r\n\r\n" not in got:
                got += await stream.receive_some(65536)
            head, _, body = got.partition(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            while len(body) < size:
                body += await stream.receive_some(65536)
            status = next(told_off, 200)
            if status == 200:
                seen.append((head, body))
            await stream.send_all(
                b"HTTP/1.1 %d x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                % status
            )

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, listeners)
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/hook"
    told = await push(sim, url, since=FRIDAY, until=FRIDAY + 6 * 3600, at_once=True)

    assert told.taken == len(seen) == len(sim.sendings(FRIDAY, FRIDAY + 6 * 3600))
    assert told.sent == told.taken + 2
    assert told.lost == []
    for head, body in seen:
        assert sim.sign(body, "s3cret")["x-example"].encode() in head


def test_it_runs_alone_and_is_steered_from_outside():
    with Running(
        "example", vehicles=3, start="2025-11-21T12:00:00", speed=0.001
    ) as sim:
        rows = sim.truth(FRIDAY, NOON)
        asked = httpx.get(f"{sim.url}/v1/vehicles", headers=KEY)
        sim.faults(failing=1.0)
        failed = httpx.get(f"{sim.url}/v1/vehicles", headers=KEY)
        sim.clock(at=NOON + 3600)

        assert len(rows) == len(list(example(vehicles=3).rows(FRIDAY, NOON)))
        assert len(asked.json()["vehicles"]) == 3
        assert failed.status_code >= 500
        assert len(sim.truth(FRIDAY, NOON + 3600)) > len(rows)
        assert sim.counts()["requests"]["GET /v1/vehicles 200"] == 1
        port = sim.port
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", port), 5),
    ):
        pass
