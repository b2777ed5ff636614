"""One daemon, five vendors, everything going wrong: in the end the ledger says complete.

`--minutes 10` is the long form. Every vendor fails, refuses, is slow, breaks answers,
sends pages for people, and is away for a while; LocoNav, which keeps no history of
fixes, pushes them as well. Then what was driven is what is in the log.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.proofs.house import House, Row, by_key, differences
from tests.proofs.roads import ROADS
from tests.vendors.base import COLUMNS
from tests.vendors.running import Running

VEHICLES, EVERY, PARKED = 6, 5, 20
HEAVY = {
    "busy": 0.04, "failing": 0.04, "html": 0.01, "cut": 0.01, "reset": 0.02, "slow": 0.04,
    "slow_s": [0.05, 0.5], "twice": 0.02, "shuffled": 0.2,
}  # fmt: skip
CALM = dict.fromkeys(("busy", "failing", "html", "cut", "reset", "slow"), 0.0)
FEEDS = {
    "samsara": '{ vehicles = "10m", drivers = "10m", assignments = "5s", positions = "3s", '
    'trips = "5s", safety = "5s", inspections = "5s" }',
    "motive": '{ vehicles = "10m", drivers = "10m", positions = "5s", trips = "30s" }',
    "geotab": '{ vehicles = "10m", positions = "3s", trips = "10s", safety = "10s" }',
    "verizon": '{ vehicles = "10m", drivers = "10m", track = "10s" }',
    "loconav": '{ vehicles = "10m", positions = "5s", alerts = "10s" }',
}
KEYS = {
    "loconav": 'per_minute = 500\nzone = "UTC"\nauth = { key = "env:SIM_KEY" }',
    "geotab": ROADS["geotab"].keys,
    "verizon": ROADS["verizon"].keys,
}
WISHES = {"loconav": {"limit": 25}}
ENOUGH = COLUMNS - {"driver_id", "driver_name"}  # who drives is learned a little later


class Five:
    """A daemon with a source a vendor, each at its own simulator."""

    def __init__(self, make: Callable[..., House], stack: ExitStack) -> None:
        self.began = int(time.time())
        usual = {"vehicles": VEHICLES, "every": EVERY, "parked": PARKED}
        self.sims = {
            name: stack.enter_context(Running(name, **usual, **WISHES.get(name, {})))
            for name in FEEDS
        }
        config = "".join(self.source(name) for name in FEEDS)
        environ = {"SIM_KEY": "an-unguessable-segment"}
        self.daemon = make(config, environ=environ)

    def source(self, name: str) -> str:
        return (
            f'[sources.{name}]\nprovider = "{name}"\ntoken = "env:SIM_TOKEN"\n'
            f'base_url = "{self.sims[name].url}"\nsince = "10m"\nfeeds = {FEEDS[name]}\n'
            f"{KEYS.get(name, '')}\n"
        )

    def hook(self) -> str:
        port = self.daemon.port
        return f"http://127.0.0.1:{port}/webhooks/loconav/an-unguessable-segment"

    def driven(self, name: str, since: int, until: int) -> list[dict[str, Any]]:
        return self.sims[name].truth(since, until)

    def rows(self, name: str, since: int, until: int) -> list[Row]:
        low, high = stamp(since), stamp(until)
        every = self.daemon.positions("--source", name).values()
        return [one for one in every if low <= one["timestamp"] < high]

    def lacks(self, name: str, since: int, until: int) -> list[str]:
        """Fixes that were driven and are not in the log yet."""
        ours = by_key(self.rows(name, since, until))
        theirs = by_key(self.driven(name, since, until))
        return [" ".join(key) for key in theirs.keys() - ours.keys()]


@pytest.fixture
def five(make: Callable[..., House], stack: ExitStack) -> Iterator[Five]:
    five = Five(make, stack)
    stack.callback(lambda: [one.close() for one in five.sims.values()])
    return five


def test_five_vendors_at_their_worst_and_nothing_is_lost(five, seconds):
    daemon = five.daemon.begin()
    for name in FEEDS:
        daemon.until(lambda name=name: five.rows(name, 0, 1 << 33), f"{name} to begin")
    since = int(time.time())
    pushing = Pushing(five)
    for n, sim in enumerate(five.sims.values()):
        away = since + seconds * (0.2 + n / 10), since + seconds * (0.3 + n / 10)
        sim.faults(**HEAVY, seed=n, outages=[away])
    until = since + int(seconds)
    time.sleep(max(until - time.time(), 0))
    for sim in five.sims.values():
        sim.faults(**CALM, outages=[])
    assert pushing.end() == []

    for name in FEEDS:
        daemon.until(lambda name=name: not five.lacks(name, since, until), f"{name} whole",
                     within=90)  # fmt: skip
        rows, driven = five.rows(name, since, until), five.driven(name, since, until)
        carried = ENOUGH & set(columns_of(name))
        assert differences(rows, driven, carried) == [], name
        told = five.sims[name].counts()
        assert (told["bugs"], told["over"]) == (0, 0), (name, told["limits"])
    judged(daemon)


def columns_of(name: str) -> frozenset[str]:
    if name in ROADS:
        return ROADS[name].simulator().carries
    from tests.vendors.loconav import LocoNav

    return LocoNav.carries & (LocoNav.pushes | {"vin"})


def judged(daemon: House) -> None:
    """What the operator is told in the end."""
    document = daemon.asked("ledger", "--since", "1h", code=None)
    said = daemon.run("ledger", "--since", "1h", code=None)
    print(said.stdout)
    assert said.returncode == 0, (said.stdout, document)
    for name in FEEDS:
        (line,) = [
            one for one in said.stdout.splitlines() if one.startswith(f"{name}: ")
        ]
        assert "complete" in line
    found = daemon.status()
    for name in FEEDS:
        source = found["sources"][name]
        made = source["stored"] + source["duplicate"] + source["filtered"]
        assert made >= source["stored"] > 0


class Pushing:
    """LocoNav's own pushes, in time, tried again until they are taken."""

    def __init__(self, five: Five) -> None:
        self._five, self._over = five, threading.Event()
        self._lost: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> list[str]:
        self._over.set()
        self._thread.join(60)
        return self._lost

    def _run(self) -> None:
        from tests.vendors.base import Truth
        from tests.vendors.loconav import LocoNav

        twin = LocoNav(Truth(VEHICLES, every=EVERY, parked=PARKED))
        upto = int(time.time()) - 2
        with httpx.Client(timeout=10) as http:
            while True:
                over, now = self._over.is_set(), int(time.time())
                for one in twin.sendings(upto, now):
                    self._push(http, one.body)
                upto = now
                if over:
                    return
                time.sleep(0.5)

    def _push(self, http: httpx.Client, body: bytes) -> None:
        for _ in range(10):
            try:
                answer = http.post(self._five.hook(), content=body)
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code == 200:
                return
            time.sleep(0.3)
        self._lost.append(json.dumps(body.decode()))


def stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
