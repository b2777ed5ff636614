"""Exactly once into PostgreSQL, whatever dies: every row is what the log says, and the last fix is the last."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from fleetd.event import AnyEvent, Position, Safety, Trip
from tests.faults.cutting import Cutter
from tests.faults.daemon import Daemon
from tests.faults.filled import are_jobs_done, fill, last, log_of, settle
from tests.postgres import BOSS, USER, Postgres

EVENTS = 20_000
CHUNK = 250
KINDS = ("position", "trip", "safety")
TABLES = {"position": "positions", "trip": "trips", "safety": "safety_events"}
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)
SINK = """
[sinks.base]
kind = "postgres"
url = "env:BASE_URL"
schema = "{schema}"
takes = ["position", "trip", "safety"]
batch = {batch}
"""
ROW = ("id", "source", "seq", "revision")


class Base:
    """A daemon, the schema it fills, and what should be in it."""

    def __init__(self, daemon: Daemon, server: Postgres, schema: str) -> None:
        self.daemon, self.server, self.schema = daemon, server, schema

    def batches(self, size: int) -> None:
        """How many events go at a time: more is sooner over."""
        sink = SINK.format(schema=self.schema, batch=size)
        self.daemon.configure(sink, 'max_disk = "2GiB"')

    def go_by(self, url: str) -> None:
        self.daemon.environ["BASE_URL"] = url

    def append(self, events: Sequence[AnyEvent]) -> None:
        """Put events into the log of a daemon that does not run."""
        fill(self.daemon, events, {"base": KINDS}, CHUNK)

    def rows(self, table: str) -> list[dict[str, Any]]:
        query = SQL("SELECT *, xmin::text FROM {} ORDER BY seq")
        with psycopg.connect(self.server.url(user=BOSS), row_factory=dict_row) as one:
            return one.execute(query.format(Identifier(self.schema, table))).fetchall()

    def is_right(self) -> None:
        """Each row is the newest copy of its event, and none is missing or beside."""
        log = log_of(self.daemon)
        assert len(log) >= EVENTS
        for kind, table in TABLES.items():
            meant = newest(log, kind)
            found = {row["id"]: row for row in self.rows(table)}
            assert len(found) == len(self.rows(table))
            assert set(found) == set(meant), table
            for ident, event in meant.items():
                assert as_row(event) == told_of(found[ident], event), ident
        latest = self.rows("latest_positions")
        assert {row["provider_vehicle_id"]: row["seq"] for row in latest} == last(log)

    def settle(self) -> None:
        settle(self.daemon, 120)


def day(count: int, chance: random.Random) -> Iterator[AnyEvent]:
    """Fixes in order and late, some told again with more; trips told again; alarms."""
    for number in range(count):
        at = BEGIN + timedelta(seconds=number)
        truck = f"v{chance.randrange(40)}"
        if number % 50 == 7:
            trip = number // 500  # each is told again, and says more
            yield Trip(
                id=f"t{trip}", at=at, vehicle=truck, revision=number, duration_s=1.0
            )
        elif number % 50 == 13:
            yield Safety(id=f"s{number}", at=at, vehicle=truck, type="crash")
        else:
            late = timedelta(minutes=chance.choice([0, 0, 0, 90]))
            again = number % 10 == 3
            fix = Position(
                id=f"p{number}", at=at - late, vehicle=truck,
                latitude=chance.uniform(25, 49), longitude=chance.uniform(-124, -67),
                location_description="é\t\\N" if number % 7 else None,
            )  # fmt: skip
            yield fix
            if again:
                yield msgspec.structs.replace(fix, driver="d1", speed_mph=44.5)


def newest(log: Sequence[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for event in log:
        if event["kind"] == kind:
            held = found.get(event["id"])
            if held is None or order(held) < order(event):
                found[event["id"]] = event
    return found


def order(event: dict[str, Any]) -> tuple[int, int]:
    return event["revision"], event["seq"]


def as_row(event: dict[str, Any]) -> dict[str, Any]:
    """What the row of an event has to say."""
    told = {name: event[name] for name in ROW}
    data = event["data"]
    if event["kind"] == "position":
        return told | data
    stamps = {name for name in data if name.endswith("_at")}
    assert not any(data[name] for name in stamps)
    return told | data | {"timestamp": event["at"]}


def told_of(row: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """The same columns, as the row has them."""
    names = {*ROW, "timestamp", *event["data"]}
    found = {name: row[name] for name in names}
    stamp = row["timestamp"].astimezone(UTC).isoformat(timespec="milliseconds")
    return found | {"timestamp": stamp.replace("+00:00", "Z")}


@pytest.fixture
def base(make_daemon: Callable[..., Daemon], postgres: Postgres, seed: int) -> Base:
    """A log of 20 000 events and more, all waiting."""
    schema = f"f_{uuid.uuid4().hex[:12]}"
    base = Base(make_daemon(), postgres, schema)
    base.batches(100)
    base.go_by(postgres.url())
    base.append([*day(EVENTS, random.Random(seed))])
    return base


def test_a_daemon_killed_at_any_moment_leaves_every_row_once_and_right(
    base: Base, rounds: Callable[[int], int], seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(rounds(3)):
        base.daemon.begin()
        time.sleep(chance.uniform(0, 0.6))
        base.daemon.kill()
    base.daemon.begin()
    base.settle()
    base.is_right()


def test_connections_cut_in_the_middle_of_a_commit_leave_every_row_once_and_right(
    base: Base, seed: int
) -> None:
    base.batches(250)
    with Cutter(base.server.port, random.Random(seed), every=12) as road:
        base.go_by(base.server.url(port=road.port))
        base.daemon.begin()
        base.settle()
    assert road.unclear
    assert road.lost
    assert road.passed >= EVENTS // 250
    base.is_right()


def test_backends_ended_in_the_middle_of_a_transaction_leave_every_row_once_and_right(
    base: Base, rounds: Callable[[int], int], seed: int
) -> None:
    with ending(base.server, rounds(4), random.Random(seed)) as ended:
        base.daemon.begin()
        base.settle()
    assert ended
    base.is_right()


def test_a_server_that_crashes_and_recovers_leaves_every_row_once_and_right(
    base: Base, rounds: Callable[[int], int], seed: int
) -> None:
    """One of its processes is killed, and it ends all others and begins again."""
    chance = random.Random(seed)
    base.daemon.begin()
    for _ in range(rounds(2)):
        base.daemon.until(lambda: crash(base.server), "a backend at work to be killed")
        time.sleep(chance.uniform(0, 0.5))
    base.settle()
    base.is_right()


def test_neither_a_replay_nor_a_late_backfill_changes_what_is_there(
    base: Base, seed: int
) -> None:
    base.batches(400)
    base.daemon.begin()
    base.settle()
    tables = [*TABLES.values(), "latest_positions"]
    before = {table: base.rows(table) for table in tables}
    told = base.daemon.command("replay", "base", "--seq", f"1:{EVENTS // 2}", "--yes")
    assert told.returncode == 0, told.stderr
    base.daemon.until(lambda: base.daemon.status()["jobs"], "the replay to begin")
    time.sleep(0.3)
    base.daemon.kill()  # in the midst of it
    base.daemon.begin()
    base.daemon.until(lambda: are_jobs_done(base.daemon), "the replay to end", 60)
    assert {table: base.rows(table) for table in tables} == before

    base.daemon.stop()
    latest = base.rows("latest_positions")
    chance = random.Random(seed + 1)
    base.append([
        Position(
            id=f"late{one}", at=BEGIN - timedelta(hours=2, seconds=one),
            vehicle=f"v{chance.randrange(40)}", latitude=1.0, longitude=2.0,
        )
        for one in range(2000)
    ])  # fmt: skip
    base.daemon.begin()
    base.settle()
    assert base.rows("latest_positions") == latest
    base.is_right()


def at_work(server: Postgres) -> list[int]:
    """The processes that are in a transaction for the sink."""
    try:
        rows = server.rows(
            "SELECT pid FROM pg_stat_activity WHERE usename = %s AND state <> 'idle'"
            " AND xact_start IS NOT NULL",
            USER,
        )
    except psycopg.OperationalError:
        return []
    return [int(pid) for (pid,) in rows]


def crash(server: Postgres) -> bool:
    """Kill a process that is in a transaction, as running out of memory would."""
    for pid in at_work(server):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


@contextmanager
def ending(server: Postgres, times: int, chance: random.Random) -> Iterator[list[int]]:
    """So many times, end whoever is in a transaction just then."""
    ended: list[int] = []
    stop = threading.Event()

    def go() -> None:
        while len(ended) < times and not stop.is_set():
            time.sleep(chance.uniform(0.01, 0.15))
            for pid in at_work(server):
                server.rows("SELECT pg_terminate_backend(%s)", pid)
                ended.append(pid)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()
