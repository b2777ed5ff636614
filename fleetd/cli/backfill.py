"""Ask the vendor for a past window of one feed, as a job under the same budget."""

from __future__ import annotations

import argparse
import sys

from fleetd import config
from fleetd.cli import _client, _show


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("feed", metavar="FEED")
    parser.add_argument("--since", required=True, metavar="WHEN", help="device time")
    parser.add_argument("--until", metavar="WHEN", help="device time; now if left out")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    found = _client.changer(house).post(
        "backfill", source=chosen.source, feed=chosen.feed, since=chosen.since,
        until=chosen.until or "",
    )  # fmt: skip
    if chosen.json:
        _show.document(found)
    else:
        sys.stderr.write(f"{found['window']}\n")
        asked = f" by {found['call']}" if found["call"] else ""
        said = f"{_show.many(found['pieces'])} windows of {found['feed']}{asked}"
        print(f"{chosen.source}: backfill {found['job']} asks for {said}: fleetd jobs")
    return 0
