"""A polled source in a real daemon: refused, sent a web page, killed, and none the worse."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.harness import Fleetd
from tests.hub import Asked, Hub

SOURCE = """
[sources.north]
provider = "bravo"
token = "env:TOKEN"
base_url = "http://127.0.0.1:$hub"
feeds = { units = "1s", fixes = "1s" }

[sinks.here]
kind = "file"
path = "./archive"
"""


class Vendor:
    """One vehicle with a fix a second; `says` is what it answers instead."""

    def __init__(self) -> None:
        self.says: tuple[int, bytes] | None = None
        self.seconds: set[int] = set()

    def __call__(self, asked: Asked) -> tuple[int, bytes]:
        if self.says is not None:
            return self.says
        if asked.path.startswith("/units"):
            return 200, b'[{"id": "v1", "number": "N-1"}]'
        query = parse_qs(urlsplit(asked.path).query)
        span = [float(query[one][0]) for one in ("since", "until")]
        found = [
            at
            for at in range(int(span[0]), int(span[1]) + 1)
            if span[0] <= at < span[1]
        ]
        self.seconds |= set(found)
        return 200, json.dumps([fix(at) for at in found]).encode()


def fix(at: int) -> dict[str, Any]:
    return {"id": f"f{at}", "vehicle": "v1", "ms": at * 1000}


@pytest.fixture(scope="module")
def vendor(hub: Hub) -> Vendor:
    vendor = Vendor()
    hub.answer = vendor
    return vendor


@pytest.fixture(scope="module")
def daemon(make, hub: Hub, vendor: Vendor) -> Fleetd:
    one = make(
        environ={"TOKEN": "a-token-of-bravo"}, program="tests.end_to_end.elsewhere"
    )
    one.configure(SOURCE, hub=str(hub.port))
    return one.begin()


def fixes(daemon: Fleetd) -> list[str]:
    return [one["id"] for one in daemon.events("--kind", "position")]


def alerts(daemon: Fleetd) -> list[tuple[str, str]]:
    found = daemon.events("--kind", "alert")
    return [(one["data"]["type"], one["data"]["detail"]["about"]) for one in found]


def north(daemon: Fleetd) -> Any:
    return daemon.status()["sources"]["north"]


def test_a_web_page_instead_of_a_list_holds_the_feed_until_it_is_over(daemon, vendor):
    daemon.until(lambda: fixes(daemon), "fixes")
    vendor.says = (200, b"<html>down for maintenance</html>")
    daemon.until(lambda: north(daemon)["state"] == "held", "doubt")

    assert daemon.status()["state"] == "degraded"
    assert {
        feed for feed, one in north(daemon)["feeds"].items() if one["state"] == "held"
    }
    letters = daemon.run("dead", "list", "--json").stdout.splitlines()
    feeds = {json.loads(one)["feed"] for one in letters}
    assert feeds
    assert feeds <= {"page:fixes", "page:units"}

    vendor.says = None
    daemon.until(lambda: north(daemon)["state"] == "ok", "it to go on")
    told = alerts(daemon)
    assert {what for what, _ in told} == {"feed_held", "feed_resumed"}
    assert len(told) == len(set(told)) <= 4


def test_killed_again_and_again_it_has_every_fix_once(daemon, vendor):
    for _ in range(4):
        before = len(vendor.seconds)
        daemon.until(
            lambda before=before: len(vendor.seconds) > before + 1, "questions"
        )
        daemon.kill()
        daemon.begin()
    upto = max(vendor.seconds)

    def all_there() -> bool:
        return f"f{upto}" in fixes(daemon)

    daemon.until(all_there, "the last of them")
    found = fixes(daemon)
    asked = {f"f{at}" for at in vendor.seconds if at <= upto}
    assert len(found) == len(set(found))
    assert asked <= set(found)
    lowest = min(vendor.seconds)
    assert {f"f{at}" for at in range(lowest, upto + 1)} <= set(found)


def test_a_refused_token_is_told_in_one_sentence_and_resumed_by_hand(daemon, vendor):
    vendor.says = (401, b"{}")
    daemon.until(lambda: north(daemon)["state"] == "held", "to be refused")
    why = north(daemon)["why"]

    assert why.startswith("north: Bravo refused the token (401 on /")
    assert why.endswith("Fix sources.north.token.")
    vendor.says = None
    daemon.run("resume", "north")
    daemon.until(lambda: north(daemon)["state"] == "ok", "it to go on")
    assert ("polling_resumed", "") in alerts(daemon)


def test_everything_is_accounted_for(daemon):
    daemon.until_idle()

    ledger = daemon.run("ledger", code=None)
    assert ledger.returncode in {0, 3}, ledger.stdout
    assert daemon.status()["reasons"] == []
