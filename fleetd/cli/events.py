"""Read the log: the newest 50 events unless told otherwise, newest last.

The time window is half-open and by arrival; --filtered lists what was counted out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from fleetd import config, when
from fleetd.cli import _client, _filters, _show
from fleetd.errors import UnreachableError, UsageError
from fleetd.world import wall_clock

USUAL, PAGE = 50, 1000
WAIT = "30"
HEADS = ("seq", "arrived", "source", "kind", "vehicle", "at", "what")
SPARE = ("source", "arrived")  # where it is narrow
DIGEST = (
    "type", "status", "state", "severity", "speed_mph", "latitude", "longitude", "place_name",
    "code", "text", "name", "make", "model",
)  # fmt: skip
Asker = Any


def arguments(parser: argparse.ArgumentParser) -> None:
    _filters.add(parser)
    parser.add_argument("-n", type=int, metavar="COUNT", help="how many; 0 for all")
    parser.add_argument("--follow", action="store_true", help="go on as events arrive")
    parser.add_argument("--filtered", action="store_true", help="what was counted out")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    count = USUAL if chosen.n is None else chosen.n
    if count < 0:
        raise UsageError("-n takes a count, or 0 for all")
    if chosen.follow and chosen.filtered:
        raise UsageError("--follow and --filtered do not go together")
    asker = _client.reader(house)
    if chosen.follow and chosen.seq:
        raise UsageError("--follow and --seq do not go together")
    if chosen.follow and not asker.running:
        raise UnreachableError(f"{_client.STOPPED}, and --follow needs it: fleetd run")
    params = dict(_show.params(chosen, (*_filters.NAMES, "filtered")))
    pin(params, house.daemon.timezone.info)
    printer = Printer(as_json=chosen.json)
    if chosen.filtered:
        printer.asides(last(asker, params, count, "filtered"))
        printer.nothing("was counted out")
        return 0
    top = asker.status().log.newest_seq if chosen.follow else None
    for page in pages(asker, params, count, top):
        printer.events(page)
    if top is None:
        printer.nothing("fits")
    else:
        follow(asker, params, printer, top)
    return 0


def pin(params: dict[str, str], zone: Any) -> None:
    """Say the window as it was understood, and keep it the same from page to page."""
    if "since" not in params and "until" not in params:
        return
    found = when.window(params.get("since"), params.get("until"), wall_clock(), zone)
    sys.stderr.write(f"{when.spell(found, zone)}\n")
    for name, moment in zip(("since", "until"), found, strict=True):
        if moment is not None:
            params[name] = moment.isoformat()


def pages(
    asker: Asker, params: dict[str, str], count: int, top: int | None
) -> Iterator[list[dict[str, Any]]]:
    """The last `count` events up to `top`; all of them, oldest first, when 0."""
    if count:
        yield last(asker, params, count, "events", top)
        return
    after = "0"
    while True:
        asked = {**params, "after": after, "n": str(PAGE)}
        if top is not None:
            asked["seq"] = f":{top}"
        found = asker.get("/api/events", asked)
        yield found["events"]
        if found["done"]:
            return
        after = str(found["high"])


def last(
    asker: Asker, params: dict[str, str], count: int, what: str, top: int | None = None
) -> list[dict[str, Any]]:
    """The newest ones, gathered backwards, oldest first."""
    gathered: list[list[dict[str, Any]]] = []
    left, before = count or sys.maxsize, "" if top is None else str(top + 1)
    while left > 0:
        asked = {**params, "n": str(min(left, PAGE)), "before": before}
        found = asker.get("/api/events", asked)
        gathered.append(found[what])
        left -= len(found[what])
        if found["done"]:
            break
        before = str(found["low"])
    return [one for page in reversed(gathered) for one in page]


def follow(asker: Asker, params: dict[str, str], printer: Printer, top: int) -> None:
    """Print what arrives from here on, until interrupted."""
    after = top
    while True:
        asked = {**params, "after": str(after), "wait": WAIT, "n": str(PAGE)}
        found = asker.get("/api/events", asked)
        printer.events(found["events"])
        after = max(after, found["high"])


class Printer:
    """Events as lines: JSON, or columns for people."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._count = 0

    def events(self, found: Sequence[dict[str, Any]]) -> None:
        """Print a page, its columns aligned; their heads stand above the first."""
        first, self._count = not self._count, self._count + len(found)
        if self._json:
            _show.lines(found)
        elif found:
            rows = [row_of(one) for one in found]
            _show.table(HEADS, rows, "r", SPARE, headed=first)

    def asides(self, found: Sequence[dict[str, Any]]) -> None:
        """Print what was counted out."""
        self._count += len(found)
        if self._json:
            _show.lines(found)
            return
        heads = ("hour", "source", "kind", "id", "vehicle", "why")
        rows = [[str(one[head] or "-") for head in heads] for one in found]
        if rows:
            _show.table(heads, rows, "", ("id", "hour"))

    def nothing(self, what: str) -> None:
        """Tell a person who sees nothing that there is nothing."""
        if not self._count and not self._json:
            sys.stderr.write(f"nothing {what}\n")


def row_of(event: dict[str, Any]) -> Sequence[str]:
    """One event as a line for people."""
    unit = event["vehicle"]
    marks = ["!"] if event["lane"] == "safety" else []
    flags = [f"({one})" for one in event["flags"]]
    return (
        str(event["seq"] or "-"),
        short(event["received_at"]),
        event["source"],
        event["kind"],
        unit["number"] or unit["id"] or unit["vin"] or "-",
        short(event["at"]),
        " ".join([*marks, *said(event), *flags]),
    )


def said(event: dict[str, Any]) -> Iterator[str]:
    """The few words that tell what happened."""
    data = event["data"]
    for name in DIGEST:
        value = data.get(name)
        if value in (None, "", False):
            continue
        if name in {"latitude", "longitude"}:
            yield f"{value:.5f}"
        elif name == "speed_mph":
            yield f"{value:.0f} mph"
        else:
            yield str(value).replace("\n", " ")[:80]
    if event["driver"]["name"]:
        yield event["driver"]["name"]


def short(moment: str | None) -> str:
    """`11-21 22:05:03Z`: what tells lines apart."""
    return "-" if moment is None else f"{moment[5:10]} {moment[11:19]}Z"
