"""What the keys of a source that is a sheet change, in a daemon that reads a cloud like Google's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clouds.book import Tab
from tests.clouds.sheets import Cloud
from tests.end_to_end.showing import shows
from tests.harness import Fleetd
from tests.sinks.sheeted import BOOK, sheets

KEY = "sources.NAME (sheets)."
OTHER = BOOK[::-1]
SOURCE = """
[sources.{name}]
provider = "sheets"
token = "env:{account}"
base_url = "{url}"
spreadsheet = "{book}"
{more}
"""
CREW = """
tab = "Crew"
kind = "driver"
range = "B2:E5"
columns = { Name = "driver_name", Mail = "email" }
key = ["Depot", "Badge"]
"""


def fill(tab: Tab, *rows: tuple[Any, ...]) -> None:
    for at, row in enumerate(rows):
        for column, value in enumerate(row):
            tab.type(at, column, value)


def tab_of(cloud: Cloud, book: str, title: str) -> Tab:
    made = cloud.book(book)
    if title not in made.titles():
        made.batch_update([{"addSheet": {"properties": {"title": title}}}])
    return made.tab(title)


@pytest.fixture(scope="module")
def near() -> Iterator[Cloud]:
    """A sheet that is read every few seconds."""
    with sheets() as cloud:
        fill(
            tab_of(cloud, BOOK, "fleetd"), ("id", "unit"), ("v1", "T-1"), ("v2", "T-2")
        )
        yield cloud


@pytest.fixture(scope="module")
def far() -> Iterator[Cloud]:
    """Sheets that are read seldom."""
    with sheets() as cloud:
        fill(
            tab_of(cloud, BOOK, "Crew"),
            ("Crew of 2026",),
            ("", "Badge", "Depot", "Name", "Mail", "Name"),
            ("x", 1, "North", "Ann", "ann@example.com", "not this one"),
            ("y", 1, "South", "Bob"),
            (),
            ("", "Total:", 2, "people"),
        )
        fill(tab_of(cloud, OTHER, "fleetd"), ("id",), ("elsewhere",))
        yield cloud


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], near: Cloud, far: Cloud) -> Fleetd:
    told = {
        "often": (near, "NEAR", BOOK, 'every = "1s"'),
        "crew": (far, "FAR", BOOK, CREW),
        "moved": (far, "FAR", f"https://docs.google.com/spreadsheets/d/{OTHER}/edit#gid=0", ""),
    }  # fmt: skip
    parts = [
        SOURCE.format(name=name, account=account, url=cloud.url, book=book, more=more)
        for name, (cloud, account, book, more) in told.items()
    ]
    environ = {"NEAR": json.dumps(near.account()), "FAR": json.dumps(far.account())}
    one = make(environ=environ)
    one.configure("".join(parts).replace("$", "$$"))
    return one.begin()


def records(daemon: Fleetd, source: str, count: int) -> list[dict[str, Any]]:
    """All that was said of a source's records, once it is so much."""

    def found() -> list[dict[str, Any]] | None:
        events = [
            one
            for one in daemon.events("--source", source)
            if one["kind"] in {"vehicle", "driver"}
        ]
        return events if len(events) >= count else None

    return list(daemon.until(found, f"{count} records of {source}"))


@shows(f"{KEY}tab", f"{KEY}kind", f"{KEY}range", f"{KEY}columns", f"{KEY}key")
def test_a_tab_may_be_a_list_of_drivers_under_headers_and_keys_of_their_own(daemon):
    found = records(daemon, "crew", 2)

    assert [(one["kind"], one["id"]) for one in found] == [
        ("driver", "North/1"),
        ("driver", "South/1"),
    ]
    assert [one["driver"]["name"] for one in found] == ["Ann", "Bob"]
    assert [one["data"].get("email") for one in found] == ["ann@example.com", None]
    assert daemon.status()["sources"]["crew"]["dead"] == 0  # the total lies below


@shows(f"{KEY}spreadsheet")
def test_the_spreadsheet_that_is_named_is_read(daemon):
    assert [one["id"] for one in records(daemon, "moved", 1)] == ["elsewhere"]


@shows(f"{KEY}every")
def test_it_is_read_as_often_as_is_said(daemon, near, far):
    records(daemon, "often", 2)
    seldom = len(far.calls)
    tab = near.book(BOOK).tab("fleetd")
    for unit in ("T-1b", "T-1c"):
        tab.type(1, 1, unit)
        daemon.until(
            lambda unit=unit: daemon.events("--source", "often")[-1]["vehicle"]["number"] == unit,
            f"{unit}",
        )  # fmt: skip

    assert [one["vehicle"]["number"] for one in records(daemon, "often", 4)] == [
        "T-1", "T-2", "T-1b", "T-1c",
    ]  # fmt: skip
    assert len(far.calls) <= max(seldom, 2 * 3 + 2)  # what is read each 15 min waits


def test_check_calls_it_and_reads_the_rows(daemon):
    done = daemon.asked("check", "--live", code=None)
    said = {one["name"]: one for one in done["live"]}

    assert "account of Fleet" in said["sources.crew"]["said"]
    assert "answered: drivers (2)" in said["sources.crew"]["said"]
    assert "answered: vehicles (1)" in said["sources.moved"]["said"]


def test_check_refuses_a_key_file_that_is_none(daemon, make):
    other = make(environ={"NEAR": "a-token-of-something-else"})
    more = SOURCE.format(
        name="list", account="NEAR", url="http://127.0.0.1:9", book=BOOK, more=""
    )
    other.configure(more.replace("$", "$$"))
    done = other.run("check", code=78)

    assert "sources.list.token: this is not the JSON key file" in done.stdout
    assert "a-token-of" not in done.stdout
