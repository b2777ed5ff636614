"""The box was off: what was pushed meanwhile is fetched where it can be, and told as it is."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial

import pytest
import trio

from tests.proofs.house import House, differences
from tests.proofs.roads import ROADS, SECRET
from tests.proofs.test_what_happened import LOCONAV
from tests.vendors.base import Truth
from tests.vendors.pushing import push

VEHICLES, EVERY, PARKED = 6, 10, 30
SOUTH = {
    "vin",
    "provider_vehicle_id",
    "timestamp",
    "latitude",
    "longitude",
    "speed_mph",
}
CONFIG = """
[sources.north]
provider = "samsara"
token = "env:SIM_TOKEN"
base_url = "$north"

[sources.south]
provider = "motive"
token = "env:SIM_TOKEN"
base_url = "$south"
webhook_secret = "env:SIM_SECRET"

[sources.lagos]
provider = "loconav"
zone = "UTC"
auth = { key = "env:SIM_SECRET" }
"""
PATHS = {"south": "", "lagos": f"/{SECRET}"}
ROAD = {"north": ROADS["samsara"], "south": ROADS["motive"], "lagos": LOCONAV}


@pytest.mark.timeout(600)
def test_what_was_missed_is_recovered_or_said_to_be_unknown(make, simulate):
    wishes = {"vehicles": VEHICLES, "every": EVERY, "parked": PARKED, "secret": SECRET}
    sims = {name: simulate(ROAD[name].vendor, **wishes) for name in ("north", "south")}
    daemon = make(CONFIG, **{name: sim.url for name, sim in sims.items()}).begin()
    for name in sims:
        daemon.until(
            lambda name=name: daemon.all("--source", name, "--kind", "vehicle"),
            "vehicles",
        )
    began = int(time.time())
    pushed(daemon, began - 300, began)
    daemon.kill()
    time.sleep((began // 60 + 2) * 60 + 5 - time.time())  # a whole minute: see `minute`
    daemon.begin()
    back = int(time.time())
    pushed(daemon, back, back + 4)

    said = daemon.until(
        lambda: sentences(daemon), "the ledger to have made up its mind", 200
    )
    print("\n".join(said.values()))
    assert "complete (compared with Samsara to" in said["north"]
    assert "down" in said["south"]
    assert "recovered" in said["south"]
    assert "complete" in said["south"]
    assert "unknown" in said["lagos"]
    assert daemon.run("ledger", "--since", "1h", code=None).returncode == 3
    missed = [
        one
        for one in sims["south"].truth(began, back)
        if began <= instant(one["timestamp"]) < back
    ]
    found = daemon.all("--source", "south", "--kind", "position")
    rows = [one["data"] for one in found if began <= instant(one["at"]) < back]
    assert len(missed) >= 2 * VEHICLES
    assert differences(rows, missed, SOUTH) == []
    whole = [one for one in found if minute(began) < minute_of(one) < minute(back)]
    assert len(whole) >= VEHICLES
    assert {one["origin"] for one in whole} == {"recovered"}


def minute_of(event: dict) -> int:
    return minute(instant(event["at"]))


def minute(at: float) -> int:
    """Heartbeats say by minutes whether we were there."""
    return int(at) // 60


def sentences(daemon: House) -> dict[str, str] | None:
    """What the ledger ends in, once no source is being compared any more."""
    text = daemon.run("ledger", "--since", "1h", code=None).stdout
    said = {
        line.partition(":")[0]: line
        for line in text.splitlines()
        if line.partition(":")[0] in ROAD
    }
    south = said.get("south", "")
    return said if "recovered" in south and "complete" in south else None


def pushed(daemon: House, since: int, until: int) -> None:
    """What each vendor pushes of that time, all of it accepted."""
    for name, path in PATHS.items():
        truth = Truth(VEHICLES, every=EVERY, parked=PARKED)
        twin = ROAD[name].simulator()(truth, secret=SECRET)
        url = f"http://127.0.0.1:{daemon.port}/webhooks/{name}{path}"
        job = partial(push, twin, url, since=since, until=until)
        assert trio.run(partial(job, at_once=until <= time.time())).lost == []


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
