"""Send a sink a part of the log again, as a job behind live delivery.

--dry-run says what would go. It asks above 10 000 events, and always where it rings.
"""

from __future__ import annotations

import argparse
import sys
from math import inf
from typing import Any

from fleetd import config
from fleetd.cli import _client, _filters, _show
from fleetd.errors import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sink", metavar="SINK")
    _filters.add(parser)
    parser.add_argument("--last", type=int, metavar="N", help="the newest N it takes")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("--rate", type=float, metavar="R", help="requests a second")
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="a sheet that appends: where live events went, once each",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    given = dict(_show.params(chosen, _filters.NAMES))
    if not given and chosen.last is None:
        raise UsageError("say what: --since 2h, --seq FIRST:LAST, --last N, ...")
    values: dict[str, Any] = {"sink": chosen.sink, **given}
    if chosen.last is not None:
        if chosen.last < 1:
            raise UsageError("--last takes a count of at least 1")
        values["last"] = chosen.last
    if chosen.rate is not None:
        if not 0 < chosen.rate < inf:
            raise UsageError("--rate takes a number above zero")
        values["rate"] = chosen.rate
    if chosen.in_place:
        values["in_place"] = True
    daemon = _client.changer(house)
    plan = daemon.post("replay", **values, dry_run=True)
    if plan["window"]:
        sys.stderr.write(f"{plan['window']}\n")
    if not chosen.dry_run and plan["count"]:
        if plan["asks"] and not _show.agreed(question(plan), yes=chosen.yes):
            return 1
        plan = daemon.post("replay", **once(values, plan), yes=True)
    tell(plan, as_json=chosen.json)
    return 0


def once(values: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """What was agreed to, not what came since; the last so many stay no more than that."""
    kept = {key: values[key] for key in values if key not in {"since", "until"}}
    return {**kept, "seq": f"{plan['first']}:{plan['last']}"}


def tell(plan: dict[str, object], *, as_json: bool) -> None:
    """What will go, or went off."""
    if as_json:
        _show.document(plan)
        return
    what = f"{_show.many(int(str(plan['count'])))} events, seq {plan['first']} to {plan['last']}"
    if not plan["count"]:
        print(f"{plan['sink']}: nothing to send again")
    elif plan["job"] is None:
        print(f"{plan['sink']}: would get {what}")
    else:
        print(f"{plan['sink']}: replay {plan['job']} sends {what} again: fleetd jobs")


def question(plan: dict[str, object]) -> str:
    """What an operator should know before it happens."""
    many = _show.many(int(str(plan["count"])))
    if plan["notifies"]:
        return f"This would post {many} messages to {plan['sink']}."
    return f"This would send {many} events to {plan['sink']} again."
