"""Samsara polled by a real daemon from its simulator, and what its own key changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import trio

from tests.end_to_end.showing import shows
from tests.end_to_end.tracks import all_of, driven, source, sources_at, track
from tests.harness import Fleetd
from tests.vendors.base import COLUMNS, Truth
from tests.vendors.pushing import push
from tests.vendors.running import Running
from tests.vendors.samsara import SECRET, Samsara
from tests.vendors.samsara_told import PANIC, SPEED

VEHICLES = 12
KEY = "sources.NAME (samsara)."
SOURCE = """
[sources.$name]
provider = "samsara"
token = "env:%s"
base_url = "$far"
since = "1d"
%s
"""
ALERTS = f'alert_configurations = ["{PANIC}", "{SPEED}"]'
SOURCES = {
    "north": ("TOKEN", f'{ALERTS}\nwebhook_secret = "env:SECRET"'),
    "usual": ("TOKEN", 'feeds = ["vehicles", "safety", "trips"]'),
    "narrow": ("NARROW", 'feeds = ["vehicles", "drivers"]'),
    "wrong": ("WRONG", 'feeds = ["vehicles"]\nwebhook_secret = "env:SECRET"'),
    "west": ("TOKEN", 'feeds = ["vehicles", "trips"]\ntags = ["west"]'),
    "east": ("TOKEN", 'feeds = ["vehicles", "trips"]\ntags = ["3915"]'),
    "theirs": ("TOKEN", 'feeds = ["vehicles"]\norg = "Somebody Else"'),
    "ours": ("TOKEN", 'feeds = ["vehicles"]\norg = "delta basin haulage"'),
}
TOKENS = {"TOKEN": "key-of-the-fleet", "NARROW": "key-of-the-fleet-narrow"}


@pytest.fixture(scope="module")
def far() -> Iterator[Running]:
    wishes = {"vehicles": VEHICLES, "key": TOKENS["TOKEN"], "faults": "light"}
    with Running("samsara", **wishes) as sim:
        yield sim


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], far: Running) -> Fleetd:
    text = sources_at(far, SOURCE, SOURCES)
    environ = {**TOKENS, "WRONG": "key-of-nobody", "SECRET": SECRET}
    return make(text, environ=environ).begin()


def test_all_that_was_driven_in_a_day_is_in_the_log_to_the_last_digit(daemon, far):
    until = int(time.time()) - 60
    since = until - 86_000
    drove = driven(far, since, until)

    daemon.until(
        lambda: len(track(daemon, since, until, "--source", "north")) >= len(drove),
        "the track",
        90,
    )
    found = track(daemon, since, until, "--source", "north")

    assert found.keys() == drove.keys()
    for key, row in drove.items():
        for name in Samsara.carries & COLUMNS:
            assert found[key][name] == row[name], (key, name)


def test_every_feed_brings_its_kinds_and_none_is_held(daemon):
    def kinds() -> set[str]:
        return {one["kind"] for one in all_of(daemon, "--source", "north")}

    every = {"vehicle", "driver", "place", "position", "engine", "duty", "trip",
             "safety", "inspection", "fault"}  # fmt: skip
    daemon.until(lambda: kinds() >= every, "every kind", 90)

    feeds = source(daemon, "north")["feeds"]
    held = {name: one for name, one in feeds.items() if one["state"] == "held"}
    assert held == {}
    assert source(daemon, "north")["dead"] == 0


def test_drivers_of_both_statuses_are_in_the_directory(daemon):
    def people() -> list[dict[str, Any]]:
        return all_of(daemon, "--source", "north", "--kind", "driver")

    many = len(Truth(VEHICLES).people)
    daemon.until(lambda: len(people()) >= many, "every driver", 60)

    states = {one["data"]["state"] for one in people()}
    assert states == {"active", "deactivated"}
    assert len({one["id"] for one in people()}) == many


@shows(f"{KEY}alert_configurations")
def test_incidents_are_polled_of_the_alerts_that_are_named(daemon):
    daemon.until(
        lambda: source(daemon, "north")["feeds"]["incidents"]["last_success_at"],
        "the incidents",
        60,
    )

    assert "incidents" not in source(daemon, "usual")["feeds"]


def test_what_is_pushed_and_polled_is_one_event(daemon):
    until = int(time.time()) - 60
    sim, told = Samsara(Truth(VEHICLES), secret=SECRET), []
    url = f"http://127.0.0.1:{daemon.port}/webhooks/north"
    day = {"since": until - 80_000, "until": until, "at_once": True, "patience": 60}
    thread = threading.Thread(
        target=lambda: told.append(trio.run(partial(push, sim, url, **day)))
    )
    thread.start()
    thread.join(90)

    assert told
    assert told[0].lost == []
    found = all_of(daemon, "--source", "north", "--kind", "inspection")
    safe = {  # a push that names a vehicle not yet known fills that in: a ms newer
        (one["id"], one["revision"] // 1000)
        for one in found
        if one["data"]["status"] == "safe"
    }
    assert len(safe) == len({one for one, _ in safe}) > 0
    ids = {str(one.id) for n in range(VEHICLES)
           for one in sim.truth.inspections(n, until - 79_000, until - 60)}  # fmt: skip
    assert ids <= {one["id"] for one in found}
    assert source(daemon, "north")["dead"] == 0


def test_a_token_without_a_scope_holds_that_feed_alone(daemon):
    def feeds() -> Any:
        return source(daemon, "narrow")["feeds"]

    daemon.until(lambda: feeds()["drivers"]["state"] == "held", "the feed to be held")

    assert "Read Drivers" in feeds()["drivers"]["why"]
    assert feeds()["vehicles"]["state"] != "held"


def test_a_wrong_token_holds_the_polling_and_says_where_else_to_look(daemon):
    daemon.until(lambda: source(daemon, "wrong")["state"] == "held", "to be held")
    why = source(daemon, "wrong")["why"]

    assert "Samsara refused the token (401" in why
    assert "https://api.eu.samsara.com" in why
    assert "https://api.ca.samsara.com" in why
    assert "Webhooks still arrive. Fix sources.wrong.token." in why
    assert "key-of-nobody" not in daemon.told(1 << 20)


@pytest.mark.parametrize(("name", "half"), [("west", 0), ("east", 1)])
def test_a_tag_narrows_a_source_by_its_name_or_its_id(daemon, name, half):
    def seen(kind: str) -> set[str]:
        found = all_of(daemon, "--source", name, "--kind", kind)
        return {one["vehicle"]["id"] for one in found}

    sim = Samsara(Truth(VEHICLES))
    mine = {sim.vehicle_id(n) for n in range(VEHICLES) if n % 2 == half}
    daemon.until(lambda: seen("vehicle") == mine, "its vehicles", 60)
    daemon.until(lambda: seen("trip"), "its trips", 60)

    assert seen("trip") <= mine


def test_a_token_of_another_organisation_brings_nothing(daemon):
    daemon.until(lambda: source(daemon, "theirs")["state"] == "held", "to be held")
    daemon.until(lambda: all_of(daemon, "--source", "ours"), "its vehicles", 60)

    assert "Delta Basin Haulage" in source(daemon, "theirs")["why"]
    assert all_of(daemon, "--source", "theirs", "--kind", "vehicle") == []


def test_nothing_went_over_a_limit_and_the_ledger_balances(daemon, far):
    assert far.counts()["over"] == 0
    assert daemon.run("ledger", "--since", "2d", code=None).returncode in (0, 3)
