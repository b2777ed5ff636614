"""A vendor that refuses us holds the polls and nothing else; `check --live` says the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Fleetd, by_motive
from tests.vendors.running import Running

SOURCE = """
[sources.north]
provider = "motive"
token = "env:TOKEN"
webhook_secret = "env:SECRET"
base_url = "$base"
feeds = ["vehicles", "drivers"]
connect_timeout = "500ms"
"""
KEY, SECRET = "key-of-simulations", "secret-of-webhooks"
PUSHED = b'{"action":"user_upserted","id":%d,"first_name":"A","last_name":"B"}'


@pytest.fixture(scope="module")
def vendor() -> Iterator[Running]:
    with Running("motive", vehicles=3, key=KEY) as sim:
        yield sim


@pytest.fixture
def daemon(make, vendor):
    def begun(token: str, base: str = "") -> Fleetd:
        environ = {"TOKEN": token, "SECRET": SECRET}
        return make(SOURCE, environ=environ, base=base or vendor.url).begin()

    return begun


def feed(daemon: Fleetd, name: str) -> Any:
    return daemon.status()["sources"]["north"]["feeds"].get(
        name, {"state": "", "why": ""}
    )


def still_receives(daemon: Fleetd, number: int) -> bool:
    body = PUSHED % number
    return daemon.post("north", body, by_motive(body, SECRET)).status == 200


def checked(daemon: Fleetd, code: int) -> str:
    """What `check --live` says of the source."""
    found = json.loads(daemon.run("check", "--live", "--json", code=code).stdout)
    return next(one["said"] for one in found["live"] if one["name"] == "sources.north")


def test_a_wrong_key_holds_the_polls_and_webhooks_go_on(daemon):
    one = daemon("a-wrong-key")
    one.until(lambda: feed(one, "vehicles")["state"] == "held", "the hold")

    assert still_receives(one, 1)
    assert (
        "Motive refused the token (401 on /v1/vehicles)" in feed(one, "vehicles")["why"]
    )
    assert (
        "Webhooks still arrive. Fix sources.north.token." in feed(one, "drivers")["why"]
    )
    said = checked(one, 1)
    assert "Motive refused the token (401" in said
    assert "a-wrong-key" not in said


def test_a_missing_scope_holds_its_feed_alone(daemon):
    one = daemon(f"{KEY}-without-vehicles")
    one.until(lambda: feed(one, "vehicles")["state"] == "held", "the hold")
    one.until(lambda: one.events("--kind", "driver"), "what the other feed brings")

    assert still_receives(one, 2)
    assert "it needs vehicles.read" in feed(one, "vehicles")["why"]
    assert feed(one, "drivers")["state"] in {"ok", "waiting"}
    assert "vehicles needs vehicles.read" in checked(one, 1)


def test_no_network_is_waited_out_and_held_against_nobody(daemon, vendor):
    one = daemon(KEY, "http://no-such-name.invalid")
    one.until(lambda: "(DNS)" in feed(one, "vehicles")["why"], "the lookup to fail")

    assert still_receives(one, 3)
    assert feed(one, "vehicles")["state"] != "held"
    assert "Motive cannot be asked: " in checked(one, 1)
    one.configure(SOURCE, base=vendor.url)
    one.reload()
    one.until(lambda: one.events("--kind", "vehicle"), "the vehicles")


def test_the_right_key_is_taken_and_said_to_be(daemon):
    one = daemon(KEY)
    one.until(lambda: len(one.events("--kind", "vehicle")) == 3, "the vehicles")

    assert "answered: vehicles (3), drivers (" in checked(one, 0)
