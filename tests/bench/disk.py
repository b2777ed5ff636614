"""Bytes on the disk per byte received while raw is kept, and bytes an event once its raw has gone."""

from __future__ import annotations

import struct
from pathlib import Path

import apsw
import msgspec

from tests.bench.corpus import corpus
from tests.bench.intake import MORE_THAN_ANY_TAKES_PER_S
from tests.bench.options import Options, folder_in
from tests.bench.report import Report, at_least, at_most, machine, say, spread
from tests.bench.servers import Setup, drained, fleetd
from tests.bench.tools import load

NOTES = [
    "Received are body bytes alone. Stored is the data folder after a clean end, less the ballast, which is a fixed reserve; what a sink wrote outside of it is not counted.",
    "After raw has gone: the pages of everything in the log but the table of raw bytes, dedupe keys and attempts included. Pages that raw leaves are taken by later events or given back.",
]
SIZES = "SELECT name, sum(pgsize) FROM dbstat WHERE aggregate = FALSE GROUP BY name"


class Kept(msgspec.Struct, frozen=True):
    """What one log holds after a clean end."""

    events: int
    received_bytes: int
    folder_bytes: int
    tables: dict[str, int]

    @property
    def per_byte(self) -> float:
        return self.folder_bytes / self.received_bytes

    @property
    def per_event(self) -> float:
        rest = sum(size for name, size in self.tables.items() if name != "raw")
        return rest / self.events


def run(options: Options) -> Report:
    size = int(MORE_THAN_ANY_TAKES_PER_S * options.seconds)
    with corpus(size) as requests, folder_in(options) as name:
        kept = measure(Path(name), requests, options)
    say(f"{kept.per_byte:.2f} bytes a byte, then {kept.per_event:.0f} an event")
    return Report(
        name="disk",
        machine=machine(Path(options.dir)),
        options=msgspec.to_builtins(options),
        budgets=[
            at_least("events", 10_000, kept.events),
            at_most("bytes stored per byte received", 1.6, kept.per_byte),
            at_most("bytes an event after raw has gone", 350, kept.per_event),
        ],
        figures={
            "bytes_per_byte": spread([kept.per_byte]),
            "bytes_per_event_later": spread([kept.per_event]),
        },
        notes=NOTES,
        raw=[msgspec.to_builtins(kept)],
    )


def measure(folder: Path, requests: Path, options: Options) -> Kept:
    with fleetd(folder, Setup()) as server:
        seen = load(server.port, requests, warmup=0, seconds=options.seconds)
        drained(server)
    events = seen.statuses.get("200", 0)
    data = folder / "data"
    files = [one for one in data.rglob("*") if one.is_file() and one.name != "ballast"]
    log = apsw.Connection(str(data / "log.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    return Kept(
        events=events,
        received_bytes=received(requests, events),
        folder_bytes=sum(one.stat().st_size for one in files),
        tables=dict(log.execute(SIZES)),
    )


def received(requests: Path, count: int) -> int:
    """Sum the bodies of the first so many requests."""
    total = 0
    with requests.open("rb") as file:
        for _ in range(count):
            (length,) = struct.unpack("<I", file.read(4))
            total += len(file.read(length).partition(b"\r\n\r\n")[2])
    return total
