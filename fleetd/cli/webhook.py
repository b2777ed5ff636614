"""Whether vendors' webhooks get here, and what is registered for them at the vendor.

list: the URL to paste, where, and what the vendor has. test: a probe of our own to
public_url that has to arrive in this very daemon, or the first hop that fails. add:
register it through the vendor's API (--rotate: with a new secret). remove: take away what
fleetd made; what others made is never touched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fleetd import config
from fleetd.cli import _client, _show
from fleetd.errors import UsageError

ACTIONS = ("list", "test", "add", "remove")
HEADS = ("id", "name", "url", "state", "told of", "whose")
STATES = {None: "-", True: "on", False: "off"}
WHOSE = {"fleetd": "made by fleetd", "by hand": "this URL, by hand", "other": "others"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list")
    parser.add_argument("source", nargs="?", metavar="SOURCE", default="")
    parser.add_argument("--rotate", action="store_true", help="add: with a new secret")
    parser.add_argument("--untested", action="store_true",
                        help="add: also where the test does not get through")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    if (chosen.rotate or chosen.untested) and chosen.action != "add":
        raise UsageError("--rotate and --untested go with add")
    house = config.load(chosen.config)
    found = _client.changer(house).post(
        "webhook", action=chosen.action, source=chosen.source, rotate=chosen.rotate,
        untested=chosen.untested,
    )  # fmt: skip
    if chosen.json:
        _show.document(found)
    elif chosen.action == "list":
        listed(found["sources"])
    else:
        for line in SAID[chosen.action](found):
            print(_show.printable(line))
    return EXITS[chosen.action](found)


def listed(sources: list[dict[str, Any]]) -> None:
    """Source after source: the URL, the place for it, the vendor's own list."""
    for n, one in enumerate(sources):
        if n:
            print()
        for line in heading(one):
            print(_show.printable(line))
        rows = [row_of(row) for row in one["registered"] or ()]
        if rows:
            sys.stdout.flush()
            _show.table(HEADS, rows, "llllr", ("told of", "name"))


def heading(one: dict[str, Any]) -> Iterator[str]:
    name, title = one["source"], one["title"]
    url = one["url"] or "no URL yet: webhooks.public_url is not set"
    yield f"{name}  {url}"
    yield f"    {title}: {one['where'] or 'its webhook settings'}"
    if not one["receives"]:
        yield f"    {name} has no webhook_secret yet: its path is 404"
    if one["trouble"]:
        yield f"    {one['trouble']}"
    if one["registered"] is None:
        yield f"    what is registered there is not known: {one['why']}"
    elif not one["registered"]:
        yield f"    nothing is registered there: fleetd webhook add {name}"


def row_of(row: dict[str, Any]) -> list[str]:
    state, many = STATES[row["enabled"]], str(row["actions"] or "-")
    return [row["id"], row["name"] or "-", row["url"], state, many, WHOSE[row["whose"]]]


def tested(found: dict[str, Any]) -> Iterator[str]:
    """A line a source, and what there is to say beside it."""
    for one in found["sources"]:
        yield f"{one['source']}: {one['said']}"
        yield from (f"    note: {note}" for note in one["notes"])


def added(found: dict[str, Any]) -> Iterator[str]:
    name, title = found["source"], found["title"]
    did = {
        "made": "is registered",
        "changed": "is put right",
        "rotated": "has a new secret; the old one is accepted for an hour",
        "nothing": "is as it should be; nothing was changed",
    }[found["did"]]
    if found["tested"]:
        yield f"{name}: {found['tested']}"
    if found["enabled"] is False:
        yield f"{name}: {title} has the webhook (id {found['id']}) and keeps it off:"
        yield "    its probe was not answered with 200 in time. Why:"
        yield f"    fleetd webhook test {name}; then: fleetd webhook add {name}"
        return
    yield f"{name}: the webhook at {title} (id {found['id']}) {did}"
    if found["file"] and not found["named"]:
        yield f"    Its secret is in {found['file']}, which only fleetd can read."
        yield f"    Put this into [sources.{name}] and reload fleetd:"
        yield f'    webhook_secret = "file:{found["file"]}"'


def removed(found: dict[str, Any]) -> Iterator[str]:
    name, title, ids = found["source"], found["title"], found["removed"]
    if not ids:
        yield f"{name}: fleetd registered nothing at {title}; what is there stays"
        return
    yield f"{name}: removed at {title}: {', '.join(ids)}"
    yield "    What others registered there stays, and so does the file of a secret."


SAID = {"test": tested, "add": added, "remove": removed}
EXITS: Mapping[str, Callable[[dict[str, Any]], int]] = {
    "list": lambda _found: 0,
    "test": lambda found: 0 if all(one["ok"] for one in found["sources"]) else 1,
    "add": lambda found: 1 if found["enabled"] is False else 0,
    "remove": lambda _found: 0,
}
