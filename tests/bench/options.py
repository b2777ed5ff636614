"""What may be said on the command line of every bench."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec


class Options(msgspec.Struct, frozen=True):
    name: str
    peer: bool = False
    only: str = ""
    rounds: int = 3
    seconds: float = 8.0
    warmup: float = 1.0
    connections: int = 64
    rate: float = 1000.0
    sync_delay_ms: float = 0.0
    sinks: int = 1
    rows: int = 0
    dir: str = ""


def parse(names: Sequence[str], arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    add = parser.add_argument
    add("name", choices=sorted(names))
    add("--peer", action="store_true", help="measure the peers as well (intake)")
    add("--only", default="", help="one contender: fleetd, flask or fastapi (intake)")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=8.0, help="length of a measured round")
    add("--warmup", type=float, default=1.0, help="seconds left out before each")
    add("--connections", type=int, default=64)
    add("--rate", type=float, default=1000.0, help="requests a second (latency)")
    add("--sync-delay-ms", type=float, default=0.0, help="added to every sync")
    add("--sinks", type=int, default=1, help="the first is a file, the others HTTP")
    add(
        "--rows", type=int, default=0, help="events in the log (restart, readback, big)"
    )
    add("--dir", default=tempfile.gettempdir(), help="whose disk is measured")
    return msgspec.convert(vars(parser.parse_args(arguments)), Options)


def folder_in(options: Options) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for one run, removed after it."""
    return tempfile.TemporaryDirectory(
        prefix="fleetd-bench-", dir=Path(options.dir), ignore_cleanup_errors=True
    )
