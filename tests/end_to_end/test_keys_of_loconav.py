"""LocoNav polled and pushed by its simulator, and what its own keys change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.end_to_end.showing import shows
from tests.harness import Fleetd
from tests.vendors.base import Truth
from tests.vendors.loconav import LocoNav
from tests.vendors.running import Running

VEHICLES = 30
KEY = "sources.NAME (loconav)."
CONFIG = """
[sources.lagos]
provider = "loconav"
token = "env:TOKEN"
base_url = "$far/integration/api/v1"
auth = { key = "env:KEY" }
since = "1d"
zone = "Africa/Lagos"
per_page = 10
per_minute = 500
odometer = true

[sources.usual]
provider = "loconav"
token = "env:TOKEN"
base_url = "$other/integration/api/v1"
feeds = ["vehicles", "positions"]
auth = { key = "env:KEY" }
"""
FEEDS = {
    "vehicles",
    "drivers",
    "places",
    "positions",
    "alerts",
    "late_alerts",
    "trips",
}


class Lagos(LocoNav):
    """One that pushes times of its place."""

    zone = "Africa/Lagos"


@pytest.fixture(scope="module")
def far() -> Iterator[Running]:
    with Running("loconav", vehicles=VEHICLES, limit=25) as sim:
        yield sim


@pytest.fixture(scope="module")
def other() -> Iterator[Running]:
    with Running("loconav", vehicles=VEHICLES, limit=25) as sim:
        yield sim


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], far: Running, other: Running) -> Fleetd:
    environ = {"TOKEN": "key", "KEY": "an-unguessable-path"}
    return make(CONFIG, environ=environ, far=far.url, other=other.url).begin()


def asked(sim: Running, path: str = "") -> int:
    """How many requests came for a path."""
    return sum(many for name, many in sim.counts()["requests"].items() if path in name)


def fixes(daemon: Fleetd, source: str) -> dict[str, dict[str, Any]]:
    found = daemon.events("--source", source, "--kind", "position")
    return {one["id"]: one for one in found}


def all_there(daemon: Fleetd, source: str) -> bool:
    seen = {one["vehicle"]["id"] for one in fixes(daemon, source).values()}
    return len(seen - {"KJA001XA"}) == VEHICLES


@shows(f"{KEY}per_page", f"{KEY}per_minute")
def test_pages_and_pace_are_as_it_says(daemon, far, other):
    daemon.until(lambda: asked(far) >= 15, "fifteen requests")
    few = asked(other)
    daemon.until(lambda: asked(other, "last_known"), "the slower one")

    assert few < 8
    assert asked(far, "/vehicles 200") == 3
    assert asked(other, "/vehicles 200") == 1
    assert far.counts()["over"] == other.counts()["over"] == 0


@shows(f"{KEY}odometer")
def test_the_odometer_is_asked_for_where_it_says(daemon):
    for source in ("lagos", "usual"):
        daemon.until(lambda one=source: all_there(daemon, one), f"fixes of {source}")

    with_it, without = (
        {one["data"]["odometer"] is None for one in fixes(daemon, source).values()}
        for source in ("lagos", "usual")
    )
    assert (with_it, without) == ({False}, {True})


@shows(f"{KEY}zone")
def test_a_time_without_an_offset_is_local_to_its_zone(daemon):
    body = {
        "imei": "0350000000000042", "vehiclenumber": "KJA001XA", "speed": 34.0,
        "gpstime": "02-03-2026 10:14:05", "ignition": "1", "latitude": 6.4474,
        "longitude": 3.3903, "orientation": 360.0,
    }  # fmt: skip
    for source in ("lagos", "usual"):
        answer = daemon.post(f"{source}/an-unguessable-path", json.dumps(body).encode())
        assert answer.json() == {"stored": 1, "duplicate": 0, "filtered": 0, "dead": 0}
    (lagos,), (usual,) = (
        daemon.events("--source", source, "--vehicle", "KJA001XA")
        for source in ("lagos", "usual")
    )

    assert at(usual) - at(lagos) == timedelta(hours=1)
    assert (lagos["flags"], usual["flags"]) == ([], ["zone_assumed"])


def at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["at"])


def test_without_the_key_nobody_pushes(daemon):
    assert daemon.post("lagos", b"{}").status == 401
    assert daemon.post("lagos/another-path", b"{}").status == 401


def test_a_secret_is_refused_with_what_to_give_instead(make):
    one = make('[sources.x]\nprovider = "loconav"\nwebhook_secret = "env:KEY"\n',
               environ={"KEY": "anything"})  # fmt: skip

    done = one.run("check", code=78)
    assert "auth" in done.stdout + done.stderr


def test_every_feed_arrives_and_what_is_pushed_meets_what_is_polled(daemon, far):
    def read() -> bool:
        feeds = daemon.status()["sources"]["lagos"]["feeds"]
        return all(feeds[name]["last_success_at"] for name in FEEDS)

    daemon.until(read, "every feed")
    daemon.until(lambda: all_there(daemon, "lagos"), "every fix")
    polled = [one for one in fixes(daemon, "lagos").values() if one["origin"] == "poll"]
    twin = Lagos(Truth(VEHICLES))
    known = {twin.vehicle_id(n): n for n in range(VEHICLES)}
    for one in polled:
        when = int(at(one).timestamp())
        (fix,) = twin.truth.fixes(known[one["vehicle"]["id"]], when, when + 1)
        sent = daemon.post("lagos/an-unguessable-path", twin.push_fix(fix).body)
        assert sent.json()["duplicate"] == 1

    kinds = {one["kind"] for one in daemon.events("--source", "lagos")}
    assert kinds >= {
        "vehicle",
        "driver",
        "place",
        "safety",
        "engine",
        "geofence",
        "trip",
    }
    assert len({one["vehicle"]["vin"] for one in polled} - {None}) > VEHICLES / 2
    assert daemon.status()["sources"]["lagos"]["dead"] == 0
    assert daemon.run("ledger", "--since", "2d", code=None).returncode in {0, 3}
