"""Adding a vendor touches one code file: it is put into a folder, and everything knows it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.proofs.house import SIXTH, differences
from tests.proofs.roads import ROADS
from tests.test_floors import IMPURE, imports, tree_of
from tests.vendors.example import Example

ROAD = ROADS["example"]
MAY_USE = ("contract", "signing", "windows", "reading")


def test_one_file_in_a_folder_is_a_vendor(make, simulate, tmp_path):
    folder = tmp_path / "vendors"
    folder.mkdir()
    sim = simulate("example", vehicles=3)
    daemon = make(ROAD.source("north", push=True, url=sim.url), providers=folder)
    without = daemon.run("check", code=78)
    shutil.copy(SIXTH / "example.py", folder)
    checked = daemon.run("check")
    daemon.begin()
    daemon.until(lambda: len(daemon.positions()) > 100, "fixes")
    rows = daemon.positions().values()
    first, last = (edge(one["timestamp"] for one in rows) for edge in (min, max))
    now = int(time.time())
    driven = sim.truth(now - 90_000, now)
    truth = [one for one in driven if first <= one["timestamp"] <= last]

    assert "no provider 'example'" in without.stdout + without.stderr
    assert "/webhooks/north" in checked.stdout
    assert differences(rows, truth, Example.carries) == []
    daemon.run("send", "north", str(sample(tmp_path)))


def sample(folder: Path) -> Path:
    file = folder / "fix.json"
    file.write_text(
        '{"vehicle":"0","time":"2025-11-21T12:00:00Z","lat":37.7,"lon":-121.1,"kph":50.0}'
    )
    return file


def test_it_uses_no_more_of_fleetd_than_any_vendor_may():
    used = set(imports(tree_of(SIXTH / "example.py")))
    rooms = {one for one in used if one.startswith("fleetd.providers.")}

    assert {one.partition(".")[0] for one in used} & IMPURE == set()
    assert {one.split(".")[2] for one in rooms} <= set(MAY_USE)
    assert not {one for one in used if one.startswith(("fleetd.tasks", "fleetd.store"))}
