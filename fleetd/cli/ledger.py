"""Whether everything that came is accounted for, by hour or day, to the id.

Exit 0 complete, 1 lost or out of balance, 3 when nobody can know.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, tzinfo
from typing import Any

from fleetd import config, when
from fleetd.cli import _client, _show

EXITS = {"complete": 0, "lost": 1, "unknown": 3}
SHORT = {
    "normalized": "norm",
    "duplicate": "dup",
    "filtered": "filt",
    "dropped": "drop",
}
PAGE = "1000"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", metavar="WHEN", help="a day back unless told otherwise"
    )
    parser.add_argument("--until", metavar="WHEN")
    parser.add_argument("--by", choices=("hour", "day"), default="hour")
    parser.add_argument("--ids", nargs=2, metavar=("HOUR", "OUTCOME"),
                        help="the ids behind one number: stored, duplicate, filtered, dead,"
                        " or delivered with --name SINK")  # fmt: skip
    parser.add_argument("--name", metavar="NAME", help="of one source or sink")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    asker = _client.reader(house)
    if chosen.ids:
        return ids(asker, chosen)
    names = ("since", "until", "by", "name")
    found = asker.get("/api/ledger", _show.params(chosen, names))
    if chosen.json:
        _show.document(found)
    else:
        draw(found, house.daemon.timezone.info)
    return EXITS[found["verdict"]]


def draw(found: dict[str, Any], zone: tzinfo) -> None:
    """Both tables, the times of silence, and the sentences."""
    sys.stderr.write(f"{found['window']}\n")
    for side in ("source", "sink"):
        rows = [one for one in found["rows"] if one["side"] == side]
        if not rows:
            continue
        outcomes = [key for key in rows[0] if key not in {"side", "name", "from"}]
        heads = [side, "from", *(SHORT.get(one, one) for one in outcomes)]
        lines = [
            [one["name"], one["from"], *(_show.many(one[key]) for key in outcomes)]
            for one in rows
        ]
        empty = [
            head for head, *told in zip(heads, *lines, strict=True) if {*told} == {"0"}
        ]
        spare = [*empty, "norm", "made"]
        _show.table(heads, lines, "ll" + "r" * len(outcomes), spare)
        print()
    if not found["rows"]:
        print("nothing came and nothing went")
    for one in found["outages"]:
        since, until = (datetime.fromisoformat(one[key]) for key in ("since", "until"))
        print(f"{one['state']} {when.spell((since, until), zone)}")
    for one in found["findings"]:
        print(_show.printable(one["sentence"]))


def ids(asker: Any, chosen: argparse.Namespace) -> int:
    """The ids behind one number, one a line."""
    hour, outcome = chosen.ids
    asked = {"ids": hour, "outcome": outcome, "name": chosen.name or "", "n": PAGE}
    after, told = "0", False
    while True:
        found = asker.get("/api/ledger", {**asked, "after": after})
        if not told:
            sys.stderr.write(f"{found['window']}\n")
            told = True
        if chosen.json:
            _show.lines(found["ids"])
        else:
            for one in found["ids"]:
                said = (str(value) for value in one.values() if value is not None)
                print(_show.printable("  ".join(said)))
        if found["done"]:
            return 0
        after = str(found["high"])
