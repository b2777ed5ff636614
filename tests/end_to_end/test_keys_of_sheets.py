"""What the keys of a sheets sink change, in a daemon that writes to a cloud like Google's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clouds.sheets import Cloud
from tests.end_to_end.showing import shows
from tests.harness import Fleetd
from tests.sinks.sheeted import BOOK, rows, sheets

OTHER = BOOK[::-1]
SOURCE = """
[sources.gate]
provider = "generic"
id = "id"
at = "at"
vehicle = "truck"
auth = { key = "env:KEY" }
"""
SINK = """
[sinks.{name}]
kind = "sheets"
takes = ["other"]
{extra}
"""
PLACE = 'spreadsheet = "{book}"\naccount = "env:{account}"\nbase_url = "{url}"\n'
COLUMNS = 'columns = ["id", "seq"]\n'
BY_TRUCK = 'mode = "upsert"\nkey = ["vehicle"]\ncolumns = ["vehicle", "id"]\n'
QUICK = f'{BY_TRUCK}every = "1s"\n'
EXTRAS = {
    "usual": COLUMNS,
    "second": f'tab = "second"\n{COLUMNS}',
    "named": 'tab = "named"\ncolumns = { Number = "seq", When = "at" }\nzone = "Asia/Tokyo"\n',
    "zulu": 'tab = "zulu"\ncolumns = { When = "at" }\n',
    "current": f'tab = "current"\naudit = "audit"\n{QUICK}',
    "seldom": f'tab = "seldom"\n{BY_TRUCK}every = "50m"\n',
    "months": f'tab = "months"\nmonthly = true\n{COLUMNS}',
    "yields": f'tab = "yields"\nconflict = "skip"\n{QUICK}',
    "insists": f'tab = "insists"\nconflict = "update"\n{QUICK}',
    "shy": f'tab = "busy"\n{COLUMNS}',
    "bold": f'tab = "taken"\nadopt = true\n{COLUMNS}',
}
FIRST = [("a", "T-1"), ("b", "T-2"), ("c", "T-1")]


@pytest.fixture(scope="module")
def google() -> Iterator[Cloud]:
    with sheets() as cloud:
        cloud.book(OTHER)
        yield cloud


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Cloud]:
    with sheets() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def daemon(make: Callable[..., Fleetd], google: Cloud, elsewhere: Cloud) -> Fleetd:
    for title, header in (("busy", "what a person wrote"), ("taken", "id")):
        google.book(BOOK).batch_update([{"addSheet": {"properties": {"title": title}}}])
        google.book(BOOK).tab(title).type(0, 0, header)
    google.book(BOOK).tab("taken").type(0, 1, "seq")
    place = PLACE.format(book=BOOK, account="ACCOUNT", url=google.url)
    parts = [SINK.format(name=name, extra=place + one) for name, one in EXTRAS.items()]
    more = {
        "moved": PLACE.format(book=OTHER, account="ACCOUNT", url=google.url),
        "far": PLACE.format(book=BOOK, account="FAR", url=elsewhere.url),
        "stranger": PLACE.format(book=BOOK, account="STRANGER", url=google.url),
    }
    parts += [
        SINK.format(name=name, extra=f'{one}tab = "{name}"\n{COLUMNS}')
        for name, one in more.items()
    ]
    environ = {
        "KEY": "a-key-of-the-gate",
        "ACCOUNT": json.dumps(google.account()),
        "FAR": json.dumps(elsewhere.account()),
        "STRANGER": json.dumps(elsewhere.account()),
    }
    one = make(environ=environ)
    one.configure("".join([SOURCE, *parts]).replace("$", "$$"))
    one.begin()
    for ident, truck in FIRST:
        tell(one, ident, truck)
    return one


def tell(daemon: Fleetd, ident: str, truck: str) -> None:
    event = {"id": ident, "at": "2026-11-21T22:05:03Z", "truck": truck}
    answer = daemon.post("gate/a-key-of-the-gate", json.dumps(event).encode(), {})
    assert answer.status == 200, answer


def written(
    daemon: Fleetd, cloud: Cloud, tab: str, count: int, book: str = BOOK
) -> list[dict[str, Any]]:
    """The rows of a tab, once there are so many."""

    def found() -> list[dict[str, Any]] | None:
        if tab not in cloud.book(book).titles():
            return None
        table = rows(cloud.book(book), tab)
        return table if len(table) >= count else None

    return list(daemon.until(found, f"{count} rows in {tab}"))


def ids(table: list[dict[str, Any]]) -> list[Any]:
    return [row["id"] for row in table]


@shows("sinks.NAME (sheets).tab", "sinks.NAME (sheets).mode")
def test_a_log_has_a_row_for_each_event_in_the_tab_it_names(daemon, google):
    assert ids(written(daemon, google, "fleetd", 3)) == ["a", "b", "c"]
    assert ids(written(daemon, google, "second", 3)) == ["a", "b", "c"]


@shows("sinks.NAME (sheets).spreadsheet")
def test_the_rows_go_to_the_spreadsheet_that_is_named(daemon, google):
    assert ids(written(daemon, google, "moved", 3, OTHER)) == ["a", "b", "c"]
    assert "moved" not in google.book(BOOK).titles()


@shows("sinks.NAME (sheets).base_url")
def test_the_api_may_be_elsewhere(daemon, google, elsewhere):
    assert ids(written(daemon, elsewhere, "far", 3)) == ["a", "b", "c"]
    assert "far" not in google.book(BOOK).titles()


@shows("sinks.NAME (sheets).account")
def test_an_account_that_google_does_not_know_is_held(daemon, google):
    daemon.until(lambda: state(daemon, "stranger") == "held", "a refusal")

    assert "stranger" not in google.book(BOOK).titles()
    assert state(daemon, "usual") != "held"


@shows("sinks.NAME (sheets).columns", "sinks.NAME (sheets).zone")
def test_the_columns_are_those_chosen_and_the_times_of_the_zone(daemon, google):
    named = written(daemon, google, "named", 3)
    zulu = written(daemon, google, "zulu", 3)

    assert set(named[0]) - {"fleetd"} == {"Number", "When"}  # and fleetd's own marks
    assert set(zulu[0]) - {"fleetd"} == {"When"}
    assert named[0]["When"] - zulu[0]["When"] == pytest.approx(9 / 24)


@shows("sinks.NAME (sheets).key", "sinks.NAME (sheets).audit")
def test_one_row_a_key_with_the_last_word_and_a_tab_that_tells_of_it(daemon, google):
    def last() -> dict[str, str] | None:
        table = written(daemon, google, "current", 2)
        found = {row["vehicle"]: row["id"] for row in table}
        return found if found.get("T-1") not in {None, "a"} else None

    assert daemon.until(last, "the last word of T-1")["T-2"] == "b"
    assert len(written(daemon, google, "current", 2)) == 2
    assert written(daemon, google, "audit", 1)


@shows("sinks.NAME (sheets).every")
def test_what_is_written_seldom_waits(daemon, google):
    written(daemon, google, "current", 2)

    assert daemon.status()["sinks"]["seldom"]["waiting"] >= len(FIRST)


@shows("sinks.NAME (sheets).monthly")
def test_a_log_may_begin_a_tab_each_month(daemon, google):
    assert ids(written(daemon, google, "months 2026-11", 3)) == ["a", "b", "c"]
    assert "months" not in google.book(BOOK).titles()


@shows("sinks.NAME (sheets).conflict")
def test_what_a_person_changed_is_left_or_written_over(daemon, google):
    book = google.book(BOOK)
    for tab in ("yields", "insists"):
        written(daemon, google, tab, 2)
        table = book.tab(tab).table()
        row = next(n for n, cells in enumerate(table) if cells[:1] == ["T-1"])
        book.tab(tab).type(row, 1, "by hand")
    tell(daemon, "d", "T-1")

    def settled() -> bool:
        return "d" in ids(rows(book, "insists")) and not waits(daemon, "yields")

    daemon.until(settled, "the next word of T-1")
    kept = {row["vehicle"]: row["id"] for row in rows(book, "yields")}
    assert kept["T-1"] == "by hand"
    assert "by hand" not in ids(rows(book, "insists"))


@shows("sinks.NAME (sheets).adopt")
def test_a_tab_with_rows_of_others_is_taken_only_where_that_is_said(daemon, google):
    daemon.until(lambda: state(daemon, "shy") == "held", "a refusal")

    assert "adopt" in daemon.status()["sinks"]["shy"]["why"]
    assert google.book(BOOK).tab("busy").table() == [["what a person wrote"]]
    assert ids(written(daemon, google, "taken", 3))[:3] == ["a", "b", "c"]


def state(daemon: Fleetd, name: str) -> str:
    return str(daemon.status()["sinks"][name]["state"])


def waits(daemon: Fleetd, name: str) -> bool:
    return bool(daemon.status()["sinks"][name]["waiting"])
