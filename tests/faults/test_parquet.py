"""Parquet under SIGKILL: the daemon, its process that writes, or both; the table equals the log."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset

from fleetd.event import COLUMNS
from tests.bench.fill import fill
from tests.bench.proc import family
from tests.harness import Fleetd

EVENTS = 20_000
CONFIG = """
[sources.north]
provider = "motive"
webhook_secret = "env:SECRET"

[sinks.lake]
kind = "parquet"
path = "./lake"
takes = ["position", "fault"]
batch = 100
linger = "0s"
"""
BY_DATE = dataset.HivePartitioning.discover()
Victim = Callable[[Fleetd], None]


def the_daemon(one: Fleetd) -> None:
    """Alone: the process that writes finishes what it has, and a new one may meet it."""
    assert one.child is not None
    os.kill(one.child.pid, signal.SIGKILL)
    one.child.wait()
    one.child = None


def the_writer(one: Fleetd) -> None:
    """Alone: the daemon begins another, after a while."""
    assert one.child is not None
    for pid in family([one.child.pid]) - {one.child.pid}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def both(one: Fleetd) -> None:
    one.kill()


VICTIMS: tuple[Victim, ...] = (both, the_writer, the_daemon)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Fleetd]:
    one = Fleetd(tmp_path / "one", CONFIG, environ={"SECRET": "for a test alone"})
    yield one
    one.close()


def test_killed_at_any_moment_the_table_equals_the_log_and_a_replay_changes_nothing(
    daemon: Fleetd, rounds: Callable[[int], int], seed: int
) -> None:
    chance = random.Random(seed)
    fill(daemon.folder / "data", EVENTS)
    lake = daemon.folder / "lake"
    for number in range(rounds(4)):
        if daemon.child is None:
            daemon.start()
        grown(lake)
        time.sleep(chance.uniform(0, 0.3))
        print(f"round {number}: {len(seen(lake, 'positions'))} rows")
        VICTIMS[number % len(VICTIMS)](daemon)
        once(seen(lake, "positions"))
    daemon.begin()
    daemon.until_idle()

    assert_equal(daemon, lake)
    before = state_of(lake)
    done = daemon.run("replay", "lake", "--last", str(EVENTS), "--yes")
    assert done.returncode == 0, done.stderr
    daemon.until(lambda: replayed(daemon), "the replay to end")
    assert state_of(lake) == before
    assert daemon.run("ledger").returncode in {0, 3}
    assert [*(lake / ".tmp").iterdir()] == []


def grown(lake: Path) -> None:
    """Until more rows are there than there were, or all of them."""
    before, end = len(seen(lake, "positions")), time.monotonic() + 20
    while time.monotonic() < end:
        if len(seen(lake, "positions")) > before or before > EVENTS - 10:
            return
        time.sleep(0.01)


def assert_equal(daemon: Fleetd, lake: Path) -> None:
    """Every event of the log is one row, and every row is an event of the log."""
    done = daemon.run("events", "--json", "-n", "0")
    events = [json.loads(one) for one in done.stdout.splitlines()]
    assert len(events) == EVENTS
    fixes = [one["data"] for one in events if one["kind"] == "position"]
    rows = seen(lake, "positions")
    assert sorted(map(row_of, rows), key=repr) == sorted(
        ([one[name] for name in COLUMNS] for one in fixes), key=repr
    )
    assert {row["date"] == row["timestamp"][:10] for row in rows} == {True}
    faults = sorted(one["id"] for one in events if one["kind"] == "fault")
    assert sorted(one["id"] for one in seen(lake, "faults")) == faults


def seen(lake: Path, table: str) -> list[dict[str, Any]]:
    """What a reader finds; while files are renamed it may have to ask again."""
    if not (lake / table).exists():
        return []
    for _ in range(50):
        with suppress(FileNotFoundError):
            place = dataset.dataset(
                lake / table, format="parquet", partitioning=BY_DATE
            )
            return [printed(one) for one in place.to_table().to_pylist()]
    raise AssertionError("files went away again and again")


def printed(row: dict[str, Any]) -> dict[str, Any]:
    stamp = row["timestamp"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**row, "timestamp": stamp}


def row_of(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in COLUMNS]


def once(rows: list[dict[str, Any]]) -> None:
    found = [(one["provider_vehicle_id"], one["timestamp"]) for one in rows]
    assert len(found) == len(set(found))


def replayed(daemon: Fleetd) -> bool:
    jobs = daemon.get("/api/jobs").json()["jobs"]
    return bool(jobs) and all(one["state"] == "done" for one in jobs)


def state_of(lake: Path) -> dict[str, tuple[int, int]]:
    return {
        str(one): (one.stat().st_ino, one.stat().st_mtime_ns)
        for one in lake.rglob("*")
        if one.is_file()
    }
