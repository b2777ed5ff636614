"""Geotab polled by a real daemon from its simulator, and what its own keys change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.end_to_end.showing import shows
from tests.end_to_end.tracks import all_of, driven, source, sources_at, track
from tests.harness import Fleetd
from tests.vendors.running import Running

VEHICLES = 12
KEY = "sources.NAME (geotab)."
PANIC = "aVvwIBkjCTk-5tv6s384rUw"
SOURCE = """
[sources.$name]
provider = "geotab"
token = "env:%s"
base_url = "$far"
since = "2d"
database = "%s"
user = "%s"
%s
"""
SERVICE, LIMITED = "fleetd-service@acme.test", "limited@acme.test"
EVERY = (
    "vehicles", "drivers", "places", "positions", "status", "engine", "assignments",
    "trips", "safety", "faults", "duty", "inspections",
)  # fmt: skip
OWN = f'rules = {{ {PANIC} = "Panic button" }}\nfeeds = {list(EVERY)}'
SOURCES = {
    "haul": ("PASSWORD", "acme_moved", SERVICE, OWN),
    "usual": ("PASSWORD", "acme_haul", SERVICE, 'feeds = ["vehicles", "safety"]'),
    "lost": ("PASSWORD", "acme", SERVICE, 'feeds = ["positions"]'),
    "narrow": ("PASSWORD", "acme_haul", LIMITED, 'feeds = ["safety", "vehicles"]'),
    "wrong": ("WRONG", "acme_haul", SERVICE, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def far() -> Iterator[Running]:
    with Running("geotab", vehicles=VEHICLES, key="s3cret-enough") as sim:
        yield sim


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], far: Running) -> Fleetd:
    text = sources_at(far, SOURCE, SOURCES)
    environ = {"PASSWORD": "s3cret-enough", "WRONG": "not-the-password"}
    return make(text, environ=environ).begin()


def test_a_database_that_moved_is_polled_there_and_all_it_drove_is_in_the_log(
    daemon, far
):
    until = int(time.time()) - 60
    since = until - 86_400
    drove = driven(far, since, until)

    daemon.until(
        lambda: len(track(daemon, since, until, "--source", "haul")) >= len(drove),
        "the track",
        90,
    )
    found = track(daemon, since, until, "--source", "haul")

    assert found.keys() == drove.keys()
    for key, row in drove.items():
        for name in ("vin", "fleet_number", "latitude", "longitude"):
            assert found[key][name] == row[name], key
        assert found[key]["speed_mph"] == pytest.approx(row["speed_mph"])
    assert any(one["heading_degrees"] is not None for one in found.values())


def test_every_feed_brings_its_kinds_and_none_is_held(daemon):
    def kinds() -> set[str]:
        return {one["kind"] for one in all_of(daemon, "--source", "haul")}

    every = {"vehicle", "driver", "place", "position", "engine", "duty", "trip", "safety",
             "inspection"}  # fmt: skip
    daemon.until(lambda: kinds() >= every, "every kind", 90)

    feeds = source(daemon, "haul")["feeds"]
    assert set(feeds) == set(EVERY)
    assert {name for name, one in feeds.items() if one["state"] == "held"} == set()
    assert source(daemon, "haul")["dead"] == 0


@shows(f"{KEY}rules")
def test_a_rule_of_ones_own_is_told_by_its_name(daemon):
    def texts(name: str) -> set[str]:
        found = all_of(daemon, "--source", name, "--kind", "safety")
        return {one["data"]["text"] for one in found}

    daemon.until(lambda: "Panic button" in texts("haul"), "a rule by name", 90)
    daemon.until(lambda: PANIC in texts("usual"), "the same by its id", 90)

    assert PANIC not in texts("haul")
    assert "Panic button" not in texts("usual")


@shows(f"{KEY}database")
def test_a_database_that_nobody_knows_holds_its_source_alone(daemon):
    daemon.until(lambda: source(daemon, "lost")["state"] == "held", "to be held")

    assert "no such database" in source(daemon, "lost")["why"]
    assert source(daemon, "usual")["state"] != "held"


@shows(f"{KEY}user")
def test_a_user_who_may_not_see_exceptions_holds_that_feed_alone(daemon):
    def feeds() -> Any:
        return source(daemon, "narrow")["feeds"]

    daemon.until(lambda: feeds()["safety"]["state"] == "held", "the feed to be held")

    assert "clearance" in feeds()["safety"]["why"]
    assert feeds()["vehicles"]["state"] != "held"
    assert (
        len(
            {
                one["id"]
                for one in all_of(daemon, "--source", "narrow", "--kind", "vehicle")
            }
        )
        == VEHICLES
    )


def test_a_wrong_password_is_tried_once_for_all_its_feeds(daemon, far):
    daemon.until(lambda: source(daemon, "wrong")["state"] == "held", "to be held")

    assert "refused the login" in source(daemon, "wrong")["why"]
    daemon.kill()
    daemon.begin()
    daemon.until(lambda: source(daemon, "wrong")["state"] == "held", "to be held again")
    assert far.counts()["logins"] <= 5  # one a source; a restart costs none
    assert "not-the-password" not in daemon.told(1 << 20)


def test_a_user_that_was_corrected_is_let_in_at_once(make, far):
    text = SOURCE % (
        "PASSWORD",
        "acme_haul",
        "nobody@acme.test",
        'feeds = ["vehicles"]',
    )
    text = text.replace("$name", "north").replace("$far", far.url)
    daemon = make(text, environ={"PASSWORD": "s3cret-enough"}).begin()
    daemon.until(lambda: source(daemon, "north")["state"] == "held", "to be held")

    daemon.stop()
    daemon.configure(text.replace("nobody@acme.test", SERVICE))
    daemon.begin()
    daemon.until(lambda: all_of(daemon, "--kind", "vehicle"), "the vehicles")

    assert source(daemon, "north")["state"] != "held"


def test_nothing_went_over_a_limit_and_the_ledger_balances(daemon, far):
    told = far.counts()

    assert told["over"] == 0
    assert daemon.run("ledger", "--since", "2d", code=None).returncode in (0, 3)
