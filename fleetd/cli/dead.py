"""Dead letters of both sides: list, show, retry, drop.

Records that could not be read are read again; events a sink refused are sent again. `retry
--unverified SOURCE` verifies kept bodies again, after a secret was corrected.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import msgspec

from fleetd import config
from fleetd.cli import _client, _show
from fleetd.errors import UsageError

ACTIONS = ("list", "show", "retry", "drop")
HEADS = ("letter", "of", "what", "since", "status", "why")
PAGE = "1000"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list")
    parser.add_argument("which", nargs="*", metavar="WHICH",
                        help="numbers, or the name of a source or sink")  # fmt: skip
    parser.add_argument("--all", action="store_true", help="all of both sides")
    parser.add_argument(
        "--unverified", metavar="SOURCE", help="bodies whose signature failed"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def main(chosen: argparse.Namespace) -> int:
    if chosen.unverified and chosen.action != "retry":
        raise UsageError("--unverified goes with retry")
    house = config.load(chosen.config)
    ids, name = meant(chosen.which)
    if chosen.action == "list":
        return listing(house, ids, name, as_json=chosen.json)
    if chosen.action == "show":
        if len(ids) != 1:
            raise UsageError("dead show takes the number of one dead letter")
        return shown(house, ids[0], as_json=chosen.json)
    if not (ids or name or chosen.all or chosen.unverified):
        raise UsageError("say which: numbers, the name of a source or sink, or --all")
    if chosen.action == "drop":
        question = (
            f"This gives up {', '.join(chosen.which) or 'all dead letters'} for good."
        )
        if not _show.agreed(question, yes=chosen.yes):
            return 1
    found = _client.changer(house).post(
        "dead", within=_client.LONG, action=chosen.action, ids=ids, name=name,
        all=chosen.all, unverified=chosen.unverified or "",
    )  # fmt: skip
    if chosen.json:
        _show.document(found)
    else:
        for line in told(chosen.action, found):
            print(_show.printable(line))
    failed = found.get("still_dead", 0) + found.get("still_unverified", 0)
    return 1 if failed else 0


def meant(words: list[str]) -> tuple[list[int], str]:
    """Numbers, or one name."""
    if all(word.isascii() and word.isdigit() for word in words):
        return [int(word) for word in words], ""
    if len(words) > 1:
        raise UsageError("takes numbers, or one name")
    return [], words[0]


def listing(house: config.House, ids: list[int], name: str, *, as_json: bool) -> int:
    """Every dead letter, page by page."""
    if ids:
        raise UsageError("dead list takes a name, and dead show a number")
    asker, rows, after = _client.reader(house), [], "0"
    while True:
        page = asker.get("/api/dead", {"name": name, "after": after, "n": PAGE})
        if as_json:
            _show.lines(page["dead"])
        rows += page["dead"]
        after = str(page["high"])
        if page["done"]:
            break
    if as_json:
        return 0
    if rows:
        _show.table(HEADS, [row_of(one) for one in rows], "r", ("status", "since"))
    else:
        print("no dead letters")
    for source, kept in page["unverified"].items():
        print(f"{source}: {doubted(house, source, kept['count'])}")
    return 0


def doubted(house: config.House, source: str, count: int) -> str:
    """What is to be done about bodies that nobody proved to be a vendor's."""
    kept = f"{count} unverified bodies are kept for a day"
    table = house.sources.get(source)
    if table and table.webhook_secret:
        return (
            f"{kept}; if its secret was wrong: fleetd dead retry --unverified {source}"
        )
    return f"{kept}; they came without what its `auth` asks for and prove nothing later"


def row_of(one: dict[str, Any]) -> list[str]:
    what = (
        f"seq {one['seq']} {one['kind']}" if one["seq"] else f"record of {one['feed']}"
    )
    status = str(one["status"] or "-")
    why = one["why"].replace("\n", " ")[:200]
    return [str(one["id"]), one["name"], what, one["at"][:16] + "Z", status, why]


def shown(house: config.House, number: int, *, as_json: bool) -> int:
    """One dead letter, with its bytes."""
    found = _client.reader(house).get("/api/letter", {"id": str(number)})
    if as_json:
        _show.document(found)
        return 0
    for line in whole(found):
        print(_show.printable(line))
    return 0


def whole(one: dict[str, Any]) -> Iterator[str]:
    what = f"event {one['seq']}" if one["seq"] else f"a record of {one['feed']}"
    yield f"dead letter {one['id']}: {what} of {one['name']}, since {one['at']}"
    yield f"why: {one['why']}"
    if one["status"]:
        yield f"the far side answered {one['status']}: {one['answer'] or ''}"
    if one["event"]:
        yield msgspec.json.format(msgspec.json.encode(one["event"])).decode()
    elif one["body"] is not None:
        yield one["body"]
    elif one["body_base64"]:
        yield f"base64 {one['body_base64']}"


def told(action: str, found: dict[str, Any]) -> Iterator[str]:
    """What came of it."""
    if "source" in found:
        yield (
            f"{found['source']}: {found['taken']} bodies verified and taken in, "
            f"{found['still_unverified']} still fit no secret"
        )
    elif action == "drop":
        yield f"{found['dropped']} of {found['of']} dropped; the ledger says so"
    else:
        yield from retried(found)
    if found.get("more"):
        yield "these were the oldest; there may be more: the same again for those"


def retried(found: dict[str, Any]) -> Iterator[str]:
    if found["taken"] or found["still_dead"]:
        yield f"{found['taken']} taken in, {found['still_dead']} still cannot be read"
    elif not found["jobs"]:
        yield "no dead letters"
    for one in found["still"]:
        yield f"  {one['id']}: {one['why']}"
    for job in found["jobs"]:
        yield f"{job['sink']}: replay {job['job']} sends {job['events']} again: fleetd jobs"
