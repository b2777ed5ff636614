"""Motive polled by a real daemon from its simulator, beside what it pushes."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetd.providers.motive import PROVIDER
from tests.harness import Fleetd, by_motive
from tests.vendors.base import COLUMNS, DAY, Clock, Truth
from tests.vendors.motive import Motive
from tests.vendors.running import Running
from tests.vendors.truth import Fix, zulu

VEHICLES = 10
SECRET = "twenty-characters-xx"
CONFIG = """
[sources.south]
provider = "motive"
token = "env:TOKEN"
webhook_secret = "env:SECRET"
base_url = "$far"
since = "1d"
"""
HOUR = 3600


@pytest.fixture(scope="module")
def began() -> int:
    """When these tests began, which may be long after they were collected."""
    return int(time.time())


@pytest.fixture(scope="module")
def far(began: int) -> Iterator[Running]:
    with Running("motive", vehicles=VEHICLES, seed=8, secret=SECRET) as sim:
        yield sim


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], far: Running) -> Fleetd:
    environ = {"TOKEN": "key", "SECRET": SECRET}
    one = make(CONFIG, environ=environ, far=far.url).begin()
    one.until(lambda: not still(one), "every feed", within=90)
    return one


def still(daemon: Fleetd) -> list[str]:
    """The feeds that were not read yet."""
    feeds = daemon.status()["sources"]["south"]["feeds"]
    return [
        feed.name
        for feed in PROVIDER.feeds
        if not (read := feeds.get(feed.name, {})).get("last_success_at")
        and not (feed.parts and read.get("records"))
    ]


def row(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event["data"][name] for name in COLUMNS}


def positions(daemon: Fleetd) -> dict[tuple[str, str], dict[str, Any]]:
    found = daemon.events("--kind", "position", "-n", "100000")
    return {(one["vehicle"]["id"], one["at"]): one for one in found}


def test_everything_that_was_driven_is_there_to_the_last_digit(daemon, far, began):
    truth = far.truth(began - DAY + 300, began)
    whole = {(one["provider_vehicle_id"], one["timestamp"]): one for one in truth}
    daemon.until(
        lambda: whole.keys() <= positions(daemon).keys(), "every fix", within=60
    )
    found = positions(daemon)

    assert len(whole) > 500
    for key, said in whole.items():
        told = row(found[key])
        assert {name: told[name] for name in COLUMNS} == {
            name: pytest.approx(said[name], abs=1e-9)
            if isinstance(said[name], float)
            else said[name]
            for name in COLUMNS
        }


def test_every_kind_arrives_and_nothing_dies(daemon, far):
    kinds = {one["kind"] for one in daemon.events("-n", "100000")}
    south = daemon.status()["sources"]["south"]

    assert kinds >= {
        "vehicle", "driver", "place", "position", "trip", "engine", "duty", "geofence",
        "inspection",
    }  # fmt: skip
    assert south["dead"] == 0
    assert far.counts()["over"] == 0


def busiest(truth: Truth, began: int) -> int:
    """Since when most was driven within two hours, of a day that may be a quiet one."""
    starts = range(began - 20 * HOUR, began - 4 * HOUR, HOUR)
    return max(starts, key=lambda at: len(driven(truth, at, at + 2 * HOUR)))


def driven(truth: Truth, since: int, until: int) -> list[Fix]:
    return [
        fix
        for vehicle in range(VEHICLES)
        for fix in truth.fixes(vehicle, since, until)
        if fix.driver is not None
    ]


def test_what_is_pushed_late_meets_what_was_polled(daemon, began):
    twin = Motive(Truth(VEHICLES, 8), clock=Clock(), secret=SECRET)
    since = busiest(twin.truth, began)
    said = {"stored": 0, "duplicate": 0, "filtered": 0, "dead": 0}
    for sending in twin.sendings(since, since + 2 * HOUR):
        if b"engine_toggle_event" in sending.body:
            continue  # pushed alone
        headers = by_motive(sending.body, SECRET)
        answer = daemon.post("south", sending.body, headers)
        assert answer.status == 200
        for key, n in answer.json().items():
            said[key] += n

    assert said["dead"] == said["filtered"] == 0
    assert said["duplicate"] > 50
    stored = [
        one
        for one in daemon.events("-n", "100000")
        if one["origin"] == "push" and one["kind"] == "position"
    ]
    assert stored == []


def test_what_was_pushed_first_is_filled_by_what_is_polled_later(make, far, began):
    twin = Motive(Truth(VEHICLES, 8), clock=Clock(), secret=SECRET)
    since = busiest(twin.truth, began)
    fixes = driven(twin.truth, since, since + 2 * HOUR)
    only_pushed = CONFIG.replace('token = "env:TOKEN"\n', "").replace(
        'since = "1d"\n', ""
    )
    only_pushed = only_pushed.replace('base_url = "$far"\n', "")
    environ = {"TOKEN": "key", "SECRET": SECRET}
    one = make(only_pushed, environ=environ).begin()
    for fix in fixes:
        body = twin.push_fix(fix).body
        assert one.post("south", body, by_motive(body, SECRET)).status == 200
    bare = [found["driver"]["id"] for found in positions(one).values()]
    one.stop()
    one.configure(CONFIG, far=far.url)
    one.begin()

    def drivers() -> set[str | None]:
        found = positions(one)
        keys = [(twin.vehicle_id(fix.vehicle), zulu(fix.at, ms=True)) for fix in fixes]
        return {found[key]["driver"]["id"] for key in keys}

    one.until(lambda: None not in drivers(), "drivers", within=60)
    assert len(bare) == len(fixes) > 20
    assert set(bare) == {None}
    assert drivers() == {twin.driver_id(fix.driver) for fix in fixes}


def test_what_could_not_be_pushed_is_fetched_from_the_log_of_deliveries(make):
    """The daemon was away while it was pushed to."""
    begun, pace = int(time.time()), {"vehicles": 3, "every": 5, "parked": 5}
    one = make(environ={"TOKEN": "key", "SECRET": SECRET})
    url = f"http://127.0.0.1:{one.port}/webhooks/south"
    with Running("motive", push=url, limit=20, secret=SECRET, **pace) as sim:
        feeds = 'feeds = ["vehicles", "deliveries"]\n'
        one.configure(CONFIG.replace('"1d"', '"1h"') + feeds, far=sim.url)
        one.until(lambda: sim.counts()["now"] > begun and logged(sim), "lost pushes")
        one.begin()
        one.until(lambda: positions(one), "what was pushed meanwhile", within=60)

        assert SECRET not in json.dumps(one.events())
        polled = {n for n, found in positions(one).items() if found["origin"] == "poll"}
        assert len({vehicle for vehicle, _ in polled}) == 3


def logged(sim: Running) -> bool:
    """Whether a push of every vehicle is in the log by now."""
    door = urllib.request.Request(
        f"{sim.url}/v1/company_webhook_requests", headers={"X-Api-Key": "key"}
    )
    with urllib.request.urlopen(door, timeout=10) as answer:
        return json.load(answer)["pagination"]["total"] >= 4


def test_a_backfill_brings_an_older_day(daemon, began):
    first = datetime.fromtimestamp(began - 4 * DAY, UTC).date().isoformat()
    last = datetime.fromtimestamp(began - 3 * DAY, UTC).date().isoformat()
    done = daemon.run(
        "backfill", "south", "positions", "--since", f"{first}T00:00:00Z",
        "--until", f"{last}T00:00:00Z",
    )  # fmt: skip
    twin = Truth(VEHICLES, 8)
    since = int(datetime.fromisoformat(f"{first}T00:00:00+00:00").timestamp())
    many = sum(len(twin.fixes(n, since, since + DAY)) for n in range(VEHICLES))

    def brought() -> int:
        return sum(one["at"].startswith(first) for one in positions(daemon).values())

    daemon.until(
        lambda: brought() == many, f"{many} fixes of {first}: {done.stdout}", within=60
    )


def test_check_says_what_is_wrong_with_a_key(make, far):
    said = {}
    for key in ("key", "wrong", "key-without-vehicles"):
        one = make(CONFIG, environ={"TOKEN": key, "SECRET": SECRET}, far=far.url)
        done = one.run("check", "--live", code=None)
        said[key] = " ".join((done.stdout + done.stderr).split())

    assert "PRAIRIE LINE LLC" in said["key"]
    assert "Motive refused the token (401 on /v1/companies)" in said["wrong"]
    assert "vehicles needs vehicles.read" in said["key-without-vehicles"]
