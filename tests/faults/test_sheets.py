"""Exactly once into Google Sheets, whatever dies, gets lost or is moved: a log equals the log, a row is the last."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetd.event import AnyEvent, Position, Trip
from fleetd.sinks.sheets.columns import moment_in
from tests.clouds.book import Book
from tests.clouds.sheets import Call, Cloud
from tests.faults.daemon import Daemon
from tests.faults.filled import are_jobs_done, fill, last, log_of, settle
from tests.sinks.sheeted import BOOK, rows, sheets

EVENTS, LONG = 6_000, 20_000
CHUNK = 500
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)
FAULTS = ("reset", "reset after", "503", "503 after", "500 after", "429", "late")
TAKES = {
    "log": ("position", "trip"), "latest": ("position",), "trips": ("trip",),
}  # fmt: skip
COMMON = """
kind = "sheets"
spreadsheet = "{book}"
account = "env:ACCOUNT"
base_url = "{url}"
tab = "{name}"
"""
LOG = """
takes = ["position", "trip"]
batch = {batch}
columns = ["seq", "id", "kind", "at", "vehicle", "latitude", "speed_mph", "location_description"]
"""
LATEST = """
mode = "upsert"
every = "1s"
audit = "audit"
batch = {batch}
key = ["vehicle"]
columns = {{ truck = "vehicle", seq = "seq", seen = "at", lat = "latitude", mph = "speed_mph" }}
"""
TRIPS = """
mode = "upsert"
every = "1s"
takes = ["trip"]
batch = {batch}
key = ["source", "id"]
columns = ["source", "id", "seq", "revision", "duration_s"]
"""


class Sheet:
    """A daemon, the spreadsheet it fills, and what should be in it."""

    def __init__(self, daemon: Daemon, cloud: Cloud, events: int) -> None:
        self.daemon, self.cloud, self.events = daemon, cloud, events
        daemon.environ["ACCOUNT"] = json.dumps(cloud.account())
        self.configure(events // 40)

    @property
    def book(self) -> Book:
        return self.cloud.book(BOOK)

    def configure(self, batch: int) -> None:
        words = {"book": BOOK, "url": self.cloud.url, "batch": batch}
        parts = {"log": LOG, "latest": LATEST, "trips": TRIPS}
        sinks = "".join(
            f"\n[sinks.{name}]" + (COMMON + part).format(**words, name=name)
            for name, part in parts.items()
        )
        self.daemon.configure(
            sinks.replace("{", "{{").replace("}", "}}"), 'max_disk = "2GiB"'
        )

    def append(self, events: Sequence[AnyEvent]) -> None:
        """Put events into the log of a daemon that does not run."""
        fill(self.daemon, events, TAKES, CHUNK)

    def settle(self, within: float = 200) -> None:
        settle(self.daemon, within)

    def is_right(self) -> None:
        log = log_of(self.daemon)
        assert len(log) >= self.events
        told = [as_row(one) for one in log]
        found = sorted(rows(self.book, "log"), key=lambda row: row["seq"])
        assert [plain(row) for row in found] == told
        assert {row["truck"]: row["seq"] for row in rows(self.book, "latest")} == last(
            log
        )
        assert len(rows(self.book, "latest")) == len(last(log))
        trips = rows(self.book, "trips")
        assert {row["id"]: (row["revision"], row["seq"]) for row in trips} == newest(
            log
        )
        assert len(trips) == len(newest(log))


def day(count: int, chance: random.Random) -> Iterator[AnyEvent]:
    """Fixes in order and late, and trips that are told again and again."""
    for number in range(count):
        at = BEGIN + timedelta(seconds=number)
        truck = f"v{chance.randrange(40)}"
        if number % 20 == 7:
            trip = f"t{chance.randrange(30)}"
            yield Trip(
                id=trip,
                at=BEGIN,
                vehicle=truck,
                revision=number,
                duration_s=float(number),
            )
        else:
            late = timedelta(minutes=chance.choice([0, 0, 0, 90]))
            yield Position(
                id=f"p{number}", at=at - late, vehicle=truck, latitude=chance.uniform(25, 49),
                longitude=0.5, speed_mph=float(number), location_description="=1+1" if number % 7 else None,
            )  # fmt: skip


def as_row(event: dict[str, Any]) -> dict[str, Any]:
    """What the row of an event has to say."""
    data = event["data"]
    told = {
        "seq": event["seq"], "id": event["id"], "kind": event["kind"], "at": event["at"],
        "vehicle": event["vehicle"]["id"], "latitude": data.get("latitude"),
        "speed_mph": data.get("speed_mph"), "location_description": data.get("location_description"),
    }  # fmt: skip
    return {name: one for name, one in told.items() if one is not None}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the mark, its time as the log prints it."""
    stamp = (
        moment_in(row["at"], UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    return {name: one for name, one in row.items() if name != "fleetd"} | {"at": stamp}


def newest(log: Sequence[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """The newest copy of each trip."""
    found: dict[str, tuple[int, int]] = {}
    for one in log:
        if one["kind"] == "trip":
            stamp = one["revision"], one["seq"]
            found[one["id"]] = max(found.get(one["id"], stamp), stamp)
    return found


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sheets() as one:
        one.late = 0.3
        yield one


@pytest.fixture
def sheet(
    make_daemon: Callable[..., Daemon],
    cloud: Cloud,
    request: pytest.FixtureRequest,
    seed: int,
) -> Sheet:
    """A log with all events waiting: 20 000 of them in the long form."""
    events = LONG if request.config.getoption("rounds", None) else EVENTS
    sheet = Sheet(make_daemon(program=("-m", "tests.faults.hasty")), cloud, events)
    sheet.append([*day(events, random.Random(seed))])
    return sheet


def unruly(cloud: Cloud, chance: random.Random, share: float) -> None:
    """Answers get lost, before and after the deed; never the same request too often."""

    def fault(call: Call) -> str:
        return chance.choice(FAULTS) if chance.random() < share else ""

    cloud.fault = fault


def restless(cloud: Cloud, chance: random.Random) -> None:
    """Somebody who sorts tabs, and inserts rows, just as they are written to."""

    def act(book: Book) -> None:
        tab = chance.choice(book.tabs)
        if tab.title not in TAKES or chance.random() < 0.5:
            return
        if chance.random() < 0.7:
            tab.sort(chance.randrange(2), reverse=chance.random() < 0.5)
        else:
            tab.rows[1:1] = [{} for _ in range(chance.randrange(1, 4))]

    cloud.before_write = act


def test_a_daemon_killed_at_any_moment_leaves_every_row_once_and_right(
    sheet: Sheet, rounds: Callable[[int], int], seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(rounds(3)):
        sheet.daemon.begin()
        time.sleep(chance.uniform(0, 1.2))
        sheet.daemon.kill()
    sheet.daemon.begin()
    sheet.settle()
    sheet.is_right()


def test_answers_that_get_lost_leave_every_row_once_and_right(
    sheet: Sheet, seed: int
) -> None:
    unruly(sheet.cloud, random.Random(seed), 0.08)
    sheet.daemon.begin()
    sheet.settle()
    sheet.is_right()


def test_all_of_it_at_once_and_somebody_who_sorts_and_inserts(
    sheet: Sheet, rounds: Callable[[int], int], seed: int
) -> None:
    chance = random.Random(seed)
    unruly(sheet.cloud, chance, 0.04)
    restless(sheet.cloud, random.Random(seed + 1))
    for _ in range(rounds(2)):
        sheet.daemon.begin()
        time.sleep(chance.uniform(0.2, 2))
        sheet.daemon.kill()
    sheet.daemon.begin()
    sheet.settle()
    sheet.is_right()


def test_neither_a_replay_nor_a_late_backfill_moves_a_row_back(
    sheet: Sheet, seed: int
) -> None:
    sheet.configure(min(sheet.events, 10_000))
    sheet.daemon.begin()
    sheet.settle()
    before = {name: rows(sheet.book, name) for name in TAKES}
    for words in (("latest",), ("trips",), ("log", "--in-place")):
        told = sheet.daemon.command(
            "replay", *words, "--seq", f"1:{sheet.events // 2}", "--yes"
        )
        assert told.returncode == 0, told.stderr
    sheet.daemon.until(
        lambda: len(sheet.daemon.status()["jobs"]) == 3, "the replays to begin"
    )
    sheet.daemon.until(lambda: are_jobs_done(sheet.daemon), "the replays to end", 60)
    assert {name: rows(sheet.book, name) for name in TAKES} == before

    told = sheet.daemon.command("replay", "log", "--seq", "5:20", "--yes")
    assert told.returncode == 0, told.stderr
    sheet.daemon.until(
        lambda: any("replay" in one for one in sheet.book.titles()), "its own tab"
    )
    (title,) = [one for one in sheet.book.titles() if "replay" in one]
    sheet.daemon.until(lambda: rows(sheet.book, title), "its rows", 60)
    sheet.daemon.until(lambda: are_jobs_done(sheet.daemon), "the replay to end", 60)
    assert [row["seq"] for row in rows(sheet.book, title)] == list(range(5, 21))

    sheet.daemon.stop()
    chance = random.Random(seed + 1)
    sheet.append([
        Position(
            id=f"late{one}", at=BEGIN - timedelta(hours=2, seconds=one), vehicle=f"v{chance.randrange(40)}",
            latitude=1.0, longitude=2.0,
        )
        for one in range(500)
    ])  # fmt: skip
    sheet.daemon.begin()
    sheet.settle()
    assert rows(sheet.book, "latest") == before["latest"]
    sheet.is_right()
