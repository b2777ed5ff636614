"""Let a paused source or sink go on where it stands."""

from __future__ import annotations

import argparse

from fleetd.cli import pause


def arguments(parser: argparse.ArgumentParser) -> None:
    seen = "a source or a sink; log: that one was set aside has been seen"
    parser.add_argument("name", metavar="NAME", help=seen)
    parser.add_argument("--json", action="store_true", help="one JSON document")


def main(chosen: argparse.Namespace) -> int:
    return pause.switch(chosen, "resume")
