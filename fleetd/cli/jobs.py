"""Replays and backfills: list them, pause, resume or cancel one."""

from __future__ import annotations

import argparse

from fleetd import config
from fleetd.cli import _client, _show
from fleetd.errors import UsageError

ACTIONS = ("list", "pause", "resume", "cancel")
HEADS = ("job", "kind", "to", "state", "done", "of", "changed", "why")


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
            print("no jobs; `fleetd replay` makes one")
        else:
            _show.table(HEADS, [row_of(job) for job in found], "rlllrr")
        return 0
    if chosen.id is None:
        raise UsageError(f"jobs {chosen.action} takes the number of a job")
    job = _client.changer(house).post("jobs", action=chosen.action, id=chosen.id)
    if chosen.json:
        _show.document(job)
    else:
        done = f"{_show.many(job['done'])} of {_show.many(job['total'])}"
        print(f"job {job['id']} is {job['state']}, {done} events done")
    return 0


def row_of(job: dict[str, object]) -> list[str]:
    counts = [_show.many(int(str(job[key]))) for key in ("done", "total")]
    first = [str(job[key]) for key in ("id", "kind", "target", "state")]
    return [*first, *counts, str(job["changed_at"]), str(job["why"] or "-")]
