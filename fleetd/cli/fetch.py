"""Ask a vendor once for one feed and print what it answers; nothing is stored.

It goes through the running daemon, under the same budget; bookmarks stay where they are.
"""

from __future__ import annotations

import argparse
import sys

from fleetd import config
from fleetd.cli import _client, _show
from fleetd.cli.events import Printer

LONGEST = 200


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("feed", metavar="FEED")
    parser.add_argument(
        "-n", type=int, metavar="COUNT", help="how many records at most; 20"
    )
    parser.add_argument("--since", metavar="WHEN", help="device time; the last hour")
    parser.add_argument(
        "--vehicle", metavar="NAME", help="of feeds asked vehicle by vehicle"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    found = _client.changer(house).post(
        "fetch", source=chosen.source, feed=chosen.feed, n=chosen.n,
        since=chosen.since or "", vehicle=chosen.vehicle or "",
    )  # fmt: skip
    Printer(as_json=chosen.json).events(found["events"])
    asked = ", ".join(found["asked"]) or "nothing to ask now"
    sys.stderr.write(f"asked: {asked}\n")
    for one in found["filtered"]:
        sys.stderr.write(f"filtered: {one['kind']} {one['id']}: {one['why']}\n")
    for one in found["unreadable"]:
        body = _show.printable(one["body"][:LONGEST])
        sys.stderr.write(f"unreadable: {_show.printable(one['why'])}: {body}\n")
    return 1 if found["unreadable"] else 0
