"""A sheet that fleetd keeps and people edit: what they write comes in once, what fleetd writes never."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fleetd.providers.sheets.walk import STRUCTURE
from tests.clouds.book import Tab
from tests.clouds.sheets import Call, Cloud
from tests.harness import Fleetd, by_motive
from tests.sinks.sheeted import BOOK, rows, sheets

SECRET = "s3cret-of-motive"
CONFIG = """
[sources.fleet]
provider = "motive"
webhook_secret = "env:SECRET"

[sources.list]
provider = "sheets"
token = "env:ACCOUNT"
base_url = "{url}"
spreadsheet = "{book}"
tab = "Dispatch"
every = "1s"
remove_after = 2

[sinks.dispatch]
kind = "sheets"
account = "env:ACCOUNT"
base_url = "{url}"
spreadsheet = "{book}"
tab = "Dispatch"
takes = ["vehicle"]
mode = "upsert"
every = "1s"
key = ["id"]
columns = {{ Vehicle = "id", Unit = "number", VIN = "vin", Removed = "removed" }}
"""


@pytest.fixture
def google() -> Iterator[Cloud]:
    with sheets() as cloud:
        yield cloud


@pytest.fixture
def daemon(make: Callable[..., Fleetd], google: Cloud) -> Fleetd:
    account = json.dumps(google.account())
    one = make(environ={"SECRET": SECRET, "ACCOUNT": account})
    one.configure(CONFIG.format(url=google.url, book=BOOK).replace("$", "$$"))
    return one.begin()


def tell(daemon: Fleetd, ident: int, number: str) -> None:
    """Motive says how a vehicle is called now."""
    body = {
        "action": "vehicle_upserted", "trigger": "updated", "id": ident, "number": number,
        "updated_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    packed = json.dumps(body).encode()
    answer = daemon.post("fleet", packed, by_motive(packed, SECRET))
    assert answer.json()["stored"] == 1, answer


def units(google: Cloud) -> dict[str, Any]:
    if "Dispatch" not in google.book(BOOK).titles():
        return {}
    return {
        row.get("Vehicle", ""): row.get("Unit")
        for row in rows(google.book(BOOK), "Dispatch")
    }


def found(daemon: Fleetd) -> list[tuple[str, str | None, bool]]:
    """What the sheet told: whose record, its number, and whether it is gone."""
    return [
        (one["id"], one["vehicle"]["number"], bool(one["data"].get("removed")))
        for one in daemon.events("--source", "list", "--kind", "vehicle")
    ]


def listed(daemon: Fleetd, google: Cloud, count: int = 1) -> None:
    """Wait for so many more looks at all rows, and for the next one to begin after them."""

    def walks() -> list[str]:
        """`a` for the first question of each listing, `z` for its last."""
        told = []
        for one in google.reads()[:]:
            filters = (one.body or {}).get("dataFilters", [])
            begins = one.method == "GET" and one.query.get("fields") == [STRUCTURE]
            told += ["a"] * begins + ["z"] * (len(filters) > 1)
        return told

    due = walks().count("z") + count
    daemon.until(
        lambda: walks().count("z") >= due and walks()[-1] == "a", f"{count} listings"
    )


def row_of(tab: Tab, ident: str) -> int:
    return next(n for n, row in enumerate(tab.table()) if row and row[0] == ident)


def test_people_and_fleetd_keep_one_list_together(daemon, google):
    for number in range(1, 13):
        tell(daemon, number, f"T-{number}")
    daemon.until(lambda: len(units(google)) == 12, "twelve rows")
    daemon.run("resume", "list")  # it was held while there was no such tab
    listed(daemon, google)
    tab = google.book(BOOK).tab("Dispatch")
    assert found(daemon) == []  # our own writes

    tab.type(row_of(tab, "3"), 1, "T-3 spare")  # a person edits a cell
    daemon.until(lambda: found(daemon), "the edit")
    tell(daemon, 4, "T-4 new")  # and the vendor says something of another
    daemon.until(lambda: units(google)["4"] == "T-4 new", "the vendor's word")
    listed(daemon, google)
    assert found(daemon) == [("3", "T-3 spare", False)]
    assert units(google)["3"] == "T-3 spare"

    tell(daemon, 3, "T-3 sold")  # over what the person wrote: conflict = "update"
    daemon.until(lambda: units(google)["3"] == "T-3 sold", "the vendor's word")
    listed(daemon, google)
    assert len(found(daemon)) == 1

    below = len(tab.table())
    tab.type(below, 0, "rented")  # a row of their own
    tab.type(below, 1, "R-1")
    daemon.until(lambda: len(found(daemon)) == 2, "the new row")
    assert found(daemon)[1] == ("rented", "R-1", False)

    google.fault = faulty  # reads fail in the middle, in every way
    at = len(google.calls)
    daemon.until(lambda: len(google.calls) >= at + 4, "failures", 90)
    google.fault = lambda _call: ""
    listed(daemon, google, 2)
    assert len(found(daemon)) == 2

    gone = row_of(tab, "rented")
    tab.rows[gone:] = [*tab.rows[gone + 1 :], {}]  # they delete their row
    daemon.until(lambda: len(found(daemon)) == 3, "its removal")
    assert found(daemon)[2][::2] == ("rented", True)
    daemon.until_idle()
    listed(daemon, google)
    assert "rented" not in units(google)  # and fleetd does not write it back
    assert len(units(google)) == 12
    assert len(found(daemon)) == 3
    skipped = daemon.status()["sinks"]["dispatch"]["skipped"]
    assert skipped == 3


def faulty(call: Call) -> str:
    """Every third question of a walk fails, each time otherwise."""
    if call.write or (call.method == "GET" and call.number % 2):
        return ""
    return ("503", "half", "reset", "500")[call.number % 4]
