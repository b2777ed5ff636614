"""Stop a source's polling, or a sink, until it is resumed; kept over restarts."""

from __future__ import annotations

import argparse

from fleetd import config
from fleetd.cli import _client, _show


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a source or a sink")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    return switch(chosen, "pause")


def switch(chosen: argparse.Namespace, action: str) -> int:
    """Pause or resume, and say what that means."""
    house = config.load(chosen.config)
    found = _client.changer(house).post(action, name=chosen.name)
    if chosen.json:
        _show.document(found)
        return 0
    if told := found.get("told"):
        print(f"{found['name']}: {told}")
        return 0
    word = "paused" if found["paused"] else "running"
    if not found["changed"]:
        print(f"{found['name']} is {word} already")
        return 0
    rest = "; webhooks still arrive" if found["paused"] and found["receives"] else ""
    what = "polling is " if found["source"] and not found["sink"] else "is "
    print(f"{found['name']}: {what}{word}{rest}")
    return 0
