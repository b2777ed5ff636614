"""What the keys of [sources.NAME] change that say how a vendor's answers are taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.end_to_end.showing import shows
from tests.harness import Fleetd
from tests.hub import Asked, Hub

ELSEWHERE = "tests.end_to_end.elsewhere"
SOURCE = (
    '\n[sources.%s]\nprovider = "bravo"\ntoken = "env:TOKEN"\n'
    'base_url = "http://127.0.0.1:$hub/%s"\n%s\n'
)
OFTEN = 'feeds = { units = "1s", fixes = "1s" }\n'
SLOW = 'feeds = { units = "1h", fixes = "1s" }\n'
EXTRAS = {
    "plain": OFTEN,
    "far": f'{SLOW}lookback = "90s"',
    "east": f'{SLOW}tags = ["East"]',
    "mine": f'{SLOW}org = "Bravo Haulage"',
    "theirs": f'{SLOW}org = "Another Company"',
    "hasty": f"{OFTEN}remove_after = 1",
    "braked": f"{OFTEN}remove_after = 1\nremove_brake = 0.5",
}
VIN = "1FUJGLDR5CLBP8834"
LIST = f"provider,id,fleet_number,vin,plate\nbravo,v1,T-1,{VIN},AB 123\n"


class Vendor:
    """Two vehicles with a fix a second each; `fleet` says who is listed where."""

    def __init__(self) -> None:
        self.fleet: dict[str, int] = {}

    def __call__(self, asked: Asked) -> tuple[int, bytes]:
        name, what = asked.path.partition("?")[0].split("/")[1:3]
        if what == "me":
            return 200, b'["77", "Bravo Haulage"]'
        if what == "units":
            count = self.fleet.get(name, 2)
            return 200, json.dumps([unit(n) for n in range(1, count + 1)]).encode()
        span = {
            key: float(one[0])
            for key, one in parse_qs(urlsplit(asked.path).query).items()
        }
        seconds = range(int(span["since"]) + 1, int(span["until"]) + 1)
        return 200, json.dumps([fix(n, at) for at in seconds for n in (1, 2)]).encode()


def unit(number: int) -> dict[str, Any]:
    groups = ["East"] if number % 2 else ["West"]
    return {"id": f"v{number}", "number": f"N-{number}", "groups": groups}


def fix(number: int, at: int) -> dict[str, Any]:
    return {"id": f"v{number}@{at}", "vehicle": f"v{number}", "ms": at * 1000}


@pytest.fixture(scope="module")
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], hub: Hub, vendor: Vendor) -> Fleetd:
    hub.answer = vendor
    vendor.fleet = {"braked": 12, "hasty": 12}
    one = make(environ={"TOKEN": "a-token-of-bravo"}, program=ELSEWHERE)
    (one.folder / "vehicles.csv").write_text(LIST)
    parts = [SOURCE % (name, name, extra) for name, extra in EXTRAS.items()]
    text = "".join(parts) + '\n[vehicles]\nfile = "vehicles.csv"\n'
    one.configure(text, hub=str(hub.port))
    return one.begin()


def spans(hub: Hub, name: str) -> list[tuple[float, float]]:
    """The windows that were asked for."""
    queries = [
        parse_qs(urlsplit(one.path).query)
        for one in tuple(hub.asked)
        if one.path.startswith(f"/{name}/fixes")
    ]
    return [(float(one["since"][0]), float(one["until"][0])) for one in queries]


def fixes(daemon: Fleetd, name: str) -> list[dict[str, Any]]:
    return daemon.events("--source", name, "--kind", "position")


@shows("sources.NAME.lookback")
def test_a_feed_by_time_reads_again_as_far_back_as_it_says(daemon, hub):
    daemon.until(lambda: len(spans(hub, "far")) > 2 < len(spans(hub, "plain")), "both")

    for name, behind in (("far", 90), ("plain", 0)):
        (_, first), (second, _) = spans(hub, name)[:2]
        assert first - second == pytest.approx(behind, abs=1e-3)


@shows("sources.NAME.tags")
def test_only_vehicles_with_one_of_its_tags_are_taken(daemon, hub):
    daemon.until(lambda: fixes(daemon, "east") and fixes(daemon, "plain"), "fixes")

    assert {one["vehicle"]["id"] for one in fixes(daemon, "east")} == {"v1"}
    assert {one["vehicle"]["id"] for one in fixes(daemon, "plain")} == {"v1", "v2"}
    vehicles = daemon.events("--source", "east", "--kind", "vehicle")
    assert {one["id"] for one in vehicles} == {"v1"}
    out = daemon.run("events", "--filtered", "--json", "--source", "east").stdout
    assert {json.loads(one)["why"] for one in out.splitlines()} == {"tag"}
    assert any(one.path == "/east/units?tags=East" for one in hub.asked)


@shows("sources.NAME.org")
def test_nothing_is_taken_from_the_account_of_somebody_else(daemon, hub):
    def held() -> Any:
        found = daemon.status()["sources"]["theirs"]
        return found if found["state"] == "held" else None

    why = daemon.until(held, "a doubt")["why"]
    daemon.until(lambda: fixes(daemon, "mine"), "the right one")

    assert "opens the account of '77', 'Bravo Haulage'" in why
    assert fixes(daemon, "theirs") == []
    paths = [one.path for one in hub.asked]
    assert "/mine/me" in paths
    assert "/plain/me" not in paths


@shows("sources.NAME.remove_after", "sources.NAME.remove_brake")
def test_what_the_listings_lack_goes_when_and_unless_it_says(daemon, hub, vendor):
    def known(name: str) -> int:
        return len(daemon.events("--source", name, "--kind", "vehicle"))

    daemon.until(lambda: known("braked") == known("hasty") == 12, "everybody")
    vendor.fleet = {"braked": 6, "hasty": 6}

    def gone(name: str) -> list[str]:
        found = daemon.events("--source", name, "--kind", "vehicle")
        return [one["id"] for one in found if one["data"]["removed"]]

    daemon.until(lambda: len(gone("braked")) == 6, "half of them to go")

    def told() -> Any:
        return (
            "remove_brake"
            in daemon.status()["sources"]["hasty"]["feeds"]["units"]["why"]
        )

    daemon.until(told, "the brake")
    assert gone("hasty") == []
    vendor.fleet = {"braked": 6, "hasty": 11}
    daemon.until(lambda: gone("hasty") == ["v12"], "one to go at once")
    listings = sum(one.path.startswith("/plain/units") for one in hub.asked)
    vendor.fleet["plain"] = 1
    daemon.until(lambda: gone("plain") == ["v2"], "three listings without it")
    asked = sum(one.path.startswith("/plain/units") for one in hub.asked)
    assert asked - listings >= 3


@shows("vehicles.file")
def test_the_fleets_own_list_fills_in_and_joins_and_is_read_again(daemon):
    daemon.until(lambda: len(fixes(daemon, "mine")) > 2, "fixes")
    units = {one["vehicle"]["id"]: one["vehicle"] for one in fixes(daemon, "mine")}
    assert units["v1"] == {"id": "v1", "number": "T-1", "vin": VIN}
    assert units["v2"] == {"id": "v2", "number": "N-2", "vin": None}

    for name in ("T-1", VIN, "AB 123"):
        found = daemon.events("--vehicle", name, "--kind", "position")
        assert {one["source"] for one in found} >= {"mine", "plain"}
        assert {one["vehicle"]["id"] for one in found} == {"v1"}

    path = daemon.folder / "vehicles.csv"
    path.write_text(f"{LIST}bravo,v2,T-2,NOTAVIN,\n")
    why = daemon.reload("config_refused")
    assert "vehicles.csv:3: vin: 'NOTAVIN' is no VIN" in json.dumps(why)
    path.write_text(f"{LIST}bravo,v2,T-2,,\n")
    daemon.reload()
    daemon.until(
        lambda: any(one["vehicle"]["number"] == "T-2" for one in fixes(daemon, "mine")),
        "the new number",
    )
