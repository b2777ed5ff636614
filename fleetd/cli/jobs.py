"""Replays and backfills: list them, pause, resume or cancel one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from fleetd import config
from fleetd.cli import _client, _show
from fleetd.errors import UsageError

ACTIONS = ("list", "pause", "resume", "cancel")
HEADS = ("job", "kind", "of", "state", "done", "left", "changed", "why")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list")
    parser.add_argument("id", nargs="?", type=int, metavar="ID")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    if chosen.action == "list":
        found = _client.reader(house).get("/api/jobs")["jobs"]
        if chosen.json:
            _show.lines(found)
        elif not found:
            print("no jobs; `fleetd backfill` and `fleetd replay` make them")
        else:
            rows = [row_of(job) for job in found]
            _show.table(HEADS, rows, "rlllrr", ("changed", "kind"))
        return 0
    if chosen.id is None:
        raise UsageError(f"jobs {chosen.action} takes the number of a job")
    job = _client.changer(house).post("jobs", action=chosen.action, id=chosen.id)
    if chosen.json:
        _show.document(job)
    else:
        print(f"job {job['id']} is {job['state']}, {said(job)} done")
    return 0


def row_of(job: dict[str, Any]) -> list[str]:
    first = [str(job[key]) for key in ("id", "kind", "target", "state")]
    left = job.get("left_s")
    time_left = "-" if left is None else _show.span(left)
    return [
        *first,
        said(job),
        time_left,
        f"{job['changed_at'][:16]}Z",
        str(job["why"] or "-"),
    ]


def said(job: Mapping[str, Any]) -> str:
    """How far it is: events of a replay, windows of a backfill."""
    done = f"{_show.many(job['done'])} of {_show.many(job['total'])}"
    if job["kind"] != "backfill":
        return f"{done} events"
    records = _show.many(job.get("records") or 0)
    return f"{done} windows, {records} records"
