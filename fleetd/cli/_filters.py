"""The options by which events are chosen, the same for every command that has them."""

from __future__ import annotations

import argparse

NAMES = ("kind", "source", "vehicle", "since", "until", "seq")


def add(parser: argparse.ArgumentParser) -> None:
    """Add them to a command."""
    parser.add_argument("--kind", metavar="KIND", help="as position, or several: a,b")
    parser.add_argument("--source", metavar="NAME", help="or several: a,b")
    parser.add_argument(
        "--vehicle",
        metavar="NAME",
        help="provider id, VIN, fleet number or plate, whole or glob, any case",
    )
    times = "2h, today, yesterday, 2026-11-21 or RFC 3339, by arrival"
    parser.add_argument("--since", metavar="WHEN", help=times)
    parser.add_argument("--until", metavar="WHEN", help="the same; not included")
    parser.add_argument("--seq", metavar="A:B", help="places in the log, both included")
