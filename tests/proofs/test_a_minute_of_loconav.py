"""LocoNav keeps no history: what is seen of it by poll is what it pushes, to the id."""

from __future__ import annotations

import time

import trio

from tests.proofs.house import House, Row, differences
from tests.vendors.base import Truth
from tests.vendors.loconav import LocoNav
from tests.vendors.pushing import push

VEHICLES, EVERY, PARKED, SEEN = 8, 5, 10, 40
POLL = """
token = "env:SIM_TOKEN"
base_url = "$url"
per_minute = 500
feeds = { vehicles = "10m", positions = "2s" }
"""
SOURCE = '[sources.north]\nprovider = "loconav"\nzone = "UTC"\n'
PUSH = 'auth = { key = "env:SIM_SECRET" }\n'
CARRIES = LocoNav.carries & LocoNav.pushes


def test_a_fix_seen_by_poll_is_the_fix_that_was_pushed(make, simulate):
    sim = simulate("loconav", vehicles=VEHICLES, every=EVERY, parked=PARKED, limit=25)
    polled, pushed = make(SOURCE + POLL, url=sim.url), make(SOURCE + PUSH)
    both = make(SOURCE + POLL + PUSH, url=sim.url)
    since = int(time.time()) - 300
    for one in (polled, pushed, both):
        one.begin()
    for one in (polled, both):
        one.until(lambda one=one: len(one.positions()) > SEEN, "fixes")
    until = int(time.time()) + 1
    for one in (polled, both):
        one.run("pause", "north")
    told = told_to(pushed, both, since, until)

    by_poll, by_push, by_both = (one.positions() for one in (polled, pushed, both))
    assert told == [[], []]
    assert len(by_poll) > SEEN
    assert set(by_poll) <= set(by_push)
    assert differences(by_poll.values(), some(by_push, by_poll), CARRIES) == []
    assert set(by_both) <= set(by_push)
    assert set(by_push) - set(by_both) == set()
    driven = sim.truth(since, until)
    assert (
        differences(some(by_poll, by_poll), kept(driven, by_poll), LocoNav.carries)
        == []
    )


def told_to(one: House, two: House, since: int, until: int) -> list[list[bytes]]:
    """Push these minutes to both, as LocoNav does; what was lost on the way."""
    twin = LocoNav(Truth(VEHICLES, every=EVERY, parked=PARKED))
    lost = []
    for daemon in (one, two):
        url = f"http://127.0.0.1:{daemon.port}/webhooks/north/{daemon.environ['SIM_SECRET']}"
        told = trio.run(
            lambda url=url: push(twin, url, since=since, until=until, at_once=True)
        )
        lost.append(told.lost)
    return lost


def some(rows: dict[str, Row], of: dict[str, Row]) -> list[Row]:
    return [row for id_, row in rows.items() if id_ in of]


def kept(driven: list[Row], rows: dict[str, Row]) -> list[Row]:
    keys = {(one["provider_vehicle_id"], one["timestamp"]) for one in rows.values()}
    return [
        one for one in driven if (one["provider_vehicle_id"], one["timestamp"]) in keys
    ]
