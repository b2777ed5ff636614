"""Move a sink past everything that arrived before a time; counted `skipped`."""

from __future__ import annotations

import argparse

from fleetd import config
from fleetd.cli import _client, _show


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sink", metavar="SINK")
    parser.add_argument(
        "--until", required=True, metavar="WHEN", help="as now, 2h, today"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    daemon = _client.changer(house)
    plan = daemon.post("skip", sink=chosen.sink, until=chosen.until, dry_run=True)
    many = _show.many(plan["skipped"])
    question = f"{many} events that wait for {plan['sink']} would not go there."
    if plan["skipped"] and not _show.agreed(question, yes=chosen.yes):
        return 1
    done = daemon.post("skip", sink=chosen.sink, until=plan["until"])
    if chosen.json:
        _show.document(done)
    else:
        print(
            f"{done['sink']}: {_show.many(done['skipped'])} events skipped, "
            f"{done['spelled']}; `fleetd replay` can still send them"
        )
    return 0
