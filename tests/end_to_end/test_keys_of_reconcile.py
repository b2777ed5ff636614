"""What `reconcile` changes, and what a comparison brings."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.end_to_end.showing import shows
from tests.harness import Fleetd
from tests.hub import Asked, Hub

ELSEWHERE = "tests.end_to_end.elsewhere"
SOURCE = """
[sources.%s]
provider = "acme"
token = "env:%s"
base_url = "http://127.0.0.1:$hub/"
feeds = ["glimpses"]
%s
"""


def answer(asked: Asked) -> tuple[int, bytes]:
    what = asked.path.partition("?")[0].strip("/")
    return 200, json.dumps([{"id": what}]).encode()


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], hub: Hub) -> Fleetd:
    hub.answer = answer
    keen = SOURCE % ("keen", "KEEN", 'reconcile = "10s"')
    environ = {"CALM": "token-of-calm", "KEEN": "token-of-keen"}
    one = make(environ=environ, program=ELSEWHERE)
    one.configure(SOURCE % ("calm", "CALM", "") + keen, hub=str(hub.port))
    return one.begin()


def compared(hub: Hub, name: str) -> list[Asked]:
    return [
        one
        for one in tuple(hub.asked)
        if one.path.startswith("/past") and name in one.headers["authorization"]
    ]


@shows("sources.NAME.reconcile")
def test_how_often_what_was_heard_is_compared(daemon, hub):
    daemon.until(lambda: len(compared(hub, "keen")) >= 3, "a second comparison")
    daemon.until(lambda: compared(hub, "calm"), "a first one")

    assert len(compared(hub, "calm")) == 2, "a day back, in the two days it touches"


def test_what_a_first_comparison_finds_is_the_past_and_nothing_recovered(daemon):
    found = daemon.until(
        lambda: (
            len(daemon.events("--source", "keen")) == 2
            and daemon.events("--source", "keen")
        ),
        "what was missed",
    )

    origins = {one["id"]: one["origin"] for one in found}
    assert origins == {"now": "poll", "past": "backfill"}
