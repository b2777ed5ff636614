"""One bad record among many: a dead letter that says whose, all others stored, on it goes."""

from __future__ import annotations

import json
import time

from tests.proofs.house import SIXTH, differences
from tests.proofs.roads import ROADS
from tests.vendors.base import Truth
from tests.vendors.example import Example

VEHICLES = 6  # of fewer there are days that few of them drive
ROAD = ROADS["example"]
MENDED = """
_strict = position


def position(body: bytes) -> Iterator[AnyEvent]:
    yield from _strict(body.replace(b'"lat":"north"', b'"lat":37.7'))


def _mended(feed: str):
    return position if feed == "positions" else PROVIDER.normalize[feed]


PROVIDER = msgspec.structs.replace(
    PROVIDER, normalize={one: _mended(one) for one in PROVIDER.normalize}
)
"""


def test_a_record_that_cannot_be_read_stops_nothing_and_is_read_once_it_can_be(
    make, simulate, tmp_path
):
    truth, now = Truth(VEHICLES), int(time.time())
    bad = truth.fixes(2, now - 20_000, now - 10_000)[-1]
    sim = simulate(
        "example", vehicles=VEHICLES, faults=json.dumps({"poison": {2: [bad.at]}})
    )
    daemon = make(ROAD.source("north", url=sim.url)).begin()
    driven = sim.truth(now - 80_000, now - 60)
    assert len(driven) > 100

    def found() -> list:
        rows = daemon.positions().values()
        return [one for one in rows if driven_first <= one["timestamp"] <= driven_last]

    driven_first = min(one["timestamp"] for one in driven)
    driven_last = max(one["timestamp"] for one in driven)
    daemon.until(lambda: len(found()) >= len(driven), "all the others")
    (letter,) = daemon.asked_lines("dead")
    later = daemon.status()["sources"]["north"]["feeds"]["positions"]

    assert differences(found(), driven, Example.carries) == []
    assert (letter["name"], letter["feed"]) == ("north", "positions")
    for word in ("2", when(bad.at), "lat"):
        assert word in letter["why"], letter
    assert later["why"] == ""
    assert later["bookmark_age_s"] < 60

    daemon.stop()
    folder = tmp_path / "mended"
    folder.mkdir()
    text = (SIXTH / "example.py").read_text()
    (folder / "example.py").write_text(text + MENDED)
    daemon.environ["PLUGGED_PROVIDERS"] = str(folder)
    daemon.begin()
    told = daemon.asked("dead", "retry", "north")

    assert daemon.asked_lines("dead") == []
    assert told["still_dead"] == 0
    assert len(found()) == len(driven) + 1
    assert daemon.run("ledger", "--since", "2d").returncode == 0


def when(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
