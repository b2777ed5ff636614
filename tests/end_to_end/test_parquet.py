"""What the keys of a parquet sink change, as DuckDB finds it."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb
import pytest

from tests.end_to_end.showing import shows
from tests.harness import Fleetd

ELSEWHERE = "tests.end_to_end.elsewhere"  # where the clock is believed from the start
CONFIG = """
[sources.gate]
provider = "generic"
id = "id"
at = "at"
vehicle = "truck"
auth = { key = "env:KEY" }

[sinks.days]
kind = "parquet"
path = "./days"
takes = ["other"]
linger = "0s"

[sinks.flat]
kind = "parquet"
path = "./flat"
layout = "file"
takes = ["other"]
linger = "0s"

[sinks.brief]
kind = "parquet"
path = "./brief"
keep = "30d"
takes = ["other"]
linger = "0s"
"""


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd]) -> Fleetd:
    one = make(CONFIG, environ={"KEY": "key-1"}, program=ELSEWHERE).begin()
    times = ("2026-01-02T03:04:05Z", "2026-01-02T23:59:59Z", None)
    for number, at in enumerate(times):
        told = {"id": f"e{number}", "truck": "t", "at": at}
        assert one.post("gate/key-1", json.dumps(told).encode()).json()["stored"] == 1
        one.until_idle()
    return one


def found(daemon: Fleetd, what: str, files: str) -> list[tuple]:
    query = f"SELECT {what} FROM read_parquet('{daemon.folder}/{files}') ORDER BY ALL"
    with duckdb.connect() as db:
        return db.execute(query).fetchall()


@shows("sinks.NAME (parquet).path")
def test_a_day_of_a_kind_is_a_folder_below_it(daemon):
    rows = found(daemon, "id, date", "days/other_events/**/*.parquet")

    assert [one for one, _ in rows] == ["e0", "e1", "e2"]
    assert [str(day) for _, day in rows[:2]] == ["2026-01-02", "2026-01-02"]
    assert (daemon.folder / "days" / "_metadata.json").exists()


@shows("sinks.NAME (parquet).layout")
def test_a_kind_is_one_file_where_it_says_so(daemon):
    rows = found(daemon, "id", "flat/other_events.parquet")

    assert [one for (one,) in rows] == ["e0", "e1", "e2"]


@shows("sinks.NAME (parquet).keep")
def test_days_older_than_it_says_are_not_there(daemon):
    rows = found(daemon, "id", "brief/other_events/**/*.parquet")

    assert [one for (one,) in rows] == ["e2"]
