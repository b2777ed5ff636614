"""Clocks that are wrong, ours and the devices': nothing is pruned, refused or lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.faults.daemon import Daemon
from tests.faults.load import Line, Load, Made, point, send
from tests.faults.oracle import check_archive, look, lost
from tests.faults.shim import Faults

LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"
FAR = 1_000_000_000
STORE = 'max_disk = "2GiB"\nkeep = "1h"\nkeep_raw = "1h"\ndedupe_window = "1h"'
PATIENT = (
    'answer_within = "60s"'  # however busy the machine: a 503 is then of the clock
)
HOURS = ("+3h", "-3h")
DECADE = timedelta(days=3650)


class WallClock:
    """The daemon's wall clock alone; what only counts up is left to the kernel."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        found = [str(one) for one in Path("/").glob(LIBRARY[1:])]
        if not found:
            pytest.fail("no libfaketime: apt-get install faketime")
        self._file = folder / "faketime"
        self.shows("+0")
        self.environ = {
            **faults.environ,
            "LD_PRELOAD": f"{found[0]}:{faults.environ['LD_PRELOAD']}",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
            "NO_FAKE_STAT": "1",
        }

    def shows(self, offset: str) -> None:
        """Set it off by so much from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.rename(self._file)


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    faults = Faults(tmp_path, tmp_path / "one" / "data")
    faults.clock(kept=False)
    return faults


@pytest.fixture
def clock(tmp_path: Path, faults: Faults) -> WallClock:
    return WallClock(tmp_path, faults)


@pytest.mark.parametrize("offset", HOURS)
def test_a_clock_that_is_wrong_at_the_start_loses_and_refuses_nothing(
    tmp_path: Path, make_daemon: Callable[..., Daemon], clock: WallClock, offset: str
) -> None:
    daemon = make_daemon(store=STORE, webhooks=PATIENT, environ=clock.environ)
    daemon.begin()
    first = taken(daemon, tmp_path, 0)
    again = point(0)
    assert daemon.stop() == 0
    clock.shows(offset)
    daemon.begin()
    second = taken(daemon, tmp_path, FAR)

    assert answer(daemon, again) == {"stored": 0, "duplicate": 1}
    assert daemon.status()["clock"]["state"] == "suspect"
    unharmed(daemon, tmp_path, first | second)


@pytest.mark.parametrize("offset", HOURS)
def test_a_clock_that_jumps_while_it_runs_loses_and_refuses_nothing(
    tmp_path: Path,
    make_daemon: Callable[..., Daemon],
    clock: WallClock,
    faults: Faults,
    offset: str,
) -> None:
    faults.clock(kept=True)
    daemon = make_daemon(store=STORE, webhooks=PATIENT, environ=clock.environ)
    daemon.begin()
    daemon.until(lambda: daemon.status()["clock"]["state"] == "ok", "a sure clock")
    with Load(daemon.port, tmp_path / "acked", make=point) as load:
        load.until_acked(50)
        faults.clock(kept=False)
        clock.shows(offset)
        told = daemon.status
        daemon.until(lambda: "jumped" in told()["clock"]["why"], "the jump to be seen")
        load.until_acked(50)
        clock.shows("+0")
        load.wait(2)
        load.until_acked(50)

    assert set(load.answers) == {200}
    unharmed(daemon, tmp_path, load.acked)


def test_devices_ten_years_off_are_kept_and_move_no_edge(
    tmp_path: Path, make_daemon: Callable[..., Daemon], faults: Faults
) -> None:
    faults.clock(kept=True)
    daemon = make_daemon(store=STORE, webhooks=PATIENT, environ=faults.environ)
    daemon.begin()
    acked = taken(daemon, tmp_path, 0)
    for number, later in enumerate((DECADE, -DECADE, 3 * DECADE, -3 * DECADE)):
        make = partial(point, later=later)
        acked |= taken(daemon, tmp_path, FAR * (number + 1), make)
        assert answer(daemon, make(FAR * (number + 1))) == {"stored": 0, "duplicate": 1}
    assert daemon.stop() == 0
    daemon.begin()  # prunes what is due, now that the clock is sure from the start
    daemon.until(lambda: daemon.status()["clock"]["state"] == "ok", "a sure clock")
    acked |= taken(daemon, tmp_path, 9 * FAR)
    flagged = [one for one in printed(daemon) if "clock_suspect" in one["flags"]]

    this_year = datetime.now(UTC).year
    years = {int(one["at"][:4]) - this_year for one in flagged}
    assert {round(year, -1) for year in years} == {-30, 10, 30}
    unharmed(daemon, tmp_path, acked)


def taken(
    daemon: Daemon, tmp_path: Path, first: int, make: Callable[[int], Made] = point
) -> set[str]:
    """A few dozen, none of them refused."""
    with Load(daemon.port, tmp_path / "acked", first=first, make=make) as load:
        load.until_acked(40)
    assert set(load.answers) == {200}
    assert load.wrong == []
    return load.acked


def answer(daemon: Daemon, made: Made) -> dict[str, Any]:
    """What a repeat is answered with."""
    line = Line(daemon.port)
    _, _, body = line.post(made[1])
    line.close()
    told = json.loads(body)
    return {name: told[name] for name in ("stored", "duplicate")}


def printed(daemon: Daemon) -> list[dict[str, Any]]:
    told = daemon.command("events", "--json", "-n", "10000")
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def unharmed(daemon: Daemon, tmp_path: Path, acked: set[str]) -> None:
    """All of it is in the log, delivered, and `received_at` never went backwards."""
    assert send(daemon.port, point(7 * FAR)) == 200
    daemon.until_delivered()
    assert daemon.stop() == 0
    seen = look(daemon.data, tmp_path / "copy")
    assert min(seen.names) == 1
    assert lost(acked, seen) == set()
    check_archive(seen, daemon.archive)
    db = apsw.Connection(str(tmp_path / "copy" / "log.sqlite"))
    times = [ms for (ms,) in db.execute("SELECT received_ms FROM events ORDER BY seq")]
    db.close()
    assert times == sorted(times)
