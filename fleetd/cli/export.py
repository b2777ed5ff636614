"""Write a part of the log to a file: CSV, NDJSON, GeoJSON, Parquet or XLSX.

The file is there once it is whole, and never before; without --output it goes to standard
output. The window is by arrival, like that of `events`. With one --kind the columns are
those of its table (a position has 14), else those that all events have.
"""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from fleetd import config
from fleetd.cli import _client, _filters, _show
from fleetd.cli._export import FORMATS, columns, open_writer
from fleetd.cli._export.columns import Page
from fleetd.cli.events import PAGE, pin
from fleetd.errors import DISK_FAULTS, FleetdError, StoreError, UsageError
from fleetd.tasks.report.asked import span_of

BINARY: Final = frozenset({"parquet", "xlsx"})
TOLD_EVERY: Final = 20_000
TERMINATED: Final = 143  # as a shell counts a process that was asked to end


def arguments(parser: argparse.ArgumentParser) -> None:
    _filters.add(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="else standard output")
    parser.add_argument(
        "--format", choices=FORMATS, help="else by the ending of FILE, else csv"
    )
    parser.add_argument(
        "--columns", metavar="NAMES", help="a,b,c: these, in this order"
    )


def main(chosen: argparse.Namespace) -> int:
    house = config.load(chosen.config)
    form = format_of(chosen)
    to_stdout = chosen.output in (None, "-")
    if to_stdout and form in BINARY and sys.stdout.isatty():
        raise UsageError(f"{form} is nothing for a terminal: give --output FILE")
    params = dict(_show.params(chosen, _filters.NAMES))
    picked = columns.picked(params.get("kind", ""), chosen.columns or "")
    asker = _client.reader(house)
    pin(params, house.daemon.timezone.info)
    source = Pages(asker, params)
    signal.signal(signal.SIGTERM, end)  # and take away what is not whole
    with opened(None if to_stdout else Path(chosen.output)) as file:
        open_writer(form, file, picked).take(counted(source))
    where = "" if to_stdout else f" to {chosen.output}"
    sys.stderr.write(f"{_show.many(source.count)} events{where}\n")
    if source.damaged:
        many = _show.many(source.damaged)
        sys.stderr.write(f"fleetd: {many} more are damaged in the log and left out\n")
    return 1 if source.damaged else 0


def end(*_: object) -> None:
    raise SystemExit(TERMINATED)


def format_of(chosen: argparse.Namespace) -> str:
    """What was asked for, or what the name of the file means."""
    if chosen.format:
        return str(chosen.format)
    if chosen.output in (None, "-"):
        return "csv"
    ending = Path(chosen.output).suffix.lower().removeprefix(".")
    found = {"jsonl": "ndjson", "json": "geojson"}.get(ending, ending)
    if found not in FORMATS:
        known = ", ".join(FORMATS)
        raise UsageError(f"{chosen.output}: say which --format it is: {known}")
    return found


class Pages:
    """The events meant, oldest first, a page at a time, up to the newest of now."""

    def __init__(self, asker: Any, params: Mapping[str, str]) -> None:
        self._asker, self._params = asker, dict(params)
        self.count = self.damaged = 0
        newest = asker.get("/api/events", {"n": "1"})["events"]
        top = newest[-1]["seq"] if newest else 0
        first, last = span_of(params.get("seq") or f"1:{top or 1}")
        self._params["seq"] = f"{first}:{max(first, min(last, top))}"

    def __iter__(self) -> Iterator[Page]:
        after = "0"
        while True:
            asked = {**self._params, "after": after, "n": str(PAGE)}
            found = self._asker.get("/api/events", asked)
            self.damaged += len(found["damaged"])
            yield found["events"]
            if found["done"]:
                return
            after = str(found["high"])


def counted(source: Pages) -> Iterator[Page]:
    """The pages, with progress for whoever looks."""
    shows, told = sys.stderr.isatty(), 0
    for page in source:
        source.count += len(page)
        yield page
        if shows and source.count - told >= TOLD_EVERY:
            told = source.count
            sys.stderr.write(f"\r{_show.many(told)} events\r")


@contextmanager
def opened(path: Path | None) -> Iterator[IO[bytes]]:
    """Where it goes: standard output, or a file that gets its name once it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with plain(path) if is_special(path) else whole(path) as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as bad:
        raise refused(path, bad) from bad


def is_special(path: Path) -> bool:
    """A pipe or a device, which is written to as it is."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder: name a file in it")
    return not stat.S_ISREG(mode)


@contextmanager
def plain(path: Path) -> Iterator[IO[bytes]]:
    with path.open("wb") as file:
        yield file


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file beside it, renamed when all of it is on the disk, or taken away again."""
    temp = path.with_name(f".{path.name}.{os.getpid()}~")
    try:
        with temp.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temp.unlink()


def refused(path: Path, bad: OSError) -> FleetdError:
    """What the system said, with the exit status that goes with it."""
    said = f"{path}: {os.strerror(bad.errno) if bad.errno else bad}"
    kind: Callable[[str], FleetdError] = (
        StoreError if bad.errno in DISK_FAULTS else UsageError
    )
    return kind(said)
