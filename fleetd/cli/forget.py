"""Drop the place of a source or sink that is gone from the config for good."""

from __future__ import annotations

import argparse

from fleetd import config
from fleetd.cli import _client, _show


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="one that is not in the config")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    found = _client.changer(house).post("forget", name=chosen.name)
    if chosen.json:
        _show.document(found)
    else:
        print(
            f"{found['name']}: its place is dropped; should it come back, it begins as new. "
            "What the ledger counted stays"
        )
        if found["left"]:
            print(f"{found['left']} could not be removed: do it by hand")
    return 0
